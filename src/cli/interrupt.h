// Interrupt: SIGTERM and SIGINT. While nothing is registered a signal ends the process at once; with an action
// registered the first signal calls it, for an end in good order, and the second ends the process, as a crash does.
#pragma once

#include <functional>
#include <memory>

#include "runtime/real_runtime.h"

namespace foreshard::cli {

class Interrupt {
 public:
  // Before the runtime is made: blocking signals must come before any thread.
  static void prepare() { runtime::block_termination_signals(); }
  explicit Interrupt(runtime::RealRuntime& runtime);
  ~Interrupt();
  // The action lives until replaced by an empty one or until this object ends.
  void on_request(std::function<void()> action);
  bool requested() const;

 private:
  struct State {
    std::function<void()> action;
    bool requested = false;
  };
  static runtime::Task<void> watch(runtime::RealRuntime& runtime, std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

}  // namespace foreshard::cli
