#include "store/slot_allocator.h"

#include <algorithm>
#include <bit>

#include "base/assert.h"

namespace foreshard::store {

void SlotAllocator::set(uint64_t slot, VolumeId owner) {
  if (slot / 64 >= words_.size()) words_.resize(slot / 64 + 1);
  words_[slot / 64] |= uint64_t{1} << slot % 64;
  ++used_count_;
  ++used_by_[owner];
}

std::optional<uint64_t> SlotAllocator::take(VolumeId owner) {
  while (first_word_ < words_.size() && words_[first_word_] == UINT64_MAX) ++first_word_;
  const uint64_t word = first_word_ < words_.size() ? words_[first_word_] : 0;
  const uint64_t slot = first_word_ * 64 + static_cast<uint64_t>(std::countr_one(word));
  if (slot >= slots_max_) return std::nullopt;
  set(slot, owner);
  return slot;
}

bool SlotAllocator::take(uint64_t slot, VolumeId owner) {
  if (used(slot)) return false;
  set(slot, owner);
  return true;
}

void SlotAllocator::release(uint64_t slot, VolumeId owner) {
  ASSERT(used(slot), slot);
  auto count = used_by_.find(owner);
  if (count == used_by_.end()) count = used_by_.find(kNoOwner);
  if (count != used_by_.end() && --count->second == 0) used_by_.erase(count);
  words_[slot / 64] &= ~(uint64_t{1} << slot % 64);
  first_word_ = std::min(first_word_, slot / 64);
  --used_count_;
}

bool SlotAllocator::used(uint64_t slot) const {
  return slot / 64 < words_.size() && (words_[slot / 64] >> slot % 64 & 1) != 0;
}

}  // namespace foreshard::store
