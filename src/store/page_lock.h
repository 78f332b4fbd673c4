// PageLock: a claim on a range of pages of one chunk, shared (readers) or exclusive. Claims enter the chunk's
// queue when they are made and are granted as soon as no earlier claim conflicts, so overlapping calls are
// ordered by their start. Destroying a claim, granted or not, leaves the queue.
#pragma once

#include <coroutine>
#include <cstdint>

#include "runtime/executor.h"

namespace foreshard::store {

class PageLock;

// The queue of one chunk; outlives its claims.
class PageLocks {
 public:
  PageLocks() = default;
  PageLocks(const PageLocks&) = delete;
  PageLocks& operator=(const PageLocks&) = delete;
  ~PageLocks() { ASSERT(head_ == nullptr); }
  bool any() const { return head_ != nullptr; }

 private:
  friend class PageLock;
  PageLock* head_ = nullptr;  // the oldest
  PageLock* tail_ = nullptr;
};

enum class PageAccess : uint8_t { kShared, kExclusive };

class [[nodiscard]] PageLock {
 public:
  PageLock(PageLocks& locks, runtime::Executor& executor, uint32_t first_page, uint32_t pages, PageAccess access);
  PageLock(const PageLock&) = delete;
  PageLock& operator=(const PageLock&) = delete;
  ~PageLock();

  // co_await lock.granted(): until the claim is granted.
  auto granted() {
    struct Awaiter {
      PageLock& lock;
      bool await_ready() const { return lock.granted_; }
      void await_suspend(std::coroutine_handle<> h) { lock.waiter_ = h; }
      void await_resume() {}
    };
    return Awaiter{*this};
  }
  bool is_granted() const { return granted_; }

 private:
  bool conflicts(const PageLock& other) const {
    return (access_ == PageAccess::kExclusive || other.access_ == PageAccess::kExclusive) && first_ < other.end_ &&
           other.first_ < end_;
  }
  bool blocked() const;

  PageLocks& locks_;
  runtime::Executor& executor_;
  const uint32_t first_;
  const uint32_t end_;
  const PageAccess access_;
  bool granted_ = false;
  std::coroutine_handle<> waiter_;
  PageLock* previous_ = nullptr;
  PageLock* next_ = nullptr;
};

}  // namespace foreshard::store
