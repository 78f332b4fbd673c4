// PageHistory: what is remembered of single pages: how often and how long ago each was read, and which pages of its
// neighbourhood (a region of 16 pages) were read in the present and in the previous pass over it. The filter takes
// its features from here, the footprint expert its proposals.
//
// Owner: the Prefetcher. Time is counted in observations. Memory: grows with the regions seen, a set of four at a time,
// up to regions_max, a cache line each; then the region of four that was left alone longest is forgotten.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/random.h"
#include "policy/predict/linear_sets.h"

namespace foreshard::policy {

class PageHistory {
 public:
  static constexpr uint32_t kRegionsMax = 1u << 17;
  static constexpr uint32_t kRegionPages = 16;
  static constexpr uint32_t kTouchPagesMax = 8192;  // of one request: 32 MiB
  static constexpr uint32_t kAgeUnit = 16;
  static constexpr uint32_t kAgeMax = 65535 * kAgeUnit;
  static constexpr uint32_t kPassObservations = 2000;  // a region left alone for so long begins a new pass

  struct alignas(64) Region {
    uint32_t last = 0;      // observation that touched it last; as its tag says
    uint16_t touched = 0;   // pages ever read, a bit each
    uint16_t current = 0;   // in this pass
    uint16_t previous = 0;  // in the pass before
    uint16_t passes = 0;
    std::array<uint8_t, kRegionPages / 2> counts{};  // reads of each page, four bits, saturating
    std::array<uint16_t, kRegionPages> ages{};       // observation / kAgeUnit of each page's last read

    uint32_t count(uint32_t page) const { return counts[page / 2] >> (page % 2 * 4) & 0xf; }
  };
  static_assert(sizeof(Region) == 64);

  explicit PageHistory(uint32_t regions_max = kRegionsMax);  // a power of two
  // The region of a page, or null. Good until the next touch().
  const Region* find(uint64_t page) const;
  // A find of the page comes soon: gets the memory on its way; and once that has come, the region's.
  void expect(uint64_t page) const { __builtin_prefetch(&tags_[set_of(page / kRegionPages)]); }
  void expect_region(uint64_t page) const { __builtin_prefetch(find(page)); }
  // A request was read: its first kTouchPagesMax pages are remembered.
  void touch(uint64_t first_page, uint32_t pages);
  // Observations since the page was read last, or kAgeMax; only of a page whose count is not 0. Exact to some dozens,
  // but for a page that was left alone longer than kAgeMax in a region that was not: that one seems younger.
  uint32_t age(const Region& region, uint32_t page) const;
  // Whether a touch now would begin a new pass over the region.
  bool begins_pass(const Region& region) const { return clock_ + 1 - region.last > kPassObservations; }
  uint64_t memory_bytes_max() const { return uint64_t{regions_max_} * (sizeof(Region) + sizeof(Tag)); }

 private:
  static constexpr uint32_t kWays = 4;
  static constexpr uint64_t kNoRegion = UINT64_MAX;
  // Of a region, what a search for it looks at: those of a set lie in one cache line.
  struct Tag {
    uint64_t number = kNoRegion;  // first page / kRegionPages
    uint32_t last = 0;
  };
  static_assert(sizeof(Tag) == 16);

  Region& take(uint64_t number);
  size_t set_of(uint64_t number) const { return sets_.of(mix64(number)) * kWays; }
  void grow();

  const uint32_t regions_max_;
  LinearSets sets_;
  std::vector<Region> regions_;  // kWays of each set
  std::vector<Tag> tags_;        // of each
  uint32_t clock_ = kPassObservations + 1;
  uint32_t held_ = 0;
};

}  // namespace foreshard::policy
