// Whether this host has the memory for a cache of a size that somebody asked for.
#pragma once

#include <cstdint>

#include "base/result.h"

namespace foreshard::cli {

enum class CacheContents : uint8_t { kPages, kKeysOnly };  // a replay's has no pages

// So many caches of so many bytes each; kInvalid, with what to do, where they take more than the host's memory.
Result<void> check_cache_fits(uint64_t cache_bytes, uint64_t caches, CacheContents contents);

}  // namespace foreshard::cli
