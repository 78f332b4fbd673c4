#include "runtime/executor.h"

namespace foreshard::runtime {

// ---- timers

void Timer::start(Executor& executor, uint64_t deadline_ns) {
  ASSERT(executor_ == nullptr);
  if (executor.dead_) return;
  executor_ = &executor;
  deadline_ns_ = deadline_ns;
  order_ = executor.timer_order_++;
  executor.heap_insert(this);
}

void Timer::cancel() {
  if (executor_ == nullptr) return;
  executor_->heap_remove(this);
  executor_ = nullptr;
}

bool Executor::earlier(const Timer* a, const Timer* b) {
  return a->deadline_ns_ != b->deadline_ns_ ? a->deadline_ns_ < b->deadline_ns_ : a->order_ < b->order_;
}

void Executor::heap_up(size_t index) {
  Timer* timer = timers_[index];
  while (index > 0) {
    const size_t parent = (index - 1) / 2;
    if (!earlier(timer, timers_[parent])) break;
    timers_[index] = timers_[parent];
    timers_[index]->heap_index_ = index;
    index = parent;
  }
  timers_[index] = timer;
  timer->heap_index_ = index;
}

void Executor::heap_down(size_t index) {
  Timer* timer = timers_[index];
  for (;;) {
    size_t child = 2 * index + 1;
    if (child >= timers_.size()) break;
    if (child + 1 < timers_.size() && earlier(timers_[child + 1], timers_[child])) ++child;
    if (!earlier(timers_[child], timer)) break;
    timers_[index] = timers_[child];
    timers_[index]->heap_index_ = index;
    index = child;
  }
  timers_[index] = timer;
  timer->heap_index_ = index;
}

void Executor::heap_insert(Timer* timer) {
  timers_.push_back(timer);
  heap_up(timers_.size() - 1);
}

void Executor::heap_remove(Timer* timer) {
  const size_t index = timer->heap_index_;
  ASSERT(index < timers_.size() && timers_[index] == timer);
  Timer* last = timers_.back();
  timers_.pop_back();
  if (last == timer) return;
  timers_[index] = last;
  last->heap_index_ = index;
  heap_up(index);
  heap_down(last->heap_index_);
}

void Executor::run_timers(uint64_t now_ns) {
  while (!timers_.empty() && timers_[0]->deadline_ns_ <= now_ns) {
    Timer* timer = timers_[0];
    timer->cancel();
    timer->fire();
  }
}

// ---- root tasks

struct Executor::RootPromise : FrameMemory {
  Executor* executor;
  RootPromise* previous = nullptr;
  RootPromise* next = nullptr;

  RootPromise(Executor* e, Task<void>&) : executor(e) {
    next = executor->roots_;
    if (next != nullptr) next->previous = this;
    executor->roots_ = this;
    ++executor->root_count_;
  }
  ~RootPromise() {
    (previous != nullptr ? previous->next : executor->roots_) = next;
    if (next != nullptr) next->previous = previous;
    --executor->root_count_;
  }
  Root get_return_object() noexcept;
  std::suspend_always initial_suspend() noexcept { return {}; }
  std::suspend_never final_suspend() noexcept { return {}; }
  void return_void() noexcept {}
  void unhandled_exception() noexcept { std::terminate(); }
};

struct Executor::Root {
  using promise_type = RootPromise;
  std::coroutine_handle<RootPromise> handle;
};

Executor::Root Executor::RootPromise::get_return_object() noexcept {
  return Root{std::coroutine_handle<RootPromise>::from_promise(*this)};
}

Executor::Root Executor::run_root(Executor*, Task<void> task) { co_await task; }

void Executor::spawn(Task<void> task) {
  if (dead_) return;
  const Root root = run_root(this, std::move(task));
  post(root.handle);
}

void Executor::post(std::coroutine_handle<> h) {
  if (!dead_) ready_.push_back(h);
}

void Executor::run_ready(size_t index) {
  ASSERT(index < ready_.size(), index, ready_.size());
  if (index != 0) std::swap(ready_[0], ready_[index]);
  const std::coroutine_handle<> h = ready_.front();
  ready_.pop_front();
  h.resume();
}

void Executor::destroy_tasks() {
  dead_ = true;
  ready_.clear();
  while (roots_ != nullptr) std::coroutine_handle<RootPromise>::from_promise(*roots_).destroy();
  ASSERT(root_count_ == 0, root_count_);
  while (!timers_.empty()) timers_.back()->cancel();
}

Executor::~Executor() { destroy_tasks(); }

}  // namespace foreshard::runtime
