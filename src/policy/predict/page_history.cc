#include "policy/predict/page_history.h"

#include <algorithm>

#include "base/assert.h"
#include "base/random.h"
#include "policy/predict/predictor.h"

namespace foreshard::policy {
namespace {

constexpr uint32_t kRegionsFirst = 1024;

}  // namespace

PageHistory::PageHistory(uint32_t regions_max)
    : regions_max_(regions_max), regions_(std::min(regions_max, kRegionsFirst)) {
  ASSERT(std::has_single_bit(regions_max) && regions_max >= kWays, regions_max);
}

size_t PageHistory::set_of(uint64_t number) const { return (mix64(number) & (regions_.size() / kWays - 1)) * kWays; }

const PageHistory::Region* PageHistory::find(uint64_t page) const {
  const uint64_t number = page / kRegionPages;
  const size_t set = set_of(number);
  for (size_t way = set; way < set + kWays; ++way) {
    if (regions_[way].number == number) return &regions_[way];
  }
  return nullptr;
}

PageHistory::Region& PageHistory::take(uint64_t number) {
  const size_t set = set_of(number);
  size_t oldest = set;
  for (size_t way = set; way < set + kWays; ++way) {
    if (regions_[way].number == number) return regions_[way];
    if (regions_[way].number == UINT64_MAX) {
      oldest = way;
      break;
    }
    if (clock_ - regions_[way].last > clock_ - regions_[oldest].last) oldest = way;
  }
  held_ += regions_[oldest].number == UINT64_MAX;
  regions_[oldest] = Region{.number = number};
  return regions_[oldest];
}

void PageHistory::grow() {
  std::vector<Region> old(regions_.size() * 2);
  old.swap(regions_);
  held_ = 0;
  for (const Region& region : old) {
    if (region.number != UINT64_MAX) take(region.number) = region;
  }
}

void PageHistory::touch(uint64_t first_page, uint32_t pages) {
  ++clock_;
  if (!pages_are_possible(first_page, pages)) return;
  const uint64_t touched_end = first_page + std::min(pages, kTouchPagesMax);
  if (held_ > regions_.size() / 2 && regions_.size() < regions_max_) grow();
  for (uint64_t page = first_page; page < touched_end;) {
    const uint64_t number = page / kRegionPages;
    Region& region = take(number);
    if (clock_ - region.last > kPassObservations) {
      region.previous = region.current;
      region.current = 0;
      if (region.passes != UINT16_MAX) ++region.passes;
    }
    region.last = clock_;
    const uint64_t end = std::min((number + 1) * kRegionPages, touched_end);
    for (; page < end; ++page) {
      const auto i = static_cast<uint32_t>(page % kRegionPages);
      region.touched |= static_cast<uint16_t>(1u << i);
      region.current |= static_cast<uint16_t>(1u << i);
      if (region.count(i) < 0xf) region.counts[i / 2] += static_cast<uint8_t>(1u << (i % 2 * 4));
      region.ages[i] = static_cast<uint16_t>(clock_ / kAgeUnit);
    }
  }
}

uint32_t PageHistory::age(const Region& region, uint32_t page) const {
  if (clock_ - region.last > kAgeMax) return kAgeMax;
  const auto now = static_cast<uint16_t>(clock_ / kAgeUnit);
  return static_cast<uint16_t>(now - region.ages[page]) * kAgeUnit;
}

}  // namespace foreshard::policy
