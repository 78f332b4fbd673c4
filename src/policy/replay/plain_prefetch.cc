#include "policy/replay/plain_prefetch.h"

namespace foreshard::policy {

PlainPrefetch::PlainPrefetch(View view, std::vector<std::unique_ptr<Predictor>> predictors)
    : view_(std::move(view)), predictors_(std::move(predictors)) {}

void PlainPrefetch::on_access(const Observation& observation, std::vector<PageRange>& to_fetch) {
  const uint64_t end = observation.first_page + observation.pages;
  if (observation.missed_pages > 0 && !observation.write) {
    // Asked for while still on its way.
    for (uint64_t page = observation.first_page; page < end; ++page) {
      if (view_.in_flight(page)) settle(page, true);
    }
  }
  candidates_.clear();
  for (const auto& predictor : predictors_) predictor->observe(observation, candidates_);
  for (const Candidate& candidate : candidates_) propose(candidate, to_fetch);
}

void PlainPrefetch::propose(const Candidate& candidate, std::vector<PageRange>& to_fetch) {
  bool joins = false;
  for (uint64_t page = candidate.first_page; page < candidate.first_page + candidate.pages; ++page) {
    if (view_.cached(page) || view_.in_flight(page) || !open_.emplace(page, candidate.confidence).second) {
      joins = false;
      continue;
    }
    if (joins) {
      ++to_fetch.back().pages;
    } else {
      to_fetch.push_back({page, 1});
    }
    joins = true;
  }
}

void PlainPrefetch::on_dropped(PageRange range) {
  for (uint64_t page = range.first_page; page < range.first_page + range.pages; ++page) settle(page, false);
}

void PlainPrefetch::settle(uint64_t page, bool used) {
  const auto open = open_.find(page);
  if (open == open_.end()) return;
  calibration_.add(open->second, used);
  open_.erase(open);
}

PrefetchFacts PlainPrefetch::facts() const {
  PrefetchFacts facts;
  facts.ece = calibration_.ece();
  facts.brier = calibration_.brier();
  facts.brier_base = calibration_.brier_base();
  facts.reliability = calibration_.bins();
  for (const auto& predictor : predictors_) facts.memory_bytes += predictor->memory_bytes_max();
  return facts;
}

}  // namespace foreshard::policy
