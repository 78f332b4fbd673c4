#include "policy/predict/neural/history.h"

#include <algorithm>
#include <bit>

#include "base/assert.h"
#include "base/random.h"

namespace foreshard::policy {

History::History(uint32_t entries) : entries_(entries), mask_(entries / 2 - 1) {
  ASSERT(entries >= 2 && std::has_single_bit(entries), entries);
}

void History::clear() {
  if (clock_ != 0) std::fill(entries_.begin(), entries_.end(), Entry{});
  clock_ = 0;
}

const History::Entry* History::find(uint64_t position) const {
  const uint64_t hash = mix64(position);
  const Entry* set = &entries_[(hash & mask_) * 2];
  if (set[0].tag == tag_of(hash)) return &set[0];
  if (set[1].tag == tag_of(hash)) return &set[1];
  return nullptr;
}

History::Entry& History::find_or_add(uint64_t position) {
  const uint64_t hash = mix64(position);
  Entry* set = &entries_[(hash & mask_) * 2];
  clock_ = (clock_ + 1) & ((1u << 29) - 1);
  Entry* entry = nullptr;
  for (Entry* one : {&set[0], &set[1]}) {
    if (one->tag == tag_of(hash)) entry = one;
  }
  if (entry == nullptr) {
    // Ages are differences, so that the clock may come round.
    const auto age = [this](const Entry& one) {
      return one.tag == 0 ? UINT32_MAX : (clock_ - one.touched) & ((1u << 29) - 1);
    };
    entry = age(set[0]) >= age(set[1]) ? &set[0] : &set[1];
    *entry = Entry{};
    entry->tag = tag_of(hash);
  }
  entry->touched = clock_;
  return *entry;
}

}  // namespace foreshard::policy
