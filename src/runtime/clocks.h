// The process's clocks, for programs that run no executor: how long work takes, never what it decides.
#pragma once

#include <cstdint>

namespace foreshard::runtime {

// Grows steadily, from an arbitrary begin.
uint64_t monotonic_ns();
// CPU time that this thread has used.
uint64_t thread_cpu_ns();

}  // namespace foreshard::runtime
