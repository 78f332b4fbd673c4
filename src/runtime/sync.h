// What coroutines of one executor wait on: Waiter queues, Mutex, Semaphore, Gate, Signal, OneShot.
// All are for one executor's thread. A waiter that is destroyed while it waits (a process being killed)
// takes itself out of the queue; a woken one is resumed through the ready queue, never inline.
#pragma once

#include <coroutine>
#include <cstdint>
#include <optional>
#include <utility>

#include "runtime/executor.h"

namespace foreshard::runtime {

// A FIFO of suspended coroutines. wait() suspends until a wake; wait_until also until a deadline.
class WaitQueue {
 public:
  explicit WaitQueue(Executor& executor) : executor_(executor) {}
  WaitQueue(const WaitQueue&) = delete;
  WaitQueue& operator=(const WaitQueue&) = delete;
  ~WaitQueue() { ASSERT(head_ == nullptr); }

  // co_await gives true when woken, false when the deadline passed first.
  class Awaiter : private Timer {
   public:
    Awaiter(WaitQueue& queue, uint64_t deadline_ns) : queue_(&queue), deadline_(deadline_ns) {}
    ~Awaiter() override { unlink(); }
    bool await_ready() { return false; }
    void await_suspend(std::coroutine_handle<> h) {
      handle_ = h;
      queue_->link(this);
      if (deadline_ != UINT64_MAX) start(queue_->executor_, deadline_);
    }
    bool await_resume() { return woken_; }

   private:
    friend class WaitQueue;
    void fire() override {
      Executor& executor = queue_->executor_;
      unlink();
      executor.post(handle_);
    }
    void unlink() {
      if (!linked_) return;
      (previous_ != nullptr ? previous_->next_ : queue_->head_) = next_;
      (next_ != nullptr ? next_->previous_ : queue_->tail_) = previous_;
      linked_ = false;
    }
    WaitQueue* queue_;
    uint64_t deadline_;
    std::coroutine_handle<> handle_;
    Awaiter* previous_ = nullptr;
    Awaiter* next_ = nullptr;
    bool linked_ = false;
    bool woken_ = false;
  };

  Awaiter wait() { return Awaiter(*this, UINT64_MAX); }
  Awaiter wait_until(uint64_t deadline_ns) { return Awaiter(*this, deadline_ns); }
  bool empty() const { return head_ == nullptr; }
  void wake_one() {
    if (head_ == nullptr) return;
    Awaiter* awaiter = head_;
    awaiter->unlink();
    awaiter->cancel();
    awaiter->woken_ = true;
    executor_.post(awaiter->handle_);
  }
  void wake_all() {
    while (head_ != nullptr) wake_one();
  }
  Executor& executor() { return executor_; }

 private:
  void link(Awaiter* awaiter) {
    awaiter->previous_ = tail_;
    (tail_ != nullptr ? tail_->next_ : head_) = awaiter;
    tail_ = awaiter;
    awaiter->linked_ = true;
  }
  Executor& executor_;
  Awaiter* head_ = nullptr;
  Awaiter* tail_ = nullptr;
};

// Counts units; acquire waits until enough are free, first come first served.
class Semaphore {
 public:
  Semaphore(Executor& executor, uint64_t units) : free_(units), queue_(executor) {}
  // A request larger than all units there are is a bug.
  Task<void> acquire(uint64_t units) {
    while (free_ < units || turn_taken_) {
      if (!turn_taken_) {
        // The first in line waits alone on front_, so that a large request is not starved by small ones.
        turn_taken_ = true;
        TurnGuard guard(*this);
        while (free_ < units) co_await front_.wait();
        free_ -= units;
        co_return;
      }
      co_await queue_.wait();
    }
    free_ -= units;
  }
  bool try_acquire(uint64_t units) {
    if (turn_taken_ || free_ < units) return false;
    free_ -= units;
    return true;
  }
  void release(uint64_t units) {
    free_ += units;
    front_.wake_one();
  }
  uint64_t free() const { return free_; }

 private:
  struct TurnGuard {
    Semaphore& semaphore;
    explicit TurnGuard(Semaphore& s) : semaphore(s) {}
    ~TurnGuard() {
      semaphore.turn_taken_ = false;
      semaphore.queue_.wake_all();
    }
  };
  uint64_t free_;
  bool turn_taken_ = false;
  WaitQueue queue_;
  WaitQueue front_{queue_.executor()};
};

// Mutual exclusion between coroutines; guard() gives an owner that unlocks when destroyed.
class Mutex {
 public:
  explicit Mutex(Executor& executor) : queue_(executor) {}
  class [[nodiscard]] Guard {
   public:
    explicit Guard(Mutex* mutex) : mutex_(mutex) {}
    Guard(Guard&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)) {}
    Guard& operator=(Guard&&) = delete;
    ~Guard() {
      if (mutex_ != nullptr) mutex_->unlock();
    }

   private:
    Mutex* mutex_;
  };
  Task<Guard> lock() {
    while (locked_) co_await queue_.wait();
    locked_ = true;
    co_return Guard(this);
  }
  bool locked() const { return locked_; }

 private:
  void unlock() {
    locked_ = false;
    queue_.wake_one();
  }
  bool locked_ = false;
  WaitQueue queue_;
};

// Gate: work enters and leaves; close() lets no more in and waits for what is inside.
class Gate {
 public:
  explicit Gate(Executor& executor) : empty_(executor) {}
  class [[nodiscard]] Pass {
   public:
    explicit Pass(Gate* gate) : gate_(gate) { ++gate_->inside_; }
    Pass(Pass&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)) {}
    Pass& operator=(Pass&&) = delete;
    ~Pass() {
      if (gate_ != nullptr && --gate_->inside_ == 0) gate_->empty_.wake_all();
    }

   private:
    Gate* gate_;
  };
  // Nothing when the gate is closed.
  std::optional<Pass> enter() {
    if (closed_) return std::nullopt;
    return Pass(this);
  }
  Task<void> close() {
    closed_ = true;
    while (inside_ > 0) co_await empty_.wait();
  }
  bool closed() const { return closed_; }
  uint64_t inside() const { return inside_; }

 private:
  uint64_t inside_ = 0;
  bool closed_ = false;
  WaitQueue empty_;
};

// A flag that, once set, stays set and has woken all.
class Signal {
 public:
  explicit Signal(Executor& executor) : queue_(executor) {}
  void set() {
    set_ = true;
    queue_.wake_all();
  }
  bool is_set() const { return set_; }
  Task<void> wait() {
    while (!set_) co_await queue_.wait();
  }
  // False when the deadline passed first.
  Task<bool> wait_until(uint64_t deadline_ns) {
    while (!set_) {
      const bool woken = co_await queue_.wait_until(deadline_ns);
      if (!woken && !set_) co_return false;
    }
    co_return true;
  }

 private:
  bool set_ = false;
  WaitQueue queue_;
};

// A value that arrives once, for one waiter.
template <class T>
class OneShot {
 public:
  explicit OneShot(Executor& executor) : queue_(executor) {}
  bool is_set() const { return value_.has_value(); }
  void set(T value) {
    if (value_) return;
    value_.emplace(std::move(value));
    queue_.wake_all();
  }
  // Nothing when the deadline passed first.
  Task<std::optional<T>> wait_until(uint64_t deadline_ns) {
    while (!value_) {
      const bool woken = co_await queue_.wait_until(deadline_ns);
      if (!woken && !value_) co_return std::nullopt;
    }
    co_return std::move(value_);
  }

 private:
  std::optional<T> value_;
  WaitQueue queue_;
};

}  // namespace foreshard::runtime
