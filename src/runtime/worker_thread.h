// WorkerThread: a thread for calls that block (RocksDB, name look-ups). Calls run one after the other in the
// order of asking, and the coroutine that asked goes on on its own executor.
//
// Owner: who has the blocking thing. Ending: the destructor lets what was asked for finish and joins the thread;
// it must come before the executor's end. Bound: each queued call lives in the frame of the coroutine waiting
// for it, so the queue is no longer than its callers are many. A caller destroyed while its call runs waits for it.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

#include "runtime/executor.h"
#include "runtime/task.h"

namespace foreshard::runtime {

class WorkerThread {
 public:
  // kBackground: what it does gives way to everything else that wants the CPU.
  enum class Priority : uint8_t { kNormal, kBackground };
  WorkerThread(Executor& executor, const std::string& name, Priority priority = Priority::kNormal);
  WorkerThread(const WorkerThread&) = delete;
  WorkerThread& operator=(const WorkerThread&) = delete;
  ~WorkerThread();

  // Runs f() there. f must not touch what belongs to the executor's thread.
  template <class F>
  Task<std::invoke_result_t<F>> run_blocking(F f);

 private:
  // A call in the frame of its coroutine.
  class Call {
   public:
    explicit Call(WorkerThread& worker) : worker_(worker) {}
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    bool await_ready() { return false; }
    void await_suspend(std::coroutine_handle<> h) {
      waiter_ = h;
      worker_.enqueue(this);
    }
    void await_resume() {}

   protected:
    ~Call() = default;
    virtual void execute() = 0;
    // To be called by the derived destructor, while execute() can still be under way.
    void withdraw() { worker_.withdraw(this); }

   private:
    friend class WorkerThread;
    enum class State : uint8_t { kIdle, kQueued, kRunning };
    WorkerThread& worker_;
    std::coroutine_handle<> waiter_;
    Call* next_ = nullptr;
    State state_ = State::kIdle;
  };
  template <class F>
  class CallOf;

  void enqueue(Call* call);
  void withdraw(Call* call);
  void loop(Priority priority);

  Executor& executor_;
  std::mutex mutex_;
  std::condition_variable changed_;
  Call* first_ = nullptr;
  Call* last_ = nullptr;
  bool ending_ = false;
  std::thread thread_;
};

template <class F>
class WorkerThread::CallOf final : public Call {
 public:
  CallOf(WorkerThread& worker, F& f) : Call(worker), f_(f) {}
  ~CallOf() { this->withdraw(); }
  void execute() override {
    if constexpr (std::is_void_v<std::invoke_result_t<F>>) {
      f_();
    } else {
      value.emplace(f_());
    }
  }
  std::optional<std::conditional_t<std::is_void_v<std::invoke_result_t<F>>, char, std::invoke_result_t<F>>> value;

 private:
  F& f_;
};

template <class F>
Task<std::invoke_result_t<F>> WorkerThread::run_blocking(F f) {
  CallOf<F> call(*this, f);
  co_await call;
  if constexpr (!std::is_void_v<std::invoke_result_t<F>>) co_return std::move(*call.value);
}

}  // namespace foreshard::runtime
