// Reactor: the executor of one core in the real world. It runs what is ready, fires timers, and speaks to
// the kernel through one io_uring: requests made during a turn of the loop are submitted with one system
// call, and completions only make coroutines ready, they never run them.
//
// Fairness: a turn resumes at most kReadyPerTurn coroutines before it looks at timers and completions.
// Waiting: before it sleeps the reactor looks at its ring for up to a spin time, which is switched on when
// sleeps prove short and halved when looking was in vain (after KVM's halt polling). A look at the ring is no system
// call; now and then it also tries the few sockets that somebody waits for. While many disk requests are under
// way it sleeps until several have ended, for tens of microseconds at most, so that they are answered together.
//
// Owner: RealRuntime. It belongs to the thread that made it (the ring accepts no other); only
// post_from_thread is for others. Ending: close() cancels what the kernel still does, waits until it
// has let go of all memory, then destroys the tasks. Connections and files must end before the reactor does,
// unless a root task owns them.
#pragma once

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "base/result.h"
#include "runtime/executor.h"

struct io_uring;
struct io_uring_sqe;

namespace foreshard::runtime {

class Reactor;

// One request to the kernel, embedded by whoever makes it; its address must not change while pending().
// finished() runs inside the loop: it may prepare the next request or post coroutines, nothing else.
class KernelRequest {
 public:
  // `ends_soon`: by itself, as a disk's does, not when a peer likes.
  explicit KernelRequest(bool ends_soon = false) : ends_soon_(ends_soon) {}
  KernelRequest(const KernelRequest&) = delete;
  KernelRequest& operator=(const KernelRequest&) = delete;
  bool pending() const { return pending_; }

 protected:
  ~KernelRequest();
  virtual void finished(int32_t result) = 0;

 private:
  friend class Reactor;
  bool pending_ = false;
  bool withdrawn_ = false;
  const bool ends_soon_;
};

// A request that the loop may try itself before it is given to the kernel: while it spins it does nothing else, and
// what it finds then has cost neither a submission nor a completion.
class PolledRequest : public KernelRequest {
 public:
  // Whether it waits to be tried or given to the kernel.
  bool waiting() const { return waiting_; }

 protected:
  ~PolledRequest() = default;
  // Tries without waiting; true: it has ended, and posted whoever waits for it.
  virtual bool try_now() = 0;
  // Prepares the kernel's request.
  virtual void submit() = 0;

 private:
  friend class Reactor;
  bool waiting_ = false;
};

struct ReactorOptions {
  uint32_t requests_max_per_submit = 1024;
  // The cap of the spin time; 0 never spins. It never spins on a machine (or affinity mask) of one CPU.
  uint64_t spin_ns_max = 100'000;
};

struct ReactorCounters {
  uint64_t turns = 0;
  uint64_t kernel_enters = 0;
  uint64_t sleeps = 0;
  uint64_t spins = 0;
  uint64_t spins_useful = 0;
  uint64_t completions = 0;
};

class Reactor final : public Executor {
 public:
  static Result<std::unique_ptr<Reactor>> create(ReactorOptions options);
  ~Reactor() override;
  // What the destructor does but for the ring, so that what tasks refer to may end between. Idempotent.
  void close();

  uint64_t now_ns() const override;
  void post_from_thread(std::coroutine_handle<> h) override;

  // Runs until stop().
  void run();
  void stop() { stopping_ = true; }
  // Runs the loop until this task has ended; other tasks run beside it.
  template <class T>
  T block_on(Task<T> task);

  // ---- for the parts that speak to the kernel

