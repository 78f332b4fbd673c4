#include "meta/remote_meta.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "meta/limits.h"
#include "meta/wire.h"
#include "rpc/rpc.h"

namespace foreshard::meta {
namespace {

constexpr int kRangeRestartsMax = 8;  // when a long answer was dropped between two of its pages

// The way to the store: one channel at a time, made when somebody needs it. Shared by the face, its watches and
// their coroutines; ended by close().
struct Link {
  Link(runtime::Runtime& r, std::string a, RemoteMetaOptions o)
      : runtime(r), address(std::move(a)), options(o), pause_ns(o.reconnect_pause_ns_min), changed(r.executor()),
        gate(r.executor()) {}

  struct Answer {
    Result<rpc::Reply> reply;
    bool repeated = false;  // an earlier try may have been carried out
  };
  // The reply of one call within the time limit. When `repeat` is set it is made again after a lost answer.
  runtime::Task<Answer> call(uint16_t method, Buffer control, bool repeat, uint64_t limit_ns);
  runtime::Task<Result<std::shared_ptr<rpc::Channel>>> connected(uint64_t deadline_ns);
  runtime::Task<void> connect(uint64_t deadline_ns);
  // The pause before the next try; each is longer than the one before, with a random part.
  uint64_t take_pause_ns() {
    const uint64_t taken_ns = pause_ns / 2 + runtime.random().below(pause_ns / 2 + 1);
    pause_ns = std::min(pause_ns * 2, options.reconnect_pause_ns_max);
    return taken_ns;
  }

  runtime::Runtime& runtime;
  const std::string address;
  const RemoteMetaOptions options;
  std::shared_ptr<rpc::Channel> channel;
  bool connecting = false;
  bool closed = false;
  uint64_t pause_ns;
  uint64_t not_before_ns = 0;    // the next try to connect
  Error last_error{ErrorCode::kUnavailable, "metadata store out of reach", 0, {}};
  runtime::WaitQueue changed;  // connected, failed to, or closed
  runtime::Gate gate;
};

Error closed_error() { return Error{ErrorCode::kCancelled, "metadata client closed", 0, {}}; }

// One try, by whoever needed the connection first.
runtime::Task<void> Link::connect(uint64_t deadline_ns) {
  struct Turn {
    Link& link;
    explicit Turn(Link& l) : link(l) { link.connecting = true; }
    ~Turn() {
      link.connecting = false;
      link.changed.wake_all();
    }
  };
  const Turn turn(*this);
  while (!closed && runtime.now_ns() < not_before_ns) {
    if (not_before_ns >= deadline_ns) {
      co_await changed.wait_until(deadline_ns);
      if (runtime.now_ns() >= deadline_ns) co_return;
    } else {
      co_await changed.wait_until(not_before_ns);
    }
  }
  if (closed) co_return;
  Result<std::shared_ptr<rpc::Channel>> made = co_await rpc::Channel::connect(runtime, address, deadline_ns);
  if (made) {
    channel = std::move(*made);
    if (closed) channel = nullptr;
  } else {
    last_error = std::move(made.error());
    not_before_ns = runtime.now_ns() + take_pause_ns();
  }
}

runtime::Task<Result<std::shared_ptr<rpc::Channel>>> Link::connected(uint64_t deadline_ns) {
  for (;;) {
    if (closed) co_return fail(closed_error());
    if (channel != nullptr && !channel->closed()) co_return channel;
    if (runtime.now_ns() >= deadline_ns)
      co_return fail(ErrorCode::kUnavailable, "metadata store out of reach", address + ": " + last_error.message());
    if (connecting) co_await changed.wait_until(deadline_ns);
    else co_await connect(deadline_ns);
  }
}

runtime::Task<Link::Answer> Link::call(uint16_t method, Buffer control, bool repeat, uint64_t limit_ns) {
  Answer answer;
  const std::optional<runtime::Gate::Pass> pass = gate.enter();
  if (!pass) {
    answer.reply = fail(closed_error());
    co_return answer;
  }
  const uint64_t deadline_ns = runtime.now_ns() + limit_ns;
  for (;;) {
    Result<std::shared_ptr<rpc::Channel>> way = co_await connected(deadline_ns);
    if (!way) {
      answer.reply = fail(std::move(way.error()));
      co_return answer;
    }
    rpc::Call request;
    request.method = method;
    request.control = control.span();
    request.deadline_ns = deadline_ns;
    answer.reply = co_await (*way)->call(request);
    if (answer.reply) {
      pause_ns = options.reconnect_pause_ns_min;
      co_return answer;
    }
    // A peer that does not answer may be gone without a word: the next call makes a new connection.
    if (answer.reply.error().code == ErrorCode::kTimeout && channel == *way) channel = nullptr;
    const bool lost = answer.reply.error().code == ErrorCode::kUnavailable;
    if (!lost || !repeat || closed) co_return answer;
    answer.repeated = true;
    const uint64_t again_ns = runtime.now_ns() + take_pause_ns();
    if (again_ns >= deadline_ns) co_return answer;
    while (!closed && runtime.now_ns() < again_ns) co_await changed.wait_until(again_ns);
  }
}

// ---- watches

struct WatchState {
  WatchState(std::shared_ptr<Link> l, std::string p, Revision f)
      : link(std::move(l)), prefix(std::move(p)), from(f), changed(link->runtime.executor()) {}
  const std::shared_ptr<Link> link;
  const std::string prefix;
  Revision from;
  uint64_t skip = 0;
  bool cancelled = false;
  bool polling = false;
  std::optional<Result<wire::PollReply>> answer;
  runtime::WaitQueue changed;
};

// A poll runs on its own, so that cancel() need not wait for its end.
runtime::Task<void> poll_once(std::shared_ptr<WatchState> watch, std::optional<runtime::Gate::Pass>) {
  wire::PollRequest message;
  message.set_prefix(watch->prefix);
  message.set_from(watch->from);
  message.set_skip(watch->skip);
  const RemoteMetaOptions& options = watch->link->options;
  message.set_wait_ns(options.poll_ns);
  Link::Answer answer =
      co_await watch->link->call(kMethodPoll, to_buffer(message), true, options.call_ns_max + options.poll_ns);
  if (answer.reply) watch->answer = parse<wire::PollReply>(answer.reply->control.span());
  else watch->answer = fail(std::move(answer.reply.error()));
  watch->polling = false;
  watch->changed.wake_all();
}

class RemoteWatch final : public Watch {
 public:
  explicit RemoteWatch(std::shared_ptr<WatchState> state) : state_(std::move(state)) {}
  ~RemoteWatch() override { cancel(); }

