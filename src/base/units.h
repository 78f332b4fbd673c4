// Sizes, durations and names as people write them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace foreshard {

// "10G", "4MiB", "1.5T", "512", "64kB": K/M/G/T/P and KiB/MiB/... are powers of 1024, kB/MB/GB/TB decimal.
Result<uint64_t> parse_size(std::string_view text);
// "10.0 GiB", "512 B".
std::string format_size(uint64_t bytes);
// "1ms", "250us", "2s", "10ns", "1m", in nanoseconds.
Result<uint64_t> parse_duration_ns(std::string_view text);
std::string format_duration_ns(uint64_t ns);
// A volume's name: [a-z0-9][a-z0-9._-]{0,62}.
Result<void> check_name(std::string_view name);

}  // namespace foreshard
