#include "policy/predict/page_history.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "policy/predict/predictor.h"

namespace foreshard::policy {
namespace {

constexpr uint32_t kRegionsFirst = 1024;
constexpr size_t kGrowsAbove = 4;  // one place in so many: sets that are still to be split hold up to twice as much

}  // namespace

PageHistory::PageHistory(uint32_t regions_max)
    : regions_max_(regions_max), sets_(std::min(regions_max, kRegionsFirst) / kWays) {
  ASSERT(std::has_single_bit(regions_max) && regions_max >= kWays, regions_max);
  regions_.reserve(regions_max);  // is never moved; the memory is taken as it is used
  tags_.reserve(regions_max);
  regions_.resize(sets_.count() * kWays);
  tags_.resize(sets_.count() * kWays);
}

const PageHistory::Region* PageHistory::find(uint64_t page) const {
  const uint64_t number = page / kRegionPages;
  const size_t set = set_of(number);
  for (size_t way = set; way < set + kWays; ++way) {
    if (tags_[way].number == number) return &regions_[way];
  }
  return nullptr;
}

PageHistory::Region& PageHistory::take(uint64_t number) {
  if (held_ > regions_.size() / kGrowsAbove && regions_.size() < regions_max_) grow();
  const size_t set = set_of(number);
  for (size_t way = set; way < set + kWays; ++way) {
    if (tags_[way].number == number) return regions_[way];
  }
  size_t oldest = set;
  for (size_t way = set; way < set + kWays; ++way) {
    if (tags_[way].number == kNoRegion) {
      oldest = way;
      break;
    }
    if (clock_ - tags_[way].last > clock_ - tags_[oldest].last) oldest = way;
  }
  held_ += tags_[oldest].number == kNoRegion;
  tags_[oldest] = {number, clock_};
  regions_[oldest] = Region{};
  return regions_[oldest];
}

void PageHistory::grow() {
  const size_t split = sets_.grow() * kWays, added = regions_.size();
  regions_.resize(added + kWays);
  tags_.resize(added + kWays);
  for (size_t way = 0; way < kWays; ++way) {
    if (tags_[split + way].number == kNoRegion || set_of(tags_[split + way].number) == split) continue;
    regions_[added + way] = regions_[split + way];
    tags_[added + way] = std::exchange(tags_[split + way], Tag{});
  }
}

void PageHistory::touch(uint64_t first_page, uint32_t pages) {
  ++clock_;
  if (!pages_are_possible(first_page, pages)) return;
  const uint64_t touched_end = first_page + std::min(pages, kTouchPagesMax);
  for (uint64_t page = first_page; page < touched_end;) {
    const uint64_t number = page / kRegionPages;
    Region& region = take(number);
    if (clock_ - region.last > kPassObservations) {
      region.previous = region.current;
      region.current = 0;
      if (region.passes != UINT16_MAX) ++region.passes;
    }
    region.last = clock_;
    tags_[static_cast<size_t>(&region - regions_.data())].last = clock_;
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