  // A submission entry that belongs to this request; the caller fills it in before anything else happens.
  io_uring_sqe* prepare(KernelRequest& request);
  // The request is tried, or submitted, before the loop sleeps or goes on to other work.
  void wait_for(PolledRequest& request);
  // Asks the kernel to end a pending request early; finished() is called all the same.
  void cancel(KernelRequest& request);
  // Cancels and waits until the kernel has let go; finished() is not called. For destructors.
  void withdraw(KernelRequest& request);
  void withdraw(PolledRequest& request);
  // Whether a call that could be answered without waiting may be answered at once: one coroutine that never
  // has to wait must not keep the others from running.
  bool may_finish_inline() {
    if (inline_left_ == 0) return false;
    --inline_left_;
    return true;
  }
  // False when the reactor is ending: no further requests are to be made.
  bool open() const { return !closing_; }
  const ReactorCounters& counters() const { return counters_; }

 private:
  friend struct KernelFlag;  // of a test, which raises it
  static constexpr size_t kReadyPerTurn = 256;
  static constexpr uint32_t kInlinePerResume = 16;
  class Doorbell;

  explicit Reactor(ReactorOptions options);
  Result<void> open_ring();
  void turn();
  void run_ready_bounded();
  void take_posted();
  void submit_and_poll();
  void wait_for_events();
  bool spin(uint64_t until_ns);
  bool try_polled();
  void submit_polled();
  void adapt_spin(bool spun, bool spin_helped, uint64_t slept_ns);
  bool something_happened() const;
  void reap();
  void dispatch();

  struct Reaped {
    uint64_t user_data;
    int32_t result;
  };
  ReactorOptions options_;
  std::unique_ptr<io_uring> ring_;
  std::unique_ptr<Doorbell> doorbell_;
  std::vector<Reaped> reaped_;
  std::vector<PolledRequest*> polled_;  // that wait; in the order in which they came
  uint64_t in_flight_ = 0;
  uint64_t ending_soon_ = 0;  // of those
  bool gather_in_vain_ = false;  // fewer had ended when the last such sleep was over
  uint32_t inline_left_ = kInlinePerResume;
  bool stopping_ = false;
  bool closing_ = false;
  uint64_t spin_ns_ = 0;
  uint32_t short_sleeps_ = 0;         // lately: after enough of them spinning is tried (again)
  uint32_t short_sleeps_wanted_ = 1;  // grows with every spin that was itself in the way
  ReactorCounters counters_;

  // What other threads have posted. sleeping_ and has_posted_ are each written by one side and read by the
  // other after its own write (sequentially consistent), so that a post is never slept over.
  std::mutex posted_mutex_;
  std::vector<std::coroutine_handle<>> posted_;
  std::vector<std::coroutine_handle<>> posted_taken_;
  std::atomic<bool> has_posted_{false};
  std::atomic<bool> sleeping_{false};
};

// A request that one coroutine waits for, for the control path: co_await gives the result.
class KernelCall : public KernelRequest {
 public:
  explicit KernelCall(Reactor& reactor) : reactor_(reactor) {}
  virtual ~KernelCall() { reactor_.withdraw(*this); }
  bool await_ready() { return false; }
  bool await_suspend(std::coroutine_handle<> h);
  int32_t await_resume() const { return result_; }
  void cancel() { reactor_.cancel(*this); }

 protected:
  virtual void fill(io_uring_sqe* sqe) = 0;

 private:
  void finished(int32_t result) override {
    result_ = result;
    reactor_.post(waiter_);
  }
  Reactor& reactor_;
  std::coroutine_handle<> waiter_;
  int32_t result_ = 0;
};

namespace detail {
template <class T>
Task<void> run_and_stop(Reactor& reactor, Task<T> task, std::optional<T>& value) {
  T result = co_await task;
  value.emplace(std::move(result));
  reactor.stop();
}
inline Task<void> run_and_stop_void(Reactor& reactor, Task<void> task) {
  co_await task;
  reactor.stop();
}
}  // namespace detail

template <class T>
T Reactor::block_on(Task<T> task) {
  if constexpr (std::is_void_v<T>) {
    spawn(detail::run_and_stop_void(*this, std::move(task)));
    run();
  } else {
    std::optional<T> value;
    spawn(detail::run_and_stop<T>(*this, std::move(task), value));
    run();
    ASSERT(value.has_value());
    return std::move(*value);
  }
}

}  // namespace foreshard::runtime
