// LinearSets: which set of a hash table a hash belongs to, where the table grows by one set at a time, so that no
// request ever waits for all of it to be built anew (linear hashing: Litwin, VLDB 1980). Owner: the table, which holds
// the sets. Plain arithmetic.
#pragma once

#include <bit>
#include <cstdint>

#include "base/assert.h"

namespace foreshard::policy {

class LinearSets {
 public:
  explicit LinearSets(uint64_t sets) : mask_(sets - 1) { ASSERT(std::has_single_bit(sets), sets); }
  uint64_t count() const { return mask_ + 1 + split_; }
  uint64_t of(uint64_t hash) const {
    const uint64_t set = hash & mask_;
    return set < split_ ? hash & (mask_ * 2 + 1) : set;
  }
  // One more set, the last one: what is in the set that is returned and is `of` the new one now belongs there.
  uint64_t grow() {
    const uint64_t split = split_++;
    if (split_ > mask_) {
      mask_ = mask_ * 2 + 1;
      split_ = 0;
    }
    return split;
  }

 private:
  uint64_t mask_;       // of the hash, for the sets that have not been split in this round
  uint64_t split_ = 0;  // the next one
};

}  // namespace foreshard::policy
