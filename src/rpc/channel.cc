#include <algorithm>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/crc32c.h"
#include "base/log.h"
#include "rpc/admission.h"
#include "rpc/direct.h"
#include "rpc/message.h"
#include "rpc/receive_buffer.h"
#include "rpc/rpc.h"
#include "rpc/send_queue.h"

namespace foreshard::rpc {
namespace {

// How long a call that is past its deadline waits for a write or read of its spans that is under way; then
// the peer counts as stuck and the connection is ended.
constexpr uint64_t kStuckNs = 1'000'000'000;
constexpr uint32_t kSlotsMax = 1u << 16;

class StreamChannel;

// A call that waits for its answer; lives in the frame of call(). Its id names its slot, so that the reader
// finds it without a search, and a late answer to an earlier call of the slot finds nothing.
struct PendingCall {
  PendingCall(StreamChannel& of, const Call& call);
  PendingCall(const PendingCall&) = delete;
  PendingCall& operator=(const PendingCall&) = delete;
  ~PendingCall();
  void finish(Result<Reply> outcome) {
    if (done) return;
    done = true;
    result = std::move(outcome);
    wake.wake_all();
  }

  StreamChannel& channel;
  uint64_t id = 0;
  const void* owner;
  ByteSpan data_into;
  runtime::WaitQueue wake;
  OutgoingMessage message;
  Result<Reply> result;
  bool done = false;
  bool receiving = false;  // the connection reads into data_into
  bool given_up = false;   // asks the reader to let go of data_into
};

class StreamChannel final : public Channel {
 public:
  StreamChannel(runtime::Runtime& runtime, std::unique_ptr<runtime::Connection> connection, ChannelOptions options)
      : executor_(runtime.executor()),
        connection_(std::move(connection)),
        meeting_place_(connection_->meeting_place()),
        send_(executor_, *connection_),
        receive_(*connection_),
        admission_(executor_, std::min(options.calls_max, kSlotsMax), options.bytes_in_flight_max),
        gate_(executor_),
        gone_(executor_) {}

  static void start(std::shared_ptr<StreamChannel> self) {
    self->executor_.spawn(write_loop(self, self->gate_.enter()));
    self->executor_.spawn(read_loop(self, self->gate_.enter()));
  }

  runtime::Task<Result<Reply>> call(const Call& call) override;
  bool closed() const override { return gone_.is_set(); }
  void end_calls(const void* owner) override {
    for (PendingCall* pending : slots_) {
      if (pending == nullptr || pending->owner != owner) continue;
      pending->finish(fail(ErrorCode::kUnavailable, "channel closed"));
    }
  }
  runtime::Task<void> close() override {
    end(Error{ErrorCode::kUnavailable, "channel closed", 0, {}});
    co_await gate_.close();
  }
  runtime::Task<void> wait_closed() override { co_await gone_.wait(); }

  // Ends the connection; every call ends with this error.
  void end(Error reason);

 private:
  friend struct PendingCall;
  static runtime::Task<void> write_loop(std::shared_ptr<StreamChannel> self, std::optional<runtime::Gate::Pass> pass);
  static runtime::Task<void> read_loop(std::shared_ptr<StreamChannel> self, std::optional<runtime::Gate::Pass> pass);
  runtime::Task<Result<void>> read_message();
  runtime::Task<Result<void>> read_data_into_call(const MessageHeader& header);
  runtime::Task<void> settle(PendingCall& pending);
  void deliver(const MessageHeader& header, Buffer control, Buffer data);
  PendingCall* find(uint64_t id);
  std::shared_ptr<DirectPeer> direct_peer(const Call& call) const;

