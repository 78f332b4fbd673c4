// ManualExecutor: an executor whose time is set by hand, for tests: work that is ready runs in order, and
// timers fire as time is moved on. Real threads may post to it; run_until waits for them.
#pragma once

#include <condition_variable>
#include <coroutine>
#include <mutex>
#include <vector>

#include "runtime/executor.h"

namespace foreshard::runtime {

class ManualExecutor final : public Executor {
 public:
  uint64_t now_ns() const override { return now_ns_; }

  void post_from_thread(std::coroutine_handle<> h) override {
    {
      const std::lock_guard lock(mutex_);
      posted_.push_back(h);
    }
    arrived_.notify_one();
  }

  // Runs what is ready, and what that makes ready.
  void run() {
    take_posted();
    while (has_ready()) {
      run_ready();
      take_posted();
    }
  }
  // Moves time on, through every timer on the way.
  void advance_to(uint64_t time_ns) {
    run();
    while (next_deadline_ns() <= time_ns) {
      now_ns_ = next_deadline_ns();
      run_timers(now_ns_);
      run();
    }
    now_ns_ = time_ns;
  }
  // Runs, waiting for other threads, until the condition holds.
  template <class Condition>
  void run_until(Condition condition) {
    for (;;) {
      run();
      if (condition()) return;
      std::unique_lock lock(mutex_);
      arrived_.wait(lock, [this] { return !posted_.empty(); });
    }
  }

 private:
  void take_posted() {
    const std::lock_guard lock(mutex_);
    for (const std::coroutine_handle<> h : posted_) post(h);
    posted_.clear();
  }
  uint64_t now_ns_ = 0;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<std::coroutine_handle<>> posted_;
};

}  // namespace foreshard::runtime
