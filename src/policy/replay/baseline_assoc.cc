#include "policy/replay/baseline_assoc.h"

#include <algorithm>

namespace foreshard::policy {

BaselineAssoc::Entry& BaselineAssoc::entry_of(uint64_t page) {
  const auto [found, is_new] = entries_.try_emplace(page);
  if (!is_new) {
    ages_.splice(ages_.end(), ages_, found->second.age);
    return found->second;
  }
  found->second.age = ages_.insert(ages_.end(), page);
  if (entries_.size() > kEntriesMax) {
    entries_.erase(ages_.front());
    ages_.pop_front();
  }
  return found->second;
}

void BaselineAssoc::learn(const Observation& observation) {
  const uint64_t page = observation.first_page;
  for (size_t i = 0; i < kWindow; ++i) {
    // A page that stands in the window twice counts once.
    const bool again = std::find(window_.begin(), window_.begin() + i, window_[i]) != window_.begin() + i;
    if (window_[i] == kNone || window_[i] == page || again) continue;
    std::array<Successor, kSuccessors>& successors = entry_of(window_[i]).successors;
    Successor* place = &successors[0];
    for (Successor& successor : successors) {
      if (successor.count != 0 && successor.page == page) {
        place = &successor;
        break;
      }
      if (successor.count < place->count) place = &successor;
    }
    if (place->count == 0 || place->page != page) *place = {page, 0, 0};
    place->pages = std::max(place->pages, observation.pages);
    ++place->count;
  }
}

void BaselineAssoc::observe(const Observation& observation, std::vector<Candidate>& candidates) {
  if (observation.write || observation.pages == 0) return;
  learn(observation);
  if (window_[0] != observation.first_page) {
    std::shift_right(window_.begin(), window_.end(), 1);
    window_[0] = observation.first_page;
  }
  Entry& entry = entry_of(observation.first_page);
  for (const Successor& successor : entry.successors) {
    if (successor.count < kSupportMin || successor.count < kConfidenceMin * entry.seen) continue;
    const double confidence = static_cast<double>(successor.count) / std::max(1u, entry.seen);
    const uint32_t pages = std::min(successor.pages, kPagesMax);
    candidates.push_back({successor.page, pages, static_cast<float>(std::min(confidence, 1.0)), 0});
  }
  ++entry.seen;
}

}  // namespace foreshard::policy
