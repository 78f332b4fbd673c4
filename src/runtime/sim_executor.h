// SimExecutor: the executor of one simulated process. It runs nothing by itself: SimWorld picks what runs
// next. Its clock is the world's, with an offset and a rate of its own, as the clocks of real hosts differ.
#pragma once

#include "runtime/executor.h"
#include "runtime/sim_timeline.h"

namespace foreshard::runtime {

class SimExecutor final : public Executor {
 public:
  SimExecutor(SimTimeline& timeline, uint64_t clock_offset_ns, int64_t clock_drift_ppm)
      : timeline_(timeline), offset_ns_(clock_offset_ns), drift_ppm_(clock_drift_ppm) {}
  ~SimExecutor() override { destroy_tasks(); }

  uint64_t now_ns() const override { return to_local(timeline_.now_ns()); }
  void post_from_thread(std::coroutine_handle<>) override { ASSERT(false); }

  using Executor::has_ready;
  using Executor::ready_count;
  using Executor::run_ready;
  // World time of the earliest timer, or UINT64_MAX.
  uint64_t next_timer_ns() const {
    const uint64_t deadline = next_deadline_ns();
    if (deadline == UINT64_MAX) return UINT64_MAX;
    if (deadline != converted_local_ns_) {
      converted_local_ns_ = deadline;
      converted_world_ns_ = to_world(deadline);
    }
    return converted_world_ns_;
  }
  void run_due_timers() { run_timers(now_ns()); }

 private:
  // Never goes back.
  uint64_t to_local(uint64_t world_ns) const {
    const int64_t whole = static_cast<int64_t>(world_ns / 1'000'000) * drift_ppm_;
    const int64_t rest = static_cast<int64_t>(world_ns % 1'000'000) * drift_ppm_ / 1'000'000;
    return offset_ns_ + world_ns + static_cast<uint64_t>(whole + rest);
  }
  // The first world time at which the local clock shows at least local_ns.
  uint64_t to_world(uint64_t local_ns) const {
    uint64_t low = 0, high = UINT64_MAX / 4;
    if (local_ns >= to_local(high)) return UINT64_MAX;
    const uint64_t guess = local_ns > offset_ns_ ? local_ns - offset_ns_ : 0;
    const uint64_t margin = guess / 1000 + 1'000'000;  // drift is under 0.1 %, except when tests ask for more
    if (guess > margin && to_local(guess - margin) < local_ns) low = guess - margin;
    if (guess < high - margin && to_local(guess + margin) >= local_ns) high = guess + margin;
    while (low < high) {
      const uint64_t middle = low + (high - low) / 2;
      if (to_local(middle) >= local_ns)
        high = middle;
      else
        low = middle + 1;
    }
    return low;
  }

  SimTimeline& timeline_;
  const uint64_t offset_ns_;
  const int64_t drift_ppm_;
  // The last conversion: it is asked at every step.
  mutable uint64_t converted_local_ns_ = 0;
  mutable uint64_t converted_world_ns_ = 0;
};

}  // namespace foreshard::runtime
