// FlashIndex: which page lies in which slot of a cache file, and the checksum that it must have there.
//
// Owner: FlashCache; one executor. Deterministic. The table is open-addressing with room for twice the slots, so that
// a page that is not there is known by a few steps; a page's number is kept once, with its slot.
//
// Memory: kBytesPerSlot for each slot, allocated at once.
//
// Invariant: a page is in one slot at most, and a slot holds one page at most.
#pragma once

#include <cstdint>
#include <vector>

namespace foreshard::volume {

class FlashIndex {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;
  // An upper bound: two table entries of 4 bytes, a page number of 8, a checksum of 4, a share of the region counters.
  static constexpr uint64_t kBytesPerSlot = 21;

  explicit FlashIndex(uint32_t slots);

  // The page's slot, or kNone.
  uint32_t find(uint64_t page) const { return table_[locate(page)]; }
  uint32_t checksum(uint32_t slot) const { return checksums_[slot]; }
  uint64_t size() const { return size_; }
  // The page is not there and the slot holds none.
  void insert(uint64_t page, uint32_t slot, uint32_t checksum);
  bool erase(uint64_t page);
  // Pages [first, first + count), in time of the smaller of count/256 + pages found and all slots.
  void erase_range(uint64_t first, uint64_t count);
  // Whatever lies in slots [first, first + count).
  void erase_slots(uint32_t first, uint32_t count);
  void clear() { erase_slots(0, static_cast<uint32_t>(pages_.size())); }

 private:
  static constexpr uint64_t kNoPage = UINT64_MAX;
  uint64_t home(uint64_t page) const;
  uint64_t locate(uint64_t page) const;  // the page's entry, or the empty one where it would go
  uint32_t& region_counter(uint64_t page);

  std::vector<uint32_t> table_;            // slots, by hash of their page
  std::vector<uint64_t> pages_;            // by slot
  std::vector<uint32_t> checksums_;        // by slot
  std::vector<uint32_t> region_counters_;  // by hash of page / 256: how many pages are there; 0 lets a range skip
  uint64_t size_ = 0;
};

}  // namespace foreshard::volume
