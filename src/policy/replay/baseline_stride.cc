#include "policy/replay/baseline_stride.h"

#include <algorithm>

#include "base/random.h"

namespace foreshard::policy {
namespace {

constexpr float kConfidence = 0.5f;

}  // namespace

void BaselineStride::observe(const Observation& observation, std::vector<Candidate>& candidates) {
  if (observation.write || observation.pages == 0) return;
  const uint64_t number = observation.first_page / kRegionPages;
  Region& region = regions_[mix64(number) % kRegions];
  if (region.number != number) {
    region = {number, observation.first_page, 0, 0};
    return;
  }
  const auto distance = static_cast<int64_t>(observation.first_page - region.last);
  region.last = observation.first_page;
  region.equal = distance != 0 && distance == region.stride ? region.equal + 1 : 1;
  region.stride = distance;
  if (region.equal < kEqualMin) return;
  for (uint32_t step = 1; step <= kStepsAhead; ++step) {
    const uint64_t page = observation.first_page + static_cast<uint64_t>(distance * step);
    // A step below the first page wraps around.
    if ((distance < 0) != (page < observation.first_page)) return;
    candidates.push_back({page, std::min(observation.pages, kPagesMax), kConfidence, 0});
  }
}

}  // namespace foreshard::policy
