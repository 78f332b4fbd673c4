// Mailbox<T>: messages from any threads to one executor, in order, bounded.
//
// Owner: the receiver's side; senders must be done with it before it ends. One coroutine receives at a time.
// Ending: close() lets no more in; receive() hands out what is there, then nothing.
#pragma once

#include <coroutine>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

#include "base/assert.h"
#include "runtime/executor.h"
#include "runtime/task.h"

namespace foreshard::runtime {

template <class T>
class Mailbox {
 public:
  Mailbox(Executor& receiver, size_t messages_max) : receiver_(receiver), messages_max_(messages_max) {}
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  // From any thread. False when it is full or closed: the message is then still the caller's.
  bool try_send(T& message) {
    const std::lock_guard lock(mutex_);
    if (closed_ || messages_.size() >= messages_max_) return false;
    messages_.push_back(std::move(message));
    wake();
    return true;
  }
  bool try_send(T&& message) { return try_send(message); }

  // On the receiver's thread: the next message, or nothing when closed and empty.
  Task<std::optional<T>> receive() {
    for (;;) {
      std::optional<T> message = take();
      if (message) co_return message;
      if (is_closed_and_empty()) co_return std::nullopt;
      Arrival arrival(*this);
      co_await arrival;
    }
  }

  // From any thread.
  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    wake();
  }

 private:
  // Waits until there is something to look at. Forgets itself when its coroutine is destroyed.
  struct Arrival {
    explicit Arrival(Mailbox& m) : mailbox(m) {}
    Arrival(const Arrival&) = delete;
    Arrival& operator=(const Arrival&) = delete;
    ~Arrival() {
      const std::lock_guard lock(mailbox.mutex_);
      mailbox.waiter_ = nullptr;
    }
    bool await_ready() { return false; }
    bool await_suspend(std::coroutine_handle<> h) {
      const std::lock_guard lock(mailbox.mutex_);
      if (!mailbox.messages_.empty() || mailbox.closed_) return false;
      ASSERT(mailbox.waiter_ == nullptr);
      mailbox.waiter_ = h;
      return true;
    }
    void await_resume() {}
    Mailbox& mailbox;
  };

  void wake() {
    if (waiter_ != nullptr) receiver_.post_from_thread(std::exchange(waiter_, nullptr));
  }
  std::optional<T> take() {
    const std::lock_guard lock(mutex_);
    if (messages_.empty()) return std::nullopt;
    std::optional<T> message(std::move(messages_.front()));
    messages_.pop_front();
    return message;
  }
  bool is_closed_and_empty() {
    const std::lock_guard lock(mutex_);
    return closed_ && messages_.empty();
  }

  Executor& receiver_;
  const size_t messages_max_;
  std::mutex mutex_;
  std::deque<T> messages_;
  std::coroutine_handle<> waiter_;
  bool closed_ = false;
};

}  // namespace foreshard::runtime
