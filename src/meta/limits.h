// Bounds that hold for every Meta implementation, and the check of a transaction against them.
#pragma once

#include <cstddef>

#include "meta/meta.h"

namespace foreshard::meta {

inline constexpr size_t kKeyBytesMax = 1024;
inline constexpr size_t kValueBytesMax = 1u << 20;
inline constexpr size_t kTransactionBytesMax = 3u << 20;
inline constexpr size_t kTransactionPartsMax = 65'536;  // compares and operations
inline constexpr size_t kRangeEntriesMax = 100'000;

// kInvalid or kTooLarge for a transaction that no store takes.
Result<void> check_transaction(const Transaction& transaction);

}  // namespace foreshard::meta
