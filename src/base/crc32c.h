// CRC32C (Castagnoli), by ISA-L. `crc` continues an earlier sum; 0 starts one.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace foreshard {

uint32_t crc32c(ConstByteSpan bytes, uint32_t crc = 0);

}  // namespace foreshard