  runtime::Executor& executor_;
  std::unique_ptr<runtime::Connection> connection_;
  runtime::MeetingPlace* const meeting_place_;  // null: the peer is in another process, or pretends to be
  SendQueue send_;
  ReceiveBuffer receive_;
  Admission admission_;
  runtime::Gate gate_;
  runtime::Signal gone_;
  Error reason_{ErrorCode::kUnavailable, "channel closed", 0, {}};
  std::vector<PendingCall*> slots_;
  std::vector<uint32_t> free_slots_;
  uint64_t next_call_ = 1;
};

PendingCall::PendingCall(StreamChannel& of, const Call& call)
    : channel(of), owner(call.owner), data_into(call.data_into), wake(of.executor_) {
  if (channel.free_slots_.empty()) {
    channel.free_slots_.push_back(static_cast<uint32_t>(channel.slots_.size()));
    channel.slots_.push_back(nullptr);
  }
  const uint32_t slot = channel.free_slots_.back();
  channel.free_slots_.pop_back();
  channel.slots_[slot] = this;
  id = channel.next_call_++ << 16 | slot;
  message.header.kind = static_cast<uint8_t>(MessageKind::kRequest);
  message.header.method = call.method;
  message.header.call_id = id;
  message.header.endpoint = call.endpoint;
  message.header.reply_data_bytes_max = static_cast<uint32_t>(std::min<size_t>(data_into.size(), kDataBytesMax));
  message.control = call.control;
  message.data = call.data;
  message.deadline_ns = call.deadline_ns;
}

PendingCall::~PendingCall() {
  const auto slot = static_cast<uint32_t>(id & (kSlotsMax - 1));
  channel.slots_[slot] = nullptr;
  channel.free_slots_.push_back(slot);
}

PendingCall* StreamChannel::find(uint64_t id) {
  const uint64_t slot = id & (kSlotsMax - 1);
  if (slot >= slots_.size()) return nullptr;
  PendingCall* pending = slots_[slot];
  return pending != nullptr && pending->id == id && !pending->done && !pending->given_up ? pending : nullptr;
}

// A call with a deadline goes by the stream: it may have to let go of its spans before the handler is done.
std::shared_ptr<DirectPeer> StreamChannel::direct_peer(const Call& call) const {
  if (meeting_place_ == nullptr || call.deadline_ns != UINT64_MAX) return nullptr;
  return std::static_pointer_cast<DirectPeer>(meeting_place_->accepting.lock());
}

runtime::Task<Result<Reply>> StreamChannel::call(const Call& call) {
  if (call.control.size() > kControlBytesMax || call.data.size() > kDataBytesMax)
    co_return fail(ErrorCode::kTooLarge, "request", std::max(call.control.size(), call.data.size()));
  const std::optional<runtime::Gate::Pass> pass = gate_.enter();
  if (!pass || closed()) co_return fail(reason_);
  if (const std::shared_ptr<DirectPeer> peer = direct_peer(call)) {
    Result<Reply> reply = co_await peer->carry_out(call);
    if (closed()) co_return fail(reason_);
    co_return reply;
  }
  Admission::Ticket ticket = admission_.try_enter(call.data.size());
  if (!ticket) {
    ticket = co_await admission_.enter(call.data.size(), call.deadline_ns);
    if (closed()) co_return fail(reason_);
    if (!ticket) co_return fail(ErrorCode::kTimeout, "call not sent");
  }

  PendingCall pending(*this, call);
  send_.enqueue(pending.message);
  while (!pending.done) {
    const bool woken = co_await pending.wake.wait_until(call.deadline_ns);
    if (!woken) break;
  }
  if (!pending.done || !pending.message.at_rest() || pending.receiving) co_await settle(pending);
  co_return std::move(pending.result);
}

// Makes sure that nobody looks at the call's spans any more: after the deadline, or when the answer was faster
// than the end of the write.
runtime::Task<void> StreamChannel::settle(PendingCall& pending) {
  pending.given_up = true;
  pending.message.woken_at_end = &pending.wake;
  const bool never_sent = pending.message.state() == OutgoingMessage::State::kQueued;
  if (never_sent) pending.message.withdraw();
  uint64_t stuck_ns = executor_.now_ns() + kStuckNs;
  while (!pending.message.at_rest() || pending.receiving) {
    const bool woken = co_await pending.wake.wait_until(stuck_ns);
    if (woken || (pending.message.at_rest() && !pending.receiving)) continue;
    end(Error{ErrorCode::kUnavailable, "peer is stuck", 0, {}});
    stuck_ns = UINT64_MAX;
  }
  if (pending.done) co_return;
  if (!never_sent) send_.enqueue_cancel(pending.id);
  pending.result = fail(ErrorCode::kTimeout, "remote call", pending.message.header.method);
}

void StreamChannel::end(Error reason) {
  if (gone_.is_set()) return;
  reason_ = std::move(reason);
  connection_->shutdown();
  send_.close();
  admission_.close();
  gone_.set();
  for (PendingCall* pending : slots_)
    if (pending != nullptr) pending->finish(fail(reason_));
}

runtime::Task<void> StreamChannel::write_loop(std::shared_ptr<StreamChannel> self,
                                              std::optional<runtime::Gate::Pass>) {
  Result<void> outcome = co_await self->send_.run();
  if (!outcome) self->end(Error{ErrorCode::kUnavailable, "connection lost", 0, outcome.error().message()});
}

runtime::Task<void> StreamChannel::read_loop(std::shared_ptr<StreamChannel> self,
                                             std::optional<runtime::Gate::Pass>) {
  for (;;) {
    Result<void> outcome = co_await self->read_message();
    if (outcome) continue;
    Error& error = outcome.error();
    if (error.code == ErrorCode::kUnsupported) {
      self->end(std::move(error));
    } else {
      if (error.code == ErrorCode::kCorrupt)
        LOG_WARN("rpc: {} sent a broken message: {}", self->connection_->peer(), error.message());
      self->end(Error{ErrorCode::kUnavailable, "connection lost", 0, error.message()});
    }
    co_return;
  }
}

// An error of the peer, as ours; a code that this version does not know says just that.
Error remote_error(const MessageHeader& header, ConstByteSpan text) {
  const bool known = header.status <= static_cast<uint16_t>(ErrorCode::kPermission);
  return Error{known ? static_cast<ErrorCode>(header.status) : ErrorCode::kUnsupported, "remote", header.error_id,
               std::string(as_text(text))};
}

runtime::Task<Result<void>> StreamChannel::read_message() {
  if (receive_.available() < kHeaderBytes) {
    Result<void> filled = co_await receive_.fill(kHeaderBytes);
    if (!filled) co_return filled;
  }
  Result<MessageHeader> opened = open_header(receive_.peek(kHeaderBytes), meeting_place_ != nullptr);
  if (!opened) co_return fail(std::move(opened.error()));
  const MessageHeader header = *opened;
  receive_.consume(kHeaderBytes);
  receive_.note_data_bytes(header.data_bytes);
  if (static_cast<MessageKind>(header.kind) != MessageKind::kReply)
    co_return fail(ErrorCode::kCorrupt, "message kind", header.kind);

  Buffer control = Buffer::allocate(header.control_bytes);
  if (header.control_bytes != 0) {
    if (receive_.available() >= header.control_bytes) {
      receive_.take_available(control.span());
    } else {
      Result<void> taken = co_await receive_.take(control.span());
      if (!taken) co_return taken;
    }
    if (crc32c(control.span()) != header.control_crc) co_return fail(ErrorCode::kCorrupt, "control checksum");
  }
  if (header.call_id == 0) {
    // Not an answer to a call but the peer's reason for ending the connection.
    if (header.status == 0) co_return fail(ErrorCode::kCorrupt, "message call id");
    co_return fail(remote_error(header, control.span()));
  }
  Buffer data;
  if (header.data_bytes != 0) {
    PendingCall* pending = find(header.call_id);
    if (pending != nullptr && pending->data_into.size() < header.data_bytes && !pending->data_into.empty()) {
      pending->finish(fail(ErrorCode::kTooLarge, "reply data", header.data_bytes));
      pending = nullptr;
    }
    if (pending == nullptr) {
      Result<void> skipped = co_await receive_.skip(header.data_bytes);
      co_return skipped;
    }
    if (!pending->data_into.empty()) {
      Result<void> taken = co_await read_data_into_call(header);
      if (!taken) co_return taken;
    } else {
      data = Buffer::allocate(header.data_bytes);
      Result<void> taken = co_await receive_.take(data.span());
      if (!taken) co_return taken;
      if (!data_matches(header, data.span())) co_return fail(ErrorCode::kCorrupt, "data checksum");
    }
  }
  deliver(header, std::move(control), std::move(data));
  co_return Result<void>();
}

// The call may be given up between any two reads; what then remains of its data is thrown away.
runtime::Task<Result<void>> StreamChannel::read_data_into_call(const MessageHeader& header) {
  size_t done = 0;
  while (done < header.data_bytes) {
    PendingCall* pending = find(header.call_id);
    if (pending == nullptr) {
      Result<void> skipped = co_await receive_.skip(header.data_bytes - done);
      co_return skipped;
    }
    const ByteSpan rest = pending->data_into.subspan(done, header.data_bytes - done);
    const size_t copied = receive_.take_available(rest);
    done += copied;
    if (copied == rest.size()) break;
    if (rest.size() - copied < ReceiveBuffer::kDirectBytesMin) {
      Result<void> filled = co_await receive_.fill(rest.size() - copied);
      if (!filled) co_return filled;
      continue;
    }
    pending->receiving = true;
    Result<size_t> count = co_await receive_.read_into(rest.subspan(copied));
    pending->receiving = false;
    if (pending->given_up || pending->done) pending->wake.wake_all();
    if (!count) co_return fail(std::move(count.error()));
    done += *count;
  }
  PendingCall* pending = find(header.call_id);
  if (pending != nullptr && !data_matches(header, pending->data_into.first(header.data_bytes)))
    co_return fail(ErrorCode::kCorrupt, "data checksum");
  co_return Result<void>();
}

void StreamChannel::deliver(const MessageHeader& header, Buffer control, Buffer data) {
  PendingCall* pending = find(header.call_id);
  if (pending == nullptr) return;  // a late answer
  if (header.status != 0) {
    pending->finish(fail(remote_error(header, control.span())));
    return;
  }
  Reply reply;
  reply.control = std::move(control);
  reply.data = std::move(data);
  reply.data_size = header.data_bytes;
  pending->finish(std::move(reply));
}

}  // namespace

std::shared_ptr<Channel> Channel::over(runtime::Runtime& runtime, std::unique_ptr<runtime::Connection> connection,
                                       ChannelOptions options) {
  auto channel = std::make_shared<StreamChannel>(runtime, std::move(connection), options);
  StreamChannel::start(channel);
  // The coroutines keep the channel alive; who drops it without close() at least ends the connection.
  StreamChannel* raw = channel.get();
  return std::shared_ptr<Channel>(raw, [keep = std::move(channel)](StreamChannel* dropped) mutable {
    dropped->end(Error{ErrorCode::kUnavailable, "channel closed", 0, {}});
    keep.reset();
  });
}

runtime::Task<Result<std::shared_ptr<Channel>>> Channel::connect(runtime::Runtime& runtime, std::string address,
                                                                 uint64_t deadline_ns, ChannelOptions options) {
  Result<std::unique_ptr<runtime::Connection>> connection =
      co_await runtime.network().connect(address, deadline_ns);
  if (!connection) co_return fail(std::move(connection.error()));
  co_return over(runtime, std::move(*connection), options);
}

}  // namespace foreshard::rpc
