#include "base/crc32c.h"

#include <isa-l/crc.h>

namespace foreshard {

uint32_t crc32c(ConstByteSpan bytes, uint32_t crc) {
  // ISA-L takes the inverted running value and does not invert the result.
  auto* data = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(bytes.data()));
  return ~crc32_iscsi(data, static_cast<int>(bytes.size()), ~crc);
}

}  // namespace foreshard
