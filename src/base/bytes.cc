#include "base/bytes.h"

namespace foreshard {

bool is_all_zero(ConstByteSpan bytes) {
  const std::byte* p = bytes.data();
  size_t left = bytes.size();
  // The first 16 bytes by hand, the rest by comparing the span with itself shifted.
  for (; left > 0 && p < bytes.data() + 16; ++p, --left)
    if (*p != std::byte{0}) return false;
  return left == 0 || std::memcmp(bytes.data(), p, left) == 0;
}

}  // namespace foreshard
