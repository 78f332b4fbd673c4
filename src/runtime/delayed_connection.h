// A Connection that is further away than it is: what arrives on the inner one can be read only a given time
// later. Given the round-trip time between two zones, a request and its answer take that much longer, while
// as many as like may be on their way at once.
//
// Owner: as of any connection. A root task of the executor reads ahead from the inner connection, at most
// kDelayedBytesMax that are not yet read; it ends soon after the connection is shut down or destroyed.
#pragma once

#include <cstdint>
#include <memory>

#include "runtime/executor.h"
#include "runtime/io.h"

namespace foreshard::runtime {

// More than what 10 ms hold at 1 GB/s; past it the delay costs throughput.
inline constexpr size_t kDelayedBytesMax = 16u << 20;

std::unique_ptr<Connection> delay_connection(Executor& executor, std::unique_ptr<Connection> inner, uint64_t delay_ns);

}  // namespace foreshard::runtime
