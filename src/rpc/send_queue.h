// SendQueue: the writing half of a connection. Messages wait in order; one coroutine, run(), takes everything
// that waits and sends it in one write: headers and small control parts by way of a staging buffer, data from
// where it lies. Owned by a channel or a connection of a service, which spawns run() once and keeps both alive
// until it returned. close() ends it; what was not sent then fails.
//
// Invariant: bytes of a message are touched only while its state is kQueued or kWriting; a queued one can be
// withdrawn at once, one being written only when the write has ended.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "base/buffer.h"
#include "rpc/message.h"
#include "runtime/io.h"
#include "runtime/sync.h"

namespace foreshard::rpc {

// A message on its way out; lives where its control and data live, in the sender's frame.
class OutgoingMessage {
 public:
  enum class State : uint8_t { kIdle, kQueued, kWriting, kSent, kFailed };

  OutgoingMessage() = default;
  OutgoingMessage(const OutgoingMessage&) = delete;
  OutgoingMessage& operator=(const OutgoingMessage&) = delete;
  ~OutgoingMessage() { unlink(); }

  MessageHeader header;  // lengths, checksums of the parts and remaining_ns are filled in by the queue
  ConstByteSpan control;
  ConstByteSpan data;
  uint64_t deadline_ns = UINT64_MAX;
  runtime::WaitQueue* woken_at_end = nullptr;  // when it comes to rest, if anybody waits for that
  State state() const { return state_; }
  // Neither kQueued nor kWriting: nobody looks at the parts any more.
  bool at_rest() const { return state_ != State::kQueued && state_ != State::kWriting; }
  // Takes it out of the queue; only while kQueued.
  void withdraw() {
    ASSERT(state_ == State::kQueued);
    end(State::kFailed);
  }

 private:
  friend class SendQueue;
  friend class MessageList;
  void end(State state) {
    unlink();
    state_ = state;
    if (woken_at_end != nullptr) woken_at_end->wake_all();
  }
  inline void unlink();
  State state_ = State::kIdle;
  class MessageList* list_ = nullptr;
  OutgoingMessage* previous_ = nullptr;
  OutgoingMessage* next_ = nullptr;
};

// A queue of messages through their own links.
class MessageList {
 public:
  bool empty() const { return head_ == nullptr; }
  OutgoingMessage* front() { return head_; }
  void push_back(OutgoingMessage& message) {
    message.list_ = this;
    message.previous_ = tail_;
    message.next_ = nullptr;
    (tail_ != nullptr ? tail_->next_ : head_) = &message;
    tail_ = &message;
  }
  void remove(OutgoingMessage& message) {
    (message.previous_ != nullptr ? message.previous_->next_ : head_) = message.next_;
    (message.next_ != nullptr ? message.next_->previous_ : tail_) = message.previous_;
    message.list_ = nullptr;
  }

 private:
  OutgoingMessage* head_ = nullptr;
  OutgoingMessage* tail_ = nullptr;
};

inline void OutgoingMessage::unlink() {
  if (list_ != nullptr) list_->remove(*this);
}

class SendQueue {
 public:
  SendQueue(runtime::Executor& executor, runtime::Connection& connection);
  SendQueue(const SendQueue&) = delete;
  SendQueue& operator=(const SendQueue&) = delete;

  // After close() the message fails at once.
  void enqueue(OutgoingMessage& message);
  // A cancel of this call, sent when there is room; dropped when too many wait (it is only a courtesy).
  void enqueue_cancel(uint64_t call_id);
  // Writes until close() or an error of the connection, which is returned. Messages at hand then fail.
  runtime::Task<Result<void>> run();
  void close();
  bool closed() const { return closed_; }

 private:
  void gather();
  void stage(const void* bytes, size_t size);
  void stage_message(OutgoingMessage& message);
  void append(ConstByteSpan bytes);
  void end_batch(OutgoingMessage::State state);

  runtime::Executor& executor_;
  runtime::Connection& connection_;
  const bool in_process_;
  runtime::WaitQueue wake_;
  MessageList queued_;
  MessageList writing_;
  std::vector<uint64_t> cancels_;
  std::unique_ptr<std::byte[]> staging_;
  size_t staged_bytes_ = 0;
  std::vector<iovec> iovecs_;
  size_t batch_bytes_ = 0;
  uint64_t batch_now_ns_ = 0;  // read once per batch, if anything has a deadline
  bool closed_ = false;
};

}  // namespace foreshard::rpc
