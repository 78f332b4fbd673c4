#include "meta/meta_service.h"

#include <algorithm>
#include <deque>
#include <map>
#include <utility>

#include "meta/limits.h"
#include "meta/wire.h"

namespace foreshard::meta {
namespace {

constexpr size_t kReplyBytesMax = 2u << 20;       // of entries or events in one reply
constexpr size_t kCursorsPerPeerMax = 4;          // range answers that a peer has not fetched to the end
constexpr uint64_t kPollNsMax = 30'000'000'000;

size_t wire_bytes(const Entry& entry) { return entry.key.size() + entry.value.size() + 64; }

// The rest of a long answer to a range, so that all its pages are of one revision.
struct Cursor {
  uint64_t id = 0;
  RangeResult rest;
  size_t next = 0;
};
struct PeerCursors {
  std::deque<Cursor> cursors;  // the oldest gives way
  uint64_t next_id = 1;
};

// Ends a poll that waits, at its time limit.
class PollTimer final : public runtime::Timer {
 public:
  explicit PollTimer(Watch& watch) : watch_(watch) {}
  void fire() override { watch_.cancel(); }

 private:
  Watch& watch_;
};

class RpcMetaService final : public MetaService {
 public:
  RpcMetaService(runtime::Runtime& runtime, Meta& meta, rpc::Service& service) : runtime_(runtime), meta_(meta) {
    add(service, kMethodGet, &RpcMetaService::get);
    add(service, kMethodRange, &RpcMetaService::range);
    add(service, kMethodCommit, &RpcMetaService::commit);
    add(service, kMethodPoll, &RpcMetaService::poll);
    add(service, kMethodGrantLease, &RpcMetaService::grant_lease);
    add(service, kMethodRenewLease, &RpcMetaService::renew_lease);
    add(service, kMethodRevokeLease, &RpcMetaService::revoke_lease);
    service.on_gone([this](rpc::Peer& peer) { cursors_.erase(peer.id); });
  }
  void stop() override {
    stopped_ = true;
    for (ActivePoll* active = polls_; active != nullptr; active = active->next) active->watch.cancel();
  }

 private:
  using Method = runtime::Task<Result<rpc::Reply>> (RpcMetaService::*)(rpc::Peer&, rpc::Request&);
  void add(rpc::Service& service, uint16_t number, Method method) {
    service.handle(number,
                   [this, method](rpc::Peer& peer, rpc::Request& request) { return (this->*method)(peer, request); });
  }
  template <class Message>
  static rpc::Reply reply_with(const Message& message) {
    rpc::Reply reply;
    reply.control = to_buffer(message);
    return reply;
  }

  runtime::Task<Result<rpc::Reply>> get(rpc::Peer& peer, rpc::Request& request);
  runtime::Task<Result<rpc::Reply>> range(rpc::Peer& peer, rpc::Request& request);
  runtime::Task<Result<rpc::Reply>> commit(rpc::Peer& peer, rpc::Request& request);
  runtime::Task<Result<rpc::Reply>> poll(rpc::Peer& peer, rpc::Request& request);
  runtime::Task<Result<rpc::Reply>> grant_lease(rpc::Peer& peer, rpc::Request& request);
  runtime::Task<Result<rpc::Reply>> renew_lease(rpc::Peer& peer, rpc::Request& request);
  runtime::Task<Result<rpc::Reply>> revoke_lease(rpc::Peer& peer, rpc::Request& request);
  static rpc::Reply range_page(PeerCursors& cursors, RangeResult result, size_t next);

  // Links a waiting poll's watch, for stop().
  struct ActivePoll {
    ActivePoll(RpcMetaService& s, Watch& w) : service(s), watch(w), next(s.polls_) {
      if (next != nullptr) next->previous = this;
      service.polls_ = this;
    }
    ActivePoll(const ActivePoll&) = delete;
    ActivePoll& operator=(const ActivePoll&) = delete;
    ~ActivePoll() {
      (previous != nullptr ? previous->next : service.polls_) = next;
      if (next != nullptr) next->previous = previous;
    }
    RpcMetaService& service;
    Watch& watch;
    ActivePoll* next;
    ActivePoll* previous = nullptr;
  };

