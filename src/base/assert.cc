#include "base/assert.h"

#include <cstdio>
#include <cstdlib>

namespace foreshard {

void assert_failed(const char* expression, const char* file, int line, uint64_t a, uint64_t b) {
  std::fprintf(stderr, "%s:%d: assertion failed: %s (values %llu, %llu); this is a bug of foreshard\n", file, line,
               expression, static_cast<unsigned long long>(a), static_cast<unsigned long long>(b));
  std::fflush(stderr);
  std::abort();
}

}  // namespace foreshard
