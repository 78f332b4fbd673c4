#include "rpc/send_queue.h"

#include <cstring>

#include "base/crc32c.h"

namespace foreshard::rpc {
namespace {

constexpr size_t kStagingBytes = 32u << 10;
constexpr size_t kStagedControlBytesMax = 512;   // longer control parts are sent from where they lie
constexpr size_t kBatchIovecsMax = 256;
constexpr size_t kBatchBytesMax = 1u << 20;      // so that one write does not hold its messages for long
constexpr size_t kCancelsWaitingMax = 1024;

}  // namespace

SendQueue::SendQueue(runtime::Executor& executor, runtime::Connection& connection)
    : executor_(executor),
      connection_(connection),
      in_process_(connection.meeting_place() != nullptr),
      wake_(executor),
      staging_(new std::byte[kStagingBytes]) {
  iovecs_.reserve(kBatchIovecsMax);
}

void SendQueue::enqueue(OutgoingMessage& message) {
  ASSERT(message.at_rest());
  if (closed_) {
    message.state_ = OutgoingMessage::State::kFailed;
    return;
  }
  message.header.control_bytes = static_cast<uint32_t>(message.control.size());
  message.header.data_bytes = static_cast<uint32_t>(message.data.size());
  message.header.control_crc = crc32c(message.control);
  if (in_process_) message.header.flags = kFlagDataUnchecked;
  else message.header.data_crc = crc32c(message.data);
  message.state_ = OutgoingMessage::State::kQueued;
  queued_.push_back(message);
  wake_.wake_one();
}

void SendQueue::enqueue_cancel(uint64_t call_id) {
  if (closed_ || cancels_.size() >= kCancelsWaitingMax) return;
  cancels_.push_back(call_id);
  wake_.wake_one();
}

void SendQueue::append(ConstByteSpan bytes) {
  iovecs_.push_back({const_cast<std::byte*>(bytes.data()), bytes.size()});
  batch_bytes_ += bytes.size();
}

// Copies into the staging buffer; what follows directly on earlier staged bytes extends their iovec.
void SendQueue::stage(const void* bytes, size_t size) {
  std::byte* place = staging_.get() + staged_bytes_;
  std::memcpy(place, bytes, size);
  staged_bytes_ += size;
  if (!iovecs_.empty() && static_cast<std::byte*>(iovecs_.back().iov_base) + iovecs_.back().iov_len == place) {
    iovecs_.back().iov_len += size;
    batch_bytes_ += size;
  } else {
    append({place, size});
  }
}

void SendQueue::stage_message(OutgoingMessage& message) {
  if (message.deadline_ns == UINT64_MAX) {
    message.header.remaining_ns = UINT64_MAX;
  } else {
    if (batch_now_ns_ == 0) batch_now_ns_ = executor_.now_ns();
    message.header.remaining_ns = message.deadline_ns > batch_now_ns_ ? message.deadline_ns - batch_now_ns_ : 0;
  }
  seal_header(message.header);
  stage(&message.header, kHeaderBytes);
  if (message.control.size() <= kStagedControlBytesMax) {
    if (!message.control.empty()) stage(message.control.data(), message.control.size());
  } else {
    append(message.control);
  }
  if (!message.data.empty()) append(message.data);
}

void SendQueue::gather() {
  iovecs_.clear();
  staged_bytes_ = 0;
  batch_bytes_ = 0;
  batch_now_ns_ = 0;
  const auto has_room = [this] {
    return batch_bytes_ < kBatchBytesMax && iovecs_.size() + 3 <= kBatchIovecsMax &&
           staged_bytes_ + kHeaderBytes + kStagedControlBytesMax <= kStagingBytes;
  };
  size_t cancels = 0;
  for (; cancels < cancels_.size() && has_room(); ++cancels) {
    MessageHeader header;
    header.kind = static_cast<uint8_t>(MessageKind::kCancel);
    header.call_id = cancels_[cancels];
    seal_header(header);
    stage(&header, kHeaderBytes);
  }
  cancels_.erase(cancels_.begin(), cancels_.begin() + static_cast<ptrdiff_t>(cancels));
  while (!queued_.empty() && has_room()) {
    OutgoingMessage& message = *queued_.front();
    queued_.remove(message);
    message.state_ = OutgoingMessage::State::kWriting;
    writing_.push_back(message);
    stage_message(message);
  }
}

void SendQueue::end_batch(OutgoingMessage::State state) {
  while (!writing_.empty()) writing_.front()->end(state);
}

runtime::Task<Result<void>> SendQueue::run() {
  Result<void> outcome;
  while (!closed_) {
    if (queued_.empty() && cancels_.empty()) {
      co_await wake_.wait();
      continue;
    }
    gather();
    outcome = co_await connection_.write(iovecs_);
    end_batch(outcome ? OutgoingMessage::State::kSent : OutgoingMessage::State::kFailed);
    if (!outcome) break;
  }
  close();
  co_return outcome;
}

void SendQueue::close() {
  closed_ = true;
  while (!queued_.empty()) queued_.front()->end(OutgoingMessage::State::kFailed);
  cancels_.clear();
  wake_.wake_all();
}

}  // namespace foreshard::rpc