  runtime::Runtime& runtime_;
  Meta& meta_;
  std::map<uint64_t, PeerCursors> cursors_;  // by peer
  ActivePoll* polls_ = nullptr;
  bool stopped_ = false;
};

runtime::Task<Result<rpc::Reply>> RpcMetaService::get(rpc::Peer& peer, rpc::Request& request) {
  CO_TRY(const wire::GetRequest message, parse<wire::GetRequest>(request.control));
  CO_TRY(const std::optional<Entry> entry, co_await meta_.get(message.key()));
  wire::GetReply answer;
  if (entry) to_wire(*entry, *answer.mutable_entry());
  co_return reply_with(answer);
}

// One page of an answer; what does not fit is kept under a cursor of the peer.
rpc::Reply RpcMetaService::range_page(PeerCursors& cursors, RangeResult result, size_t next) {
  wire::RangeReply answer;
  answer.set_revision(result.revision);
  answer.set_more(result.more);
  size_t bytes = 0;
  while (next < result.entries.size() && (bytes == 0 || bytes + wire_bytes(result.entries[next]) <= kReplyBytesMax)) {
    bytes += wire_bytes(result.entries[next]);
    to_wire(result.entries[next++], *answer.add_entries());
  }
  if (next < result.entries.size()) {
    answer.set_cursor(cursors.next_id++);
    if (cursors.cursors.size() >= kCursorsPerPeerMax) cursors.cursors.pop_front();
    cursors.cursors.push_back({answer.cursor(), std::move(result), next});
  }
  return reply_with(answer);
}

runtime::Task<Result<rpc::Reply>> RpcMetaService::range(rpc::Peer& peer, rpc::Request& request) {
  CO_TRY(const wire::RangeRequest message, parse<wire::RangeRequest>(request.control));
  if (message.cursor() != 0) {
    PeerCursors& peers = cursors_[peer.id];
    const auto found = std::find_if(peers.cursors.begin(), peers.cursors.end(),
                                    [&](const Cursor& cursor) { return cursor.id == message.cursor(); });
    if (found == peers.cursors.end()) co_return fail(ErrorCode::kConflict, "range cursor", message.cursor());
    Cursor cursor = std::move(*found);
    peers.cursors.erase(found);
    co_return range_page(peers, std::move(cursor.rest), cursor.next);
  }
  CO_TRY(RangeResult result,
         co_await meta_.range(message.begin(), message.end(), message.limit(), message.backward()));
  co_return range_page(cursors_[peer.id], std::move(result), 0);
}

runtime::Task<Result<rpc::Reply>> RpcMetaService::commit(rpc::Peer& peer, rpc::Request& request) {
  CO_TRY(const wire::CommitRequest message, parse<wire::CommitRequest>(request.control));
  CO_TRY(Transaction transaction, from_wire(message));
  CO_TRY(const TransactionResult result, co_await meta_.commit(std::move(transaction)));
  wire::CommitReply answer;
  answer.set_succeeded(result.succeeded);
  answer.set_revision(result.revision);
  co_return reply_with(answer);
}

// The events that fit, and where the next poll goes on: after the last whole revision, or in the middle of one.
wire::PollReply poll_reply(const std::vector<Event>& events, size_t first, uint64_t from, uint64_t skipped) {
  wire::PollReply answer;
  size_t bytes = 0;
  uint64_t revision = from;
  uint64_t seen = skipped;  // events of that revision
  size_t next = first;
  while (next < events.size() && (bytes == 0 || bytes + wire_bytes(events[next].entry) <= kReplyBytesMax)) {
    const Event& event = events[next++];
    bytes += wire_bytes(event.entry);
    seen = event.entry.modified == revision ? seen + 1 : 1;
    revision = event.entry.modified;
    to_wire(event, *answer.add_events());
  }
  const bool complete = next == events.size();  // a Watch never cuts a revision
  answer.set_next_from(complete ? revision + 1 : revision);
  answer.set_next_skip(complete ? 0 : seen);
  return answer;
}

runtime::Task<Result<rpc::Reply>> RpcMetaService::poll(rpc::Peer& peer, rpc::Request& request) {
  CO_TRY(const wire::PollRequest message, parse<wire::PollRequest>(request.control));
  if (stopped_) co_return fail(ErrorCode::kUnavailable, "metadata service stops");
  // Read before the watch: what it did not bring by then lies after this revision.
  CO_TRY(const RangeResult before, co_await meta_.range(message.prefix(), message.prefix() + '\0', 1));
  CO_TRY(std::unique_ptr<Watch> watch, co_await meta_.watch(message.prefix(), message.from()));
  const ActivePoll active(*this, *watch);
  PollTimer timer(*watch);
  const uint64_t wait_ns = std::min(message.wait_ns(), kPollNsMax);
  timer.start(runtime_.executor(), std::min(runtime_.now_ns() + wait_ns, request.deadline_ns));
  if (stopped_) co_return fail(ErrorCode::kUnavailable, "metadata service stops");
  Result<std::vector<Event>> events = co_await watch->next();
  timer.cancel();
  if (!events && events.error().code == ErrorCode::kCancelled) {
    if (stopped_) co_return fail(ErrorCode::kUnavailable, "metadata service stops");
    wire::PollReply nothing;
    nothing.set_next_from(std::max(message.from(), before.revision + 1));
    co_return reply_with(nothing);
  }
  if (!events) co_return fail(std::move(events.error()));
  // A poll that goes on inside a revision knows the first of its events.
  size_t first = 0;
  while (first < events->size() && first < message.skip() && (*events)[first].entry.modified == message.from()) ++first;
  co_return reply_with(poll_reply(*events, first, message.from(), first));
}

runtime::Task<Result<rpc::Reply>> RpcMetaService::grant_lease(rpc::Peer& peer, rpc::Request& request) {
  CO_TRY(const wire::LeaseRequest message, parse<wire::LeaseRequest>(request.control));
  CO_TRY(const LeaseId lease, co_await meta_.grant_lease(message.ttl_ns()));
  wire::LeaseReply answer;
  answer.set_lease(lease);
  co_return reply_with(answer);
}

runtime::Task<Result<rpc::Reply>> RpcMetaService::renew_lease(rpc::Peer& peer, rpc::Request& request) {
  CO_TRY(const wire::LeaseRequest message, parse<wire::LeaseRequest>(request.control));
  CO_TRY_VOID(co_await meta_.renew_lease(message.lease()));
  co_return rpc::Reply();
}

runtime::Task<Result<rpc::Reply>> RpcMetaService::revoke_lease(rpc::Peer& peer, rpc::Request& request) {
  CO_TRY(const wire::LeaseRequest message, parse<wire::LeaseRequest>(request.control));
  CO_TRY_VOID(co_await meta_.revoke_lease(message.lease()));
  co_return rpc::Reply();
}

}  // namespace

std::unique_ptr<MetaService> MetaService::create(runtime::Runtime& runtime, Meta& meta, rpc::Service& service) {
  return std::make_unique<RpcMetaService>(runtime, meta, service);
}

}  // namespace foreshard::meta
