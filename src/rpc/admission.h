// Admission: how many calls, and how many bytes of them, may be under way at once on one connection. First come
// first served; a call larger than all the bytes is let in when nothing else is inside, so it is never stuck.
// Owned by a channel or by one connection of a service; close() turns everyone away. One executor's thread.
// Invariant: whoever waits in line does not fit; the line moves when somebody leaves.
#pragma once

#include <cstdint>
#include <utility>

#include "runtime/sync.h"

namespace foreshard::rpc {

class Admission {
 public:
  Admission(runtime::Executor& executor, uint64_t calls_max, uint64_t bytes_max)
      : executor_(executor), calls_max_(calls_max), bytes_max_(bytes_max) {}
  Admission(const Admission&) = delete;
  Admission& operator=(const Admission&) = delete;

  // The right to be inside; leaves when destroyed. The Admission must outlive it.
  class [[nodiscard]] Ticket {
   public:
    Ticket() = default;
    Ticket(Ticket&& other) noexcept : admission_(std::exchange(other.admission_, nullptr)), bytes_(other.bytes_) {}
    Ticket& operator=(Ticket&& other) noexcept {
      std::swap(admission_, other.admission_);
      std::swap(bytes_, other.bytes_);
      return *this;
    }
    ~Ticket() {
      if (admission_ != nullptr) admission_->leave(bytes_);
    }
    explicit operator bool() const { return admission_ != nullptr; }
    // Counts other bytes from now on, also more than there is room for: what comes next waits the longer.
    void resize(uint64_t bytes) {
      admission_->bytes_ = admission_->bytes_ - bytes_ + bytes;
      const bool fewer = bytes < bytes_;
      bytes_ = bytes;
      if (fewer) admission_->admit();
    }

   private:
    friend class Admission;
    Ticket(Admission* admission, uint64_t bytes) : admission_(admission), bytes_(bytes) {}
    Admission* admission_ = nullptr;
    uint64_t bytes_ = 0;
  };

  // An empty ticket when there is no room at once (or it is closed): wait with enter().
  Ticket try_enter(uint64_t bytes) {
    if (closed_ || head_ != nullptr || !fits(bytes)) return {};
    return take(bytes);
  }

  // An empty ticket when the deadline passed or close() was called.
  runtime::Task<Ticket> enter(uint64_t bytes, uint64_t deadline_ns) {
    if (Ticket ticket = try_enter(bytes)) co_return ticket;
    if (closed_) co_return Ticket();
    Waiter waiter(*this, bytes);
    while (!waiter.admitted && !closed_) {
      const bool woken = co_await waiter.queue.wait_until(deadline_ns);
      if (!woken && !waiter.admitted) co_return Ticket();
    }
    if (!waiter.admitted) co_return Ticket();
    waiter.admitted = false;  // the ticket carries it from here
    co_return Ticket(this, bytes);
  }

  void close() {
    closed_ = true;
    for (Waiter* waiter = head_; waiter != nullptr; waiter = waiter->next) waiter->queue.wake_all();
  }
  uint64_t calls() const { return calls_; }
  uint64_t bytes() const { return bytes_; }

 private:
  struct Waiter {
    Waiter(Admission& a, uint64_t b) : admission(a), bytes(b), queue(a.executor_) {
      previous = admission.tail_;
      (previous != nullptr ? previous->next : admission.head_) = this;
      admission.tail_ = this;
      linked = true;
    }
    ~Waiter() {
      if (linked) {
        unlink();
        admission.admit();  // it may have stood before others that fit
      }
      if (admitted) admission.leave(bytes);  // let in, but gone before it could know
    }
    void unlink() {
      (previous != nullptr ? previous->next : admission.head_) = next;
      (next != nullptr ? next->previous : admission.tail_) = previous;
      linked = false;
    }
    Admission& admission;
    uint64_t bytes;
    runtime::WaitQueue queue;
    Waiter* previous = nullptr;
    Waiter* next = nullptr;
    bool linked = false;
    bool admitted = false;
  };

  bool fits(uint64_t bytes) const {
    return calls_ < calls_max_ && (bytes_ == 0 || bytes_ + bytes <= bytes_max_);
  }
  Ticket take(uint64_t bytes) {
    ++calls_;
    bytes_ += bytes;
    return Ticket(this, bytes);
  }
  void leave(uint64_t bytes) {
    --calls_;
    bytes_ -= bytes;
    admit();
  }
  void admit() {
    while (head_ != nullptr && !closed_ && fits(head_->bytes)) {
      Waiter* waiter = head_;
      waiter->unlink();
      waiter->admitted = true;
      ++calls_;
      bytes_ += waiter->bytes;
      waiter->queue.wake_all();
    }
  }

  runtime::Executor& executor_;
  uint64_t calls_max_;
  uint64_t bytes_max_;
  uint64_t calls_ = 0;
  uint64_t bytes_ = 0;
  bool closed_ = false;
  Waiter* head_ = nullptr;
  Waiter* tail_ = nullptr;
};

}  // namespace foreshard::rpc
