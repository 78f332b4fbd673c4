#include "volume/flash_index.h"

#include <algorithm>

#include "base/assert.h"
#include "base/random.h"

namespace foreshard::volume {
namespace {

constexpr uint64_t kPagesPerRegion = 256;

}  // namespace

FlashIndex::FlashIndex(uint32_t slots)
    : table_(uint64_t{slots} * 2 + 1, kNone),
      pages_(slots, kNoPage),
      checksums_(slots),
      region_counters_(slots / 8 + 1) {}

uint64_t FlashIndex::home(uint64_t page) const { return spread(mix64(page), table_.size()); }

uint64_t FlashIndex::locate(uint64_t page) const {
  uint64_t position = home(page);
  while (table_[position] != kNone && pages_[table_[position]] != page) {
    if (++position == table_.size()) position = 0;
  }
  return position;
}

uint32_t& FlashIndex::region_counter(uint64_t page) {
  return region_counters_[spread(mix64(page / kPagesPerRegion), region_counters_.size())];
}

void FlashIndex::insert(uint64_t page, uint32_t slot, uint32_t checksum) {
  const uint64_t position = locate(page);
  ASSERT(table_[position] == kNone && pages_[slot] == kNoPage, page, slot);
  table_[position] = slot;
  pages_[slot] = page;
  checksums_[slot] = checksum;
  ++region_counter(page);
  ++size_;
}

// Linear probing without tombstones: entries behind the hole that may move closer to their home do so.
bool FlashIndex::erase(uint64_t page) {
  uint64_t hole = locate(page);
  if (table_[hole] == kNone) return false;
  pages_[table_[hole]] = kNoPage;
  const uint64_t size = table_.size();
  for (uint64_t next = hole + 1;; ++next) {
    if (next >= size) next = 0;
    if (table_[next] == kNone) break;
    const uint64_t from_home = (next + size - home(pages_[table_[next]])) % size;
    const uint64_t from_hole = (next + size - hole) % size;
    if (from_home >= from_hole) {
      table_[hole] = table_[next];
      hole = next;
    }
  }
  table_[hole] = kNone;
  --region_counter(page);
  --size_;
  return true;
}

void FlashIndex::erase_range(uint64_t first, uint64_t count) {
  if (size_ == 0 || count == 0) return;
  const uint64_t last = first + (count - 1);
  ASSERT(last >= first && last != kNoPage, first, count);
  if (count / kPagesPerRegion > pages_.size() / 16) {
    for (const uint64_t page : pages_) {
      if (page >= first && page <= last) erase(page);
    }
    return;
  }
  for (uint64_t page = first;;) {
    const uint64_t region_last = std::min(last, page | (kPagesPerRegion - 1));
    if (region_counter(page) != 0) {
      for (; page <= region_last; ++page) erase(page);
    }
    if (region_last == last) return;
    page = region_last + 1;
  }
}

void FlashIndex::erase_slots(uint32_t first, uint32_t count) {
  for (uint32_t slot = first; slot < first + count; ++slot) {
    if (pages_[slot] != kNoPage) erase(pages_[slot]);
  }
}

}  // namespace foreshard::volume
