#include "front/nbd/session.h"

#include <algorithm>

#include "base/log.h"

namespace foreshard::front::nbd {
namespace {

using runtime::Task;

constexpr size_t kFlushBytes = 256u << 10;         // a batch this large leaves before more is parsed
constexpr size_t kQueuedBytesMax = 1u << 20;       // replies waiting: from here on no further request begins
constexpr size_t kLargePayloadBytes = 32u << 10;   // from here on payloads are read to where they belong
constexpr size_t kReadBytesAfterLarge = 4u << 10;  // so the next one's header is read with little of its payload
constexpr uint32_t kRoundsPerTurn = 8;             // reads without a break for other connections

NbdOperation operation_of(const Request& request) {
  switch (request.command) {
    case kCmdRead: return NbdOperation::kRead;
    case kCmdWrite: return NbdOperation::kWrite;
    case kCmdFlush: return NbdOperation::kFlush;
    case kCmdTrim: return NbdOperation::kTrim;
    case kCmdCache: return NbdOperation::kCache;
    case kCmdWriteZeroes: return NbdOperation::kZero;
    case kCmdBlockStatus: return NbdOperation::kBlockStatus;
    default: return NbdOperation::kRefused;
  }
}

}  // namespace

Session::Session(runtime::Executor& executor, runtime::Connection& connection, SessionHost& host,
                 const SessionLimits& limits)
    : executor_(executor),
      connection_(connection),
      peer_group_(connection.peer_group()),
      host_(host),
      limits_(limits),
      receive_buffer_(Buffer::allocate(std::max<size_t>(limits.receive_bytes, Negotiation::kElementBytesMax))),
      read_bytes_(receive_buffer_.size()),
      handshake_deadline_(connection),
      linger_deadline_(connection),
      progress_(executor),
      writer_(executor, connection, *this, limits.requests_in_flight_max) {}

// In good order nothing is held any more; when tasks are destroyed where they stand, the pool gets back what
// this session had, and the export forgets it.
Session::~Session() {
  running_.destroy_all();
  host_.pool().give_back(shared_bytes_held_);
  if (export_ != nullptr) host_.leave(*this, *export_);
}

Task<void> Session::run() {
  handshake_deadline_.start(executor_, executor_.now_ns() + limits_.handshake_ns);
  const bool entered = co_await negotiate();
  handshake_deadline_.cancel();
  if (entered) {
    writer_.start();
    co_await receive();
    co_await finish();
  }
  connection_.shutdown();
}

void Session::drain() {
  draining_ = true;
  if (export_ == nullptr) return abort();
  settle();
  progress_.wake_all();
}

void Session::displace() {
  displaced_ = true;
  drain();
}

void Session::abort() { connection_.shutdown(); }

uint64_t Session::stalled_bytes(uint64_t before_ns) const {
  const uint64_t leaving_since_ns = writer_.leaving_since_ns();
  const bool not_reading = leaving_since_ns != 0 && leaving_since_ns < before_ns;
  const bool not_sending = payload_since_ns_ != 0 && payload_since_ns_ < before_ns;
  return not_reading || not_sending ? shared_bytes_held_ : 0;
}

// ---- negotiation

Task<bool> Session::negotiate() {
  Negotiation negotiation(host_, peer_group_);
  for (;;) {
    size_t consumed = 1;
    while (consumed > 0 && !negotiation.ended() && negotiation.output_bytes() < kFlushBytes) {
      consumed = negotiation.consume(arrived());
      parsed_end_ += consumed;
    }
    if (negotiation.state() == Negotiation::State::kTransmission) {
      export_ = host_.enter(*this, negotiation.export_name());
      if (export_ == nullptr) co_return false;
      device_ = export_->device;
      agreement_ = negotiation.agreement();
    }
    const std::string output = negotiation.take_output();
    if (!output.empty()) {
      const iovec piece{const_cast<char*>(output.data()), output.size()};
      const Result<void> written = co_await connection_.write({&piece, 1});
      if (!written) co_return false;
    }
    if (negotiation.ended()) co_return negotiation.state() == Negotiation::State::kTransmission;
    if (consumed > 0) continue;
    const Result<size_t> got = co_await connection_.read(free_space());
    if (!got || *got == 0) co_return false;
    arrived_end_ += *got;
  }
}

// Where the next read goes: behind what is there, after moving that to the front if need be. What is there is
// a part of one element, since all complete ones have been consumed.
ByteSpan Session::free_space() {
  const size_t left = arrived_end_ - parsed_end_;
  if (parsed_end_ != 0) {
    if (left > 0) std::memmove(receive_buffer_.data(), receive_buffer_.data() + parsed_end_, left);
    parsed_end_ = 0;
    arrived_end_ = left;
  }
  const size_t room = receive_buffer_.size() - arrived_end_;
  ASSERT(room > 0);
  return receive_buffer_.subspan(arrived_end_, std::min(room, read_bytes_));
}

// ---- receiving

Task<void> Session::receive() {
  uint32_t rounds = 0;
  arrived_ns_ = executor_.now_ns();
  for (;;) {
    const Need need = parse();
    writer_.flush_now();
    if (need == Need::kEnd || writer_.broken() || draining_) co_return;
    if (++rounds % kRoundsPerTurn == 0) co_await executor_.yield();
    if (need == Need::kAdmission) {
      const bool admitted = co_await admit();
      if (!admitted) co_return;
    } else if (need == Need::kPayload) {
      const bool whole = co_await receive_payload();
      if (!whole) co_return;
    } else {
      const Result<size_t> got = co_await connection_.read(free_space());
      if (!got || *got == 0) co_return;
      arrived_end_ += *got;
    }
    arrived_ns_ = executor_.now_ns();
  }
}

// Works through what has arrived until something is missing.
Session::Need Session::parse() {
  parsing_ = true;
  Need need = Need::kBytes;
  for (;;) {
    if (stage_ == Stage::kHeader) {
      if (arrived().size() < sizeof(RequestHeader)) break;
      if (!parse_header()) {
        need = Need::kEnd;
        break;
      }
    }
    if (stage_ == Stage::kAdmission) {
      if (!try_admit()) {
        need = Need::kAdmission;
        break;
      }
      begin();
    }
    if (stage_ == Stage::kSkip) {
      const size_t piece = std::min<size_t>(request_.payload_bytes() - payload_received_, arrived().size());
      parsed_end_ += piece;
      payload_received_ += static_cast<uint32_t>(piece);
      if (payload_received_ < request_.payload_bytes()) break;
      stage_ = Stage::kHeader;
      answer_error(request_, charge_, arrived_ns_, request_.refusal, request_.reason);
    }
    if (stage_ == Stage::kPayload) {
      const size_t piece = std::min<size_t>(payload_.size() - payload_received_, arrived().size());
      std::memcpy(payload_.data() + payload_received_, arrived().data(), piece);
      parsed_end_ += piece;
      payload_received_ += static_cast<uint32_t>(piece);
      if (payload_received_ < payload_.size()) {
        need = Need::kPayload;
        break;
      }
      stage_ = Stage::kHeader;
      payload_since_ns_ = 0;
      read_bytes_ = payload_.size() < kLargePayloadBytes ? receive_buffer_.size() : kReadBytesAfterLarge;
      ++executing_;
      run_write(request_, charge_, arrived_ns_, std::move(payload_));
    }
    if (writer_.gathered_bytes() >= kFlushBytes) writer_.flush_now();
  }
  parsing_ = false;
  return need;
}

// False when the conversation ends here.
bool Session::parse_header() {
  const auto header = load_object<RequestHeader>(arrived());
  if (!decode_request(header, request_)) {
    LOG_DEBUG("nbd: {}: not a request, closing", connection_.peer());
    return false;
  }
  parsed_end_ += sizeof(RequestHeader);
  if (request_.command == kCmdDisconnect) return false;
  check_request(request_, agreement_);
  stage_ = Stage::kAdmission;
  return true;
}

namespace {

// The memory that a request needs until its reply has left: whole pages, as buffers have them.
uint32_t bytes_needed(const Request& request) {
  if (request.refusal != kOk) return 0;
  if (request.command == kCmdRead || request.command == kCmdWrite) {
    return static_cast<uint32_t>((request.length + kPageBytes - 1) / kPageBytes * kPageBytes);
  }
  return request.command == kCmdBlockStatus ? kExtentsMax * sizeof(StatusExtent) : 0;
}

}  // namespace

// Much data waiting for the client means that more would only grow cold beside it.
bool Session::own_room() const {
  return in_flight_ < limits_.requests_in_flight_max && writer_.queued_bytes() < kQueuedBytesMax &&
         own_bytes_held_ + shared_bytes_held_ + bytes_needed(request_) <= limits_.bytes_in_flight_max;
}

bool Session::try_admit() {
  if (!own_room()) return false;
  const uint32_t bytes = bytes_needed(request_);
  charge_ = Charge();
  if (own_bytes_held_ + bytes <= limits_.bytes_reserved) {
    charge_.own_bytes = bytes;
  } else {
    if (!host_.pool().try_take(bytes)) return false;
    charge_.shared_bytes = bytes;
  }
  return true;
}

// Waits for room: of the connection's own bounds first, then of the pool. The request has begun when it
// returns true; false when the session is to end.
Task<bool> Session::admit() {
  while (!own_room()) {
    if (writer_.broken() || draining_) co_return false;
    co_await progress_.wait();
  }
  if (!try_admit()) {
    const uint32_t bytes = bytes_needed(request_);
    BytePool::Place place(host_.pool());
    while (!place.try_take(bytes)) {
      if (writer_.broken() || draining_) co_return false;
      const bool changed = co_await place.wait_until(executor_.now_ns() + limits_.pressure_ns);
      if (!changed && place.first()) host_.relieve();
    }
    charge_ = Charge();
    charge_.shared_bytes = bytes;
  }
  begin();
  co_return true;
}

// The request is admitted: from here on it counts as in flight.
void Session::begin() {
  ++in_flight_;
  own_bytes_held_ += charge_.own_bytes;
  shared_bytes_held_ += charge_.shared_bytes;
  if (draining_ && request_.refusal == kOk) {
    request_.refusal = kEShutdown;
    request_.reason = "the server is stopping";
  }
  stage_ = Stage::kHeader;
  if (request_.refusal != kOk) {
    payload_received_ = 0;
    if (request_.payload_bytes() > 0) {
      stage_ = Stage::kSkip;
    } else {
      answer_error(request_, charge_, arrived_ns_, request_.refusal, request_.reason);
    }
    return;
  }
  if (request_.command == kCmdWrite) {
    payload_ = Buffer::allocate(request_.length);
    payload_received_ = 0;
    payload_since_ns_ = arrived_ns_;
    stage_ = Stage::kPayload;
    return;
  }
  ++executing_;
  if (request_.command == kCmdRead) {
    run_read(request_, charge_, arrived_ns_);
  } else if (request_.command == kCmdBlockStatus) {
    run_block_status(request_, charge_, arrived_ns_);
  } else {
    run_other(request_, charge_, arrived_ns_);
  }
}

// The rest of a large payload goes straight to its buffer.
Task<bool> Session::receive_payload() {
  while (payload_received_ < payload_.size()) {
    const Result<size_t> got =
        co_await connection_.read(payload_.subspan(payload_received_, payload_.size() - payload_received_));
    if (!got || *got == 0) co_return false;
    payload_received_ += static_cast<uint32_t>(*got);
  }
  co_return true;
}

// Everything that has begun ends, and what can be said of it is said.
Task<void> Session::finish() {
  if (stage_ == Stage::kPayload || stage_ == Stage::kSkip) {
    // The client left in the middle of a request: it never began.
    --in_flight_;
    own_bytes_held_ -= charge_.own_bytes;
    shared_bytes_held_ -= charge_.shared_bytes;
    host_.pool().give_back(charge_.shared_bytes);
    payload_ = Buffer();
    payload_since_ns_ = 0;
  }
  draining_ = true;
  settle();
  while (in_flight_ > 0 || !writer_.resting()) co_await progress_.wait();
  linger_deadline_.cancel();
}

// ---- requests

Running Session::run_read(Request request, Charge charge, uint64_t arrived_ns) {
  Buffer data = Buffer::allocate(request.length);
  const Result<void> read = co_await device_->read(request.offset, data.span());
  --executing_;
  if (!read) {
    answer_error(request, charge, arrived_ns, wire_error(read.error().code), read.error().context);
  } else {
    answer_data(request, charge, arrived_ns, std::move(data));
  }
}

Running Session::run_write(Request request, Charge charge, uint64_t arrived_ns, Buffer payload) {
  const Result<void> written = co_await device_->write(request.offset, payload.span(), request.has(kCmdFlagFua));
  --executing_;
  if (!written) {
    answer_error(request, charge, arrived_ns, wire_error(written.error().code), written.error().context);
  } else {
    answer_done(request, charge, arrived_ns);
  }
}

Running Session::run_other(Request request, Charge charge, uint64_t arrived_ns) {
  const bool fua = request.has(kCmdFlagFua);
  Result<void> done;
  if (request.command == kCmdFlush) {
    done = co_await device_->flush();
  } else if (request.command == kCmdTrim) {
    done = co_await device_->discard(request.offset, request.length, fua);
  } else if (request.command == kCmdWriteZeroes) {
    const auto mode = request.has(kCmdFlagNoHole) ? volume::ZeroMode::kKeepAllocated : volume::ZeroMode::kMayUnmap;
    done = co_await device_->zero(request.offset, request.length, mode, fua);
  } else {
    device_->prefetch(request.offset, request.length);
  }
  --executing_;
  if (!done) {
    answer_error(request, charge, arrived_ns, wire_error(done.error().code), done.error().context);
  } else {
    answer_done(request, charge, arrived_ns);
  }
}

Running Session::run_block_status(Request request, Charge charge, uint64_t arrived_ns) {
  const uint32_t extents_max = request.has(kCmdFlagReqOne) ? 1 : kExtentsMax;
  const Result<std::vector<volume::Extent>> extents =
      co_await device_->block_status(request.offset, request.length, extents_max);
  --executing_;
  if (!extents) {
    answer_error(request, charge, arrived_ns, wire_error(extents.error().code), extents.error().context);
  } else {
    answer_status(request, charge, arrived_ns, *extents);
  }
}

// ---- answers

void Session::answer_done(const Request& request, const Charge& charge, uint64_t arrived_ns) {
  const Sample sample{arrived_ns, request.length, operation_of(request), false};
  answer(ReplyHeader::done(request), Buffer(), charge, sample);
}

void Session::answer_data(const Request& request, const Charge& charge, uint64_t arrived_ns, Buffer data) {
  const Sample sample{arrived_ns, request.length, NbdOperation::kRead, false};
  // Zeros travel as a hole. The look costs next to nothing on data that does not begin with many zeros.
  if (agreement_.structured_replies && is_all_zero(data.span())) {
    return answer(ReplyHeader::hole(request), Buffer(), charge, sample);
  }
  const ReplyHeader header = ReplyHeader::data(request, agreement_.structured_replies, data.size());
  answer(header, std::move(data), charge, sample);
}

void Session::answer_status(const Request& request, const Charge& charge, uint64_t arrived_ns,
                            const std::vector<volume::Extent>& extents) {
  Buffer payload = encode_extents(request, extents);
  if (payload.empty()) return answer_error(request, charge, arrived_ns, kEIo, "the device describes nothing");
  const ReplyHeader header = ReplyHeader::status(request, payload.size());
  const Sample sample{arrived_ns, request.length, NbdOperation::kBlockStatus, false};
  answer(header, std::move(payload), charge, sample);
}

void Session::answer_error(const Request& request, const Charge& charge, uint64_t arrived_ns, WireError error,
                           std::string_view reason) {
  const NbdOperation operation = request.refusal != kOk ? NbdOperation::kRefused : operation_of(request);
  const Sample sample{arrived_ns, 0, operation, true};
  const ReplyHeader header = ReplyHeader::error(request, agreement_.structured_replies, error, reason);
  answer(header, Buffer(), charge, sample);
}

void Session::answer(const ReplyHeader& header, Buffer payload, const Charge& charge, const Sample& sample) {
  writer_.add(header, std::move(payload), charge, sample);
  if (!parsing_) writer_.flush_soon();
  if (draining_) settle();
}

void Session::replies_left(const ReplyBatch& batch, uint64_t left_ns) {
  for (const Sample& sample : batch.samples()) {
    NbdOperationStats& stats = export_->stats.of(sample.operation);
    const uint64_t latency_ns = left_ns - sample.arrived_ns;
    ++stats.requests;
    stats.errors += sample.failed;
    stats.bytes += sample.bytes;
    stats.latency_ns_sum += latency_ns;
    stats.latency.add(latency_ns);
  }
  in_flight_ -= batch.replies();
  own_bytes_held_ -= batch.charge_own_bytes();
  shared_bytes_held_ -= batch.charge_shared_bytes();
  if (batch.charge_shared_bytes() > 0) host_.pool().give_back(batch.charge_shared_bytes());
  progress_.wake_all();
  if (draining_) settle();
}

// While draining: once no request is at the device, the client has linger_ns to take the last replies; once
// all have left, the connection ends.
void Session::settle() {
  if (in_flight_ == 0) {
    connection_.shutdown();
  } else if (executing_ == 0 && !linger_deadline_.pending()) {
    linger_deadline_.start(executor_, executor_.now_ns() + limits_.linger_ns);
  }
}

}  // namespace foreshard::front::nbd
