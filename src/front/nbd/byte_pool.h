// BytePool: the memory that all connections share for large or many requests, beyond what each has of its
// own. First come, first served, so that a large request is not starved by small ones. Owned by the server.
#pragma once

#include <cstdint>

#include "base/assert.h"
#include "runtime/sync.h"

namespace foreshard::front::nbd {

class BytePool {
 public:
  BytePool(runtime::Executor& executor, uint64_t bytes_max) : free_bytes_(bytes_max), changed_(executor) {}

  // Takes without waiting; refuses while others wait.
  bool try_take(uint64_t bytes) {
    if (first_ != nullptr || bytes > free_bytes_) return false;
    free_bytes_ -= bytes;
    return true;
  }
  void give_back(uint64_t bytes) {
    free_bytes_ += bytes;
    if (first_ != nullptr) changed_.wake_all();
  }
  uint64_t free_bytes() const { return free_bytes_; }

  // A place in the line; leaves it when destroyed.
  class Place {
   public:
    explicit Place(BytePool& pool) : pool_(pool), previous_(pool.last_) {
      (previous_ != nullptr ? previous_->next_ : pool_.first_) = this;
      pool_.last_ = this;
    }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    ~Place() {
      (previous_ != nullptr ? previous_->next_ : pool_.first_) = next_;
      (next_ != nullptr ? next_->previous_ : pool_.last_) = previous_;
      if (pool_.first_ != nullptr) pool_.changed_.wake_all();
    }
    bool first() const { return previous_ == nullptr; }
    bool try_take(uint64_t bytes) {
      if (!first() || bytes > pool_.free_bytes_) return false;
      pool_.free_bytes_ -= bytes;
      return true;
    }
    // Until something changed, or the deadline (then false).
    runtime::WaitQueue::Awaiter wait_until(uint64_t deadline_ns) { return pool_.changed_.wait_until(deadline_ns); }

   private:
    BytePool& pool_;
    Place* previous_;
    Place* next_ = nullptr;
  };

 private:
  uint64_t free_bytes_;
  Place* first_ = nullptr;
  Place* last_ = nullptr;
  runtime::WaitQueue changed_;
};

}  // namespace foreshard::front::nbd
