// Running: a coroutine that starts at once, inline, and belongs to a RunningSet until it ends by itself. It
// costs one frame and no trip through the ready queue; a request that its device answers without suspending
// has ended when the call returns. Destroying the set destroys what still runs, where it stands: this is how
// a simulated crash reaches requests in flight; in good order the owner first waits until the set is empty.
#pragma once

#include <coroutine>
#include <cstddef>
#include <exception>

#include "base/frame_memory.h"

namespace foreshard::front::nbd {

class RunningSet;

// The owner of such coroutines: its member functions that return Running join running_set() of their object.
class Running {
 public:
  struct promise_type;
};

class RunningSet {
 public:
  RunningSet() = default;
  RunningSet(const RunningSet&) = delete;
  RunningSet& operator=(const RunningSet&) = delete;
  ~RunningSet() { destroy_all(); }
  void destroy_all();

 private:
  friend struct Running::promise_type;
  Running::promise_type* head_ = nullptr;
};

struct Running::promise_type : FrameMemory {
  template <class Owner, class... Arguments>
  explicit promise_type(Owner& owner, Arguments&...) : set_(&owner.running_set()) {
    next_ = set_->head_;
    if (next_ != nullptr) next_->previous_ = this;
    set_->head_ = this;
  }
  ~promise_type() {
    (previous_ != nullptr ? previous_->next_ : set_->head_) = next_;
    if (next_ != nullptr) next_->previous_ = previous_;
  }
  Running get_return_object() noexcept { return {}; }
  std::suspend_never initial_suspend() noexcept { return {}; }
  std::suspend_never final_suspend() noexcept { return {}; }
  void return_void() noexcept {}
  void unhandled_exception() noexcept { std::terminate(); }

 private:
  RunningSet* set_;
  promise_type* previous_ = nullptr;
  promise_type* next_ = nullptr;
};

inline void RunningSet::destroy_all() {
  while (head_ != nullptr) {
    std::coroutine_handle<Running::promise_type>::from_promise(*head_).destroy();
  }
}

}  // namespace foreshard::front::nbd
