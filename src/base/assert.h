// ASSERT is for our own bugs: always on, prints the values given. Input, peers
// and disks can never trip it; what they do wrong is an Error.
#pragma once

#include <cstdint>

namespace foreshard {

[[noreturn]] void assert_failed(const char* expression, const char* file, int line, uint64_t a = 0, uint64_t b = 0);

}  // namespace foreshard

// ASSERT(condition), ASSERT(condition, value), ASSERT(condition, value, value): values are integers.
#define ASSERT(condition, ...)                                                                          \
  do {                                                                                                  \
    if (!(condition)) [[unlikely]]                                                                      \
      ::foreshard::assert_failed(#condition, __FILE__, __LINE__ __VA_OPT__(, ) __VA_ARGS__);             \
  } while (0)
