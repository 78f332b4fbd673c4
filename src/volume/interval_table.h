// IntervalTable: the order of a volume's overlapping requests, whatever connection they came from (R-ORDER,
// R-OVERLAP). Requests take page intervals, shared (reads) or exclusive (writes, zeroes, discards), first come
// first served: a request waits for every earlier one that overlaps it, unless both are shared. A request keeps
// its place until it has ended, also when its client is gone.
// One executor. Owner: the driver. Cost: linear in the requests under way, which the driver bounds.
#pragma once

#include <cstdint>
#include <coroutine>

#include "runtime/executor.h"

namespace foreshard::volume {

class IntervalTable {
 public:
  enum class Kind : uint8_t { kShared, kExclusive };

  explicit IntervalTable(runtime::Executor& executor) : executor_(executor) {}
  IntervalTable(const IntervalTable&) = delete;
  IntervalTable& operator=(const IntervalTable&) = delete;
  ~IntervalTable() { ASSERT(head_ == nullptr); }

  // A place in the table, from construction to destruction; co_await entered() returns when it is this one's turn.
  class Place {
   public:
    // Pages [first, end).
    Place(IntervalTable& table, uint64_t first, uint64_t end, Kind kind);
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    ~Place();
    auto entered() {
      struct Awaiter {
        Place& place;
        bool await_ready() { return place.blockers_ == 0; }
        void await_suspend(std::coroutine_handle<> h) { place.waiter_ = h; }
        void await_resume() {}
      };
      return Awaiter{*this};
    }

   private:
    friend class IntervalTable;
    bool conflicts(const Place& other) const;
    IntervalTable& table_;
    uint64_t first_, end_;
    Kind kind_;
    uint32_t blockers_ = 0;  // earlier places that conflict
    std::coroutine_handle<> waiter_;
    Place* previous_ = nullptr;
    Place* next_ = nullptr;
  };

  uint64_t size() const { return size_; }

 private:
  runtime::Executor& executor_;
  Place* head_ = nullptr;  // in order of arrival
  Place* tail_ = nullptr;
  uint64_t size_ = 0;
};

}  // namespace foreshard::volume