  runtime::Task<Result<std::vector<Event>>> next() override {
    const std::shared_ptr<WatchState> state = state_;
    for (;;) {
      if (state->cancelled) co_return fail(ErrorCode::kCancelled, "watch");
      if (state->link->closed) co_return fail(closed_error());
      if (state->answer) {
        Result<wire::PollReply> answer = std::move(*state->answer);
        state->answer.reset();
        if (!answer && answer.error().code == ErrorCode::kTimeout)
          co_return fail(ErrorCode::kUnavailable, "metadata store out of reach", answer.error().message());
        if (!answer) co_return fail(std::move(answer.error()));
        state->from = std::max<Revision>(state->from, answer->next_from());
        state->skip = answer->next_skip();
        if (answer->events_size() == 0) continue;
        std::vector<Event> events;
        for (const wire::Event& event : answer->events()) events.push_back(from_wire(event));
        co_return events;
      }
      if (!state->polling) {
        std::optional<runtime::Gate::Pass> pass = state->link->gate.enter();
        if (!pass) co_return fail(closed_error());
        state->polling = true;
        state->link->runtime.executor().spawn(poll_once(state, std::move(pass)));
      }
      co_await state->changed.wait();
    }
  }
  void cancel() override {
    state_->cancelled = true;
    state_->changed.wake_all();
  }

 private:
  const std::shared_ptr<WatchState> state_;
};

// ---- the face

class RpcRemoteMeta final : public RemoteMeta {
 public:
  explicit RpcRemoteMeta(std::shared_ptr<Link> link) : link_(std::move(link)) {}

  runtime::Task<Result<std::optional<Entry>>> get(std::string key) override;
  runtime::Task<Result<RangeResult>> range(std::string begin, std::string end, size_t limit, bool backward) override;
  runtime::Task<Result<TransactionResult>> commit(Transaction transaction) override;
  runtime::Task<Result<std::unique_ptr<Watch>>> watch(std::string prefix, Revision from) override;
  runtime::Task<Result<LeaseId>> grant_lease(uint64_t ttl_ns) override;
  runtime::Task<Result<void>> renew_lease(LeaseId lease) override;
  runtime::Task<Result<void>> revoke_lease(LeaseId lease) override;
  runtime::Task<void> close() override {
    const std::shared_ptr<Link> link = link_;
    link->closed = true;
    link->changed.wake_all();
    if (link->channel != nullptr) co_await link->channel->close();
    co_await link->gate.close();
  }

