#include "policy/predict/footprint.h"

#include <algorithm>
#include <bit>

namespace foreshard::policy {

void FootprintPredictor::observe(const Observation& observation, std::vector<Candidate>& candidates) {
  if (!is_read(observation)) return;
  const PageHistory::Region* region = history_.find(observation.first_page);
  if (region == nullptr) return;
  // Once for each pass, at its first request: what was read in the pass before, which is the current one still.
  if (!history_.begins_pass(*region)) return;
  const uint32_t before = region->current;
  const uint64_t start = observation.first_page / PageHistory::kRegionPages * PageHistory::kRegionPages;
  for (uint32_t page = 0; page < PageHistory::kRegionPages; ++page) {
    if ((before >> page & 1) == 0) continue;
    Candidate candidate;
    candidate.first_page = start + page;
    candidate.pages = 1;
    candidate.context = static_cast<uint16_t>(std::popcount(before));
    candidate.detail = static_cast<uint16_t>(std::min<uint32_t>(region->passes, 15) * 32 +
                                             static_cast<uint32_t>(page - observation.first_page % 16 + 16));
    candidates.push_back(candidate);
  }
}

}  // namespace foreshard::policy
