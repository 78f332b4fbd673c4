#include "policy/cache/without_prefetch.h"

#include <algorithm>

#include "base/bytes.h"

namespace foreshard::policy {
namespace {

uint64_t share_of(uint64_t whole, uint64_t capacity_pages) {
  if (capacity_pages <= WithoutPrefetch::kPagesMax) return whole;
  return std::max<uint64_t>(WithoutPrefetch::kPagesMax * whole / capacity_pages, 1);
}

}  // namespace

// The miniature's own arena is address space only: nothing is ever copied into it.
WithoutPrefetch::WithoutPrefetch(uint64_t capacity_pages)
    : share_(share_of(kWhole, capacity_pages)),
      cache_(std::max<uint64_t>(std::min(capacity_pages, kPagesMax), 1) * kPageBytes),
      payback_(std::min(capacity_pages, kPagesMax)) {}

void WithoutPrefetch::read(uint64_t key, bool found, bool first_use) {
  const bool would_be_found = static_cast<bool>(cache_.find(key));
  if (first_use) {
    would_be_found ? payback_.unneeded() : payback_.saved();
  } else if (found && !would_be_found) {
    payback_.kept();
  } else if (!found && would_be_found) {
    payback_.lost();
  }
  // What is there would have been fetched; what is not comes in when its reader has fetched it.
  if (found && !would_be_found) insert(key, Origin::kDemand);
}

void WithoutPrefetch::insert(uint64_t key, Origin origin) {
  if (!cache_.contains(key)) payback_.arrived();
  cache_.insert(key, origin);
}

}  // namespace foreshard::policy
