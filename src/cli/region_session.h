// RegionSession: a command's connection to its region: a runtime of its own and the metadata over rpc. Lives while
// the command's task runs.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/assert.h"
#include "cli/interrupt.h"
#include "cli/invocation.h"
#include "meta/meta.h"
#include "runtime/io.h"
#include "runtime/task.h"

namespace foreshard::cli {

class RegionSession {
 public:
  RegionSession(const Invocation& invocation, std::string address, runtime::Runtime& runtime, meta::Meta& meta,
                Interrupt* interrupt)
      : invocation_(invocation), address_(std::move(address)), runtime_(runtime), meta_(meta), interrupt_(interrupt) {}
  const Invocation& invocation() const { return invocation_; }
  const std::string& address() const { return address_; }
  runtime::Runtime& runtime() { return runtime_; }
  meta::Meta& meta() { return meta_; }
  // Only of a session with handled signals.
  Interrupt& interrupt() {
    ASSERT(interrupt_ != nullptr);
    return *interrupt_;
  }

 private:
  const Invocation& invocation_;
  std::string address_;
  runtime::Runtime& runtime_;
  meta::Meta& meta_;
  Interrupt* interrupt_;
};

// One try, so that a region that is not there is told at once: the metadata's own connection waits and tries again.
// kUnavailable tells how to start one.
runtime::Task<Result<void>> check_region_answers(runtime::Runtime& runtime, std::string address);

using RegionWork = std::function<runtime::Task<Result<void>>(RegionSession&)>;

// Runs the work on a reactor of its own, connected to the region that the invocation names.
// Signals end the process at once, or (kHandled) as the work asks its session's interrupt(). When nobody answers there,
// `without` is run instead, if given; its session's metadata is not to be used.
enum class Signals { kDefault, kHandled };
Result<void> with_region(const Invocation& invocation, RegionWork work, Signals signals = Signals::kDefault,
                         RegionWork without = {});

}  // namespace foreshard::cli
