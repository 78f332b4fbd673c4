#include "cli/interrupt.h"

#include <unistd.h>

#include "base/log.h"
#include "cli/exit_code.h"

namespace foreshard::cli {

Interrupt::Interrupt(runtime::RealRuntime& runtime) : state_(std::make_shared<State>()) {
  runtime.executor().spawn(watch(runtime, state_));
}

Interrupt::~Interrupt() { state_->action = {}; }

void Interrupt::on_request(std::function<void()> action) { state_->action = std::move(action); }

bool Interrupt::requested() const { return state_->requested; }

runtime::Task<void> Interrupt::watch(runtime::RealRuntime& runtime, std::shared_ptr<State> state) {
  for (;;) {
    const int signal = co_await runtime.wait_signal();
    if (signal == 0) co_return;
    if (state->requested || !state->action) {
      if (state->requested) LOG_WARN("second signal: ending at once, uncleanly");
      _exit(kExitInterrupted);
    }
    state->requested = true;
    state->action();
  }
}

}  // namespace foreshard::cli
