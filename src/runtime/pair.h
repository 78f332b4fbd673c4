// A pair of Connections inside one process: what one end writes the other reads, through a bounded buffer
// or, when both wait, with a single copy from the one's memory to the other's.
//
// Both ends belong to one executor's thread. Destroying or shutting down an end closes it in good order: the
// other reads what was written before, then 0, and its writes end with -EPIPE.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "runtime/executor.h"
#include "runtime/io.h"

namespace foreshard::runtime {

inline constexpr size_t kPairBufferBytes = 1u << 20;  // per direction

using ConnectionPair = std::pair<std::unique_ptr<Connection>, std::unique_ptr<Connection>>;

ConnectionPair make_pair(Executor& executor, std::string name = "pair", size_t buffer_bytes_max = kPairBufferBytes);

}  // namespace foreshard::runtime
