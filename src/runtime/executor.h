// Executor: where the coroutines of one core (in simulation: of one process) run. It holds what is ready,
// the timers, and the root tasks. A subclass drives it: the reactor with the kernel's completions, the
// simulator with virtual time and a seeded order.
//
// Concurrency: everything is called on the executor's own thread, except post_from_thread.
// Ending: stop() in good order is the owner's business (gates); destroy_tasks() destroys every root task
// where it stands, as a crash does; the objects that tasks refer to must still be alive then.
#pragma once

#include <coroutine>
#include <cstdint>
#include <deque>
#include <vector>

#include "runtime/task.h"

namespace foreshard::runtime {

class Executor;

// A point in time at which fire() is called once, unless cancelled. Owned by whoever waits; destroying
// it cancels it.
class Timer {
 public:
  Timer() = default;
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  virtual ~Timer() { cancel(); }
  void start(Executor& executor, uint64_t deadline_ns);
  void cancel();
  bool pending() const { return executor_ != nullptr; }

 protected:
  virtual void fire() = 0;

 private:
  friend class Executor;
  Executor* executor_ = nullptr;
  uint64_t deadline_ns_ = 0;
  uint64_t order_ = 0;      // among equal deadlines: the order of starting
  size_t heap_index_ = 0;
};

class Executor {
 public:
  Executor() = default;
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;
  virtual ~Executor();

  // Nanoseconds of CLOCK_BOOTTIME (it counts suspended time, as grants must), or of virtual time.
  virtual uint64_t now_ns() const = 0;
  // Resumes h on this executor's thread, from any thread. The simulated one refuses.
  virtual void post_from_thread(std::coroutine_handle<> h) = 0;

  // Puts h at the end of the ready queue. Dropped when destroy_tasks() has begun.
  void post(std::coroutine_handle<> h);
  // Starts a root task, soon; the executor owns it until it ends.
  void spawn(Task<void> task);
  size_t root_count() const { return root_count_; }
  // Destroys all root tasks where they stand and drops what is ready. Nothing runs here afterwards.
  void destroy_tasks();

  // Lets everything that is ready run first: long loops call it to be fair.
  auto yield() {
    struct Awaiter {
      Executor& executor;
      bool await_ready() { return false; }
      void await_suspend(std::coroutine_handle<> h) { executor.post(h); }
      void await_resume() {}
    };
    return Awaiter{*this};
  }

  class SleepAwaiter;
  SleepAwaiter sleep_until(uint64_t deadline_ns);
  SleepAwaiter sleep_for(uint64_t duration_ns);

 protected:
  // For the driver of the loop.
  bool has_ready() const { return !ready_.empty(); }
  size_t ready_count() const { return ready_.size(); }
  // Resumes the ready coroutine at this place of the queue (0: the oldest).
  void run_ready(size_t index = 0);
  // The earliest timer's deadline, or UINT64_MAX.
  uint64_t next_deadline_ns() const { return timers_.empty() ? UINT64_MAX : timers_[0]->deadline_ns_; }
  // Fires the timers due at now_ns.
  void run_timers(uint64_t now_ns);

 private:
  friend class Timer;
  struct Root;
  struct RootPromise;
  static Root run_root(Executor* executor, Task<void> task);
  void heap_insert(Timer* timer);
  void heap_remove(Timer* timer);
  void heap_up(size_t index);
  void heap_down(size_t index);
  static bool earlier(const Timer* a, const Timer* b);

  std::deque<std::coroutine_handle<>> ready_;
  std::vector<Timer*> timers_;  // a binary heap
  uint64_t timer_order_ = 0;
  RootPromise* roots_ = nullptr;  // doubly linked
  size_t root_count_ = 0;
  bool dead_ = false;
};

class Executor::SleepAwaiter : public Timer {
 public:
  SleepAwaiter(Executor& executor, uint64_t deadline_ns) : target_(executor), deadline_(deadline_ns) {}
  bool await_ready() { return false; }
  void await_suspend(std::coroutine_handle<> h) {
    handle_ = h;
    start(target_, deadline_);
  }
  void await_resume() {}

 private:
  void fire() override { target_.post(handle_); }
  Executor& target_;
  uint64_t deadline_;
  std::coroutine_handle<> handle_;
};

inline Executor::SleepAwaiter Executor::sleep_until(uint64_t deadline_ns) { return SleepAwaiter(*this, deadline_ns); }
inline Executor::SleepAwaiter Executor::sleep_for(uint64_t duration_ns) {
  return SleepAwaiter(*this, now_ns() + duration_ns);
}

}  // namespace foreshard::runtime