 private:
  runtime::Task<Result<RangeResult>> range_once(wire::RangeRequest request);
  uint64_t limit_ns() const { return link_->options.call_ns_max; }
  std::shared_ptr<Link> link_;
};

runtime::Task<Result<std::optional<Entry>>> RpcRemoteMeta::get(std::string key) {
  wire::GetRequest request;
  request.set_key(std::move(key));
  Link::Answer answer = co_await link_->call(kMethodGet, to_buffer(request), true, limit_ns());
  CO_TRY(const rpc::Reply reply, std::move(answer.reply));
  CO_TRY(const wire::GetReply message, parse<wire::GetReply>(reply.control.span()));
  if (!message.has_entry()) co_return std::nullopt;
  co_return from_wire(message.entry());
}

runtime::Task<Result<RangeResult>> RpcRemoteMeta::range_once(wire::RangeRequest request) {
  RangeResult result;
  for (;;) {
    // A page under a cursor is asked for once: a lost answer took the cursor with it.
    Link::Answer answer =
        co_await link_->call(kMethodRange, to_buffer(request), request.cursor() == 0, limit_ns());
    if (!answer.reply && request.cursor() != 0 && answer.reply.error().code == ErrorCode::kUnavailable)
      co_return fail(ErrorCode::kConflict, "range cursor lost", request.cursor());
    CO_TRY(const rpc::Reply reply, std::move(answer.reply));
    CO_TRY(const wire::RangeReply message, parse<wire::RangeReply>(reply.control.span()));
    if (message.entries().empty() && message.cursor() != 0) co_return fail(ErrorCode::kCorrupt, "empty range page");
    if (result.entries.size() + static_cast<size_t>(message.entries_size()) > kRangeEntriesMax)
      co_return fail(ErrorCode::kCorrupt, "range too long");
    for (const wire::Entry& entry : message.entries()) result.entries.push_back(from_wire(entry));
    result.revision = message.revision();
    result.more = message.more();
    if (message.cursor() == 0) co_return result;
    request.set_cursor(message.cursor());
  }
}

runtime::Task<Result<RangeResult>> RpcRemoteMeta::range(std::string begin, std::string end, size_t limit,
                                                        bool backward) {
  wire::RangeRequest request;
  request.set_begin(std::move(begin));
  request.set_end(std::move(end));
  request.set_limit(limit);
  request.set_backward(backward);
  for (int restarts = 0; restarts < kRangeRestartsMax; ++restarts) {
    Result<RangeResult> result = co_await range_once(request);
    if (result || result.error().code != ErrorCode::kConflict) co_return result;
  }
  co_return fail(ErrorCode::kUnavailable, "metadata range");
}

runtime::Task<Result<TransactionResult>> RpcRemoteMeta::commit(Transaction transaction) {
  CO_TRY_VOID(check_transaction(transaction));
  Buffer request = to_buffer(to_wire(transaction));
  if (request.size() > rpc::kControlBytesMax) co_return fail(ErrorCode::kTooLarge, "transaction bytes", request.size());
  Link::Answer answer = co_await link_->call(kMethodCommit, std::move(request), false, limit_ns());
  CO_TRY(const rpc::Reply reply, std::move(answer.reply));
  CO_TRY(const wire::CommitReply message, parse<wire::CommitReply>(reply.control.span()));
  co_return TransactionResult{message.succeeded(), message.revision()};
}

runtime::Task<Result<std::unique_ptr<Watch>>> RpcRemoteMeta::watch(std::string prefix, Revision from) {
  if (link_->closed) co_return fail(closed_error());
  co_return std::make_unique<RemoteWatch>(std::make_shared<WatchState>(link_, std::move(prefix), from));
}

runtime::Task<Result<LeaseId>> RpcRemoteMeta::grant_lease(uint64_t ttl_ns) {
  // Made again after a lost answer: a lease that nobody knows of runs out by itself.
  wire::LeaseRequest request;
  request.set_ttl_ns(ttl_ns);
  Link::Answer answer = co_await link_->call(kMethodGrantLease, to_buffer(request), true, limit_ns());
  CO_TRY(const rpc::Reply reply, std::move(answer.reply));
  CO_TRY(const wire::LeaseReply message, parse<wire::LeaseReply>(reply.control.span()));
  co_return message.lease();
}

runtime::Task<Result<void>> RpcRemoteMeta::renew_lease(LeaseId lease) {
  wire::LeaseRequest request;
  request.set_lease(lease);
  Link::Answer answer = co_await link_->call(kMethodRenewLease, to_buffer(request), true, limit_ns());
  if (!answer.reply) co_return fail(std::move(answer.reply.error()));
  co_return Result<void>();
}

runtime::Task<Result<void>> RpcRemoteMeta::revoke_lease(LeaseId lease) {
  wire::LeaseRequest request;
  request.set_lease(lease);
  Link::Answer answer = co_await link_->call(kMethodRevokeLease, to_buffer(request), true, limit_ns());
  if (answer.reply) co_return Result<void>();
  // An earlier try may have ended it.
  if (answer.repeated && answer.reply.error().code == ErrorCode::kNotFound) co_return Result<void>();
  co_return fail(std::move(answer.reply.error()));
}

}  // namespace

std::unique_ptr<RemoteMeta> RemoteMeta::create(runtime::Runtime& runtime, std::string address,
                                               RemoteMetaOptions options) {
  return std::make_unique<RpcRemoteMeta>(std::make_shared<Link>(runtime, std::move(address), options));
}

}  // namespace foreshard::meta
