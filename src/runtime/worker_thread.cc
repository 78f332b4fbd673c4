#include "runtime/worker_thread.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

#include "base/assert.h"

namespace foreshard::runtime {
namespace {

constexpr int kBackgroundNice = 10;  // below what the process has
constexpr int kNiceMax = 19;

}  // namespace

WorkerThread::WorkerThread(Executor& executor, const std::string& name, Priority priority) : executor_(executor) {
  // Signals are the reactor's: the new thread inherits a mask that blocks all.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this, priority] { loop(priority); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_setname_np(thread_.native_handle(), name.substr(0, 15).c_str());
}

WorkerThread::~WorkerThread() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void WorkerThread::enqueue(Call* call) {
  {
    const std::lock_guard lock(mutex_);
    call->state_ = Call::State::kQueued;
    (last_ != nullptr ? last_->next_ : first_) = call;
    last_ = call;
  }
  changed_.notify_all();
}

void WorkerThread::withdraw(Call* call) {
  std::unique_lock lock(mutex_);
  if (call->state_ == Call::State::kQueued) {
    Call* previous = nullptr;
    for (Call* at = first_; at != call; at = at->next_) previous = at;
    (previous != nullptr ? previous->next_ : first_) = call->next_;
    if (last_ == call) last_ = previous;
    call->state_ = Call::State::kIdle;
  }
  changed_.wait(lock, [call] { return call->state_ == Call::State::kIdle; });
}

void WorkerThread::loop(Priority priority) {
  // On Linux it is this thread's alone; that it is refused matters to nobody.
  if (priority == Priority::kBackground) {
    const int nice = getpriority(PRIO_PROCESS, 0) + kBackgroundNice;
    (void)setpriority(PRIO_PROCESS, 0, nice < kNiceMax ? nice : kNiceMax);
  }
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return first_ != nullptr || ending_; });
    if (first_ == nullptr) return;
    Call* call = first_;
    first_ = call->next_;
    if (first_ == nullptr) last_ = nullptr;
    call->next_ = nullptr;
    call->state_ = Call::State::kRunning;
    lock.unlock();
    call->execute();
    lock.lock();
    const std::coroutine_handle<> waiter = call->waiter_;
    call->state_ = Call::State::kIdle;
    // Still under the lock: once it is free, a caller being destroyed may be gone, and posting follows at once.
    executor_.post_from_thread(waiter);
    changed_.notify_all();
  }
}

}  // namespace foreshard::runtime
