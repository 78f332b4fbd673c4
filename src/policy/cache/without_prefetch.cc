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
WithoutPrefetch::WithoutPrefetch(uint64_t capacity_pages, bool settles)
    : share_(share_of(kWhole, capacity_pages)),
      cache_(capacity_pages * share_ / kWhole * kPageBytes),
      payback_(cache_.capacity_bytes() / kPageBytes, settles) {}

void WithoutPrefetch::read(uint64_t key, Found found) {
  const bool would_be_found = static_cast<bool>(cache_.find(key));
  switch (found) {
    case Found::kFirstUse: would_be_found ? payback_.unneeded() : payback_.saved(); break;
    case Found::kThere:
      if (!would_be_found) payback_.kept();
      break;
    case Found::kNot:
      if (would_be_found) payback_.lost();
      break;
    case Found::kAtHand: break;
  }
  payback_.read(!would_be_found);
  // What is there would have been fetched; what is not comes in when its reader has fetched it.
  if (found >= Found::kThere && !would_be_found) cache_.insert(key, Origin::kDemand);
}

void WithoutPrefetch::erase_range(uint64_t first, uint64_t count) {
  if (count > kPagesMax) {
    cache_.erase_range(first, count);
    return;
  }
  for (uint64_t key = first; key != first + count; ++key)
    if (samples(key)) cache_.erase(key);
}

}  // namespace foreshard::policy
