#include "policy/prefetch/prefetcher.h"

#include <algorithm>
#include <utility>

#include "base/bytes.h"

namespace foreshard::policy {
namespace {

// Records in the ledger: as many as the cache has pages, within reason; 48 bytes each.
constexpr uint64_t kRecordsMin = 4096;
constexpr uint64_t kRecordsMax = 1u << 19;
constexpr uint64_t kHorizonFirst = 256;
constexpr uint64_t kHopelessShare = 8;
constexpr uint64_t kHintPagesMax = 8192;  // of one hint: 32 MiB

double share(uint64_t part, uint64_t rest) {
  return part + rest == 0 ? 0 : static_cast<double>(part) / static_cast<double>(part + rest);
}

void add(PrefetchCounts& total, const PrefetchCounts& counts) {
  total.issued += counts.issued;
  total.used += counts.used;
  total.late += counts.late;
  total.wasted += counts.wasted;
  total.dropped += counts.dropped;
  total.waiting += counts.waiting;
  total.in_flight += counts.in_flight;
  total.shadow_issued += counts.shadow_issued;
  total.shadow_used += counts.shadow_used;
  total.shadow_wasted += counts.shadow_wasted;
  total.shadow_waiting += counts.shadow_waiting;
}

}  // namespace

double PrefetchStatistics::precision() const { return share(total.used, total.wasted); }
double PrefetchStatistics::shadow_precision() const { return share(total.shadow_used, total.shadow_wasted); }

std::string_view prefetch_mode_name(PrefetchMode mode) {
  switch (mode) {
    case PrefetchMode::kOff:
      return "off";
    case PrefetchMode::kShadow:
      return "shadow";
    case PrefetchMode::kOn:
      return "on";
  }
  return "off";
}

Prefetcher::Prefetcher(const PrefetcherOptions& options, std::function<bool(uint64_t page)> cached)
    : options_(options),
      mode_(options.cache_pages == 0 ? PrefetchMode::kOff : options.mode),
      cached_(std::move(cached)),
      experts_(options.cache_pages),
      ledger_(std::clamp(options.cache_pages, kRecordsMin, kRecordsMax)),
      gates_(options.precision_min),
      budget_(options.waste_share_max),
      hint_expert_(kExpertsMax - 1) {
  candidates_.reserve(PredictorSet::kCandidatesMax * 2);
}

// A prefetched page that a cache of this size would hold no longer. It grows from a few requests at the start: if
// negative outcomes came only after half a cache, the first ones would all be positive.
uint64_t Prefetcher::horizon() const {
  return std::min(std::max(kHorizonFirst, filled_pages_ / 4), std::max<uint64_t>(options_.cache_pages / 2, 1));
}

void Prefetcher::learn() {
  for (const PrefetchLedger::Outcome& outcome : ledger_.outcomes()) {
    if (outcome.expert == hint_expert_) continue;
    gates_.learn(outcome);
    if (!outcome.shadow && !outcome.used) budget_.waste();
  }
  ledger_.outcomes().clear();
}

void Prefetcher::observe(const Observation& observation, std::vector<PageRange>& to_fetch) {
  const uint64_t end = observation.first_page + observation.pages;
  if (observation.write) {
    if (ledger_.shadow_waiting() == 0) return;
    for (uint64_t page = observation.first_page; page < end; ++page) ledger_.overwritten(page);
    learn();
    return;
  }
  budget_.earn(unearned_pages_);
  read_pages_ += std::exchange(unearned_pages_, 0);
  missed_pages_ += observation.missed_pages;
  filled_pages_ += observation.missed_pages;
  if (ledger_.in_flight() + ledger_.shadow_waiting() != 0) {
    for (uint64_t page = observation.first_page; page < end; ++page) ledger_.demanded(page);
  }
  ledger_.advance(observation.missed_pages, horizon());
  learn();

  candidates_.clear();
  experts_.observe(observation, candidates_);
  for (const Candidate& candidate : candidates_) consider(candidate, to_fetch);
}

void Prefetcher::consider(const Candidate& candidate, std::vector<PageRange>& to_fetch) {
  if (candidate.first_page >= options_.volume_pages) return;
  const uint64_t end =
      candidate.first_page + std::min<uint64_t>(candidate.pages, options_.volume_pages - candidate.first_page);
  const uint8_t bucket = confidence_bucket(candidate.confidence);
  const bool open = mode_ == PrefetchMode::kOn && gates_.open(candidate.expert, bucket);
  // What is as good as never right is looked at now and then only; were it right again, the few would tell.
  if (!open && gates_.hopeless(candidate.expert, bucket) && hopeless_[candidate.expert]++ % kHopelessShare != 0) return;
  uint64_t affordable = open ? budget_.affordable(gates_.precision(candidate.expert, bucket), ledger_.open()) : 0;
  uint64_t room = options_.in_flight_pages_max - std::min<uint64_t>(ledger_.in_flight(), options_.in_flight_pages_max);
  const size_t first_range = to_fetch.size();
  for (uint64_t page = candidate.first_page; page < end; ++page) {
    const bool issue = open && affordable > 0 && room > 0;
    if (ledger_.contains(page) && !(issue && ledger_.in_shadow(page))) continue;
    if (cached_(page)) continue;
    if (open && !issue) ++(affordable == 0 ? refused_budget_ : refused_in_flight_);
    ledger_.issue(page, candidate.expert, bucket, !issue);
    if (!issue) continue;
    --affordable;
    --room;
    issue_page(page, to_fetch, first_range);
  }
  learn();
}

void Prefetcher::issue_page(uint64_t page, std::vector<PageRange>& to_fetch, size_t first_range) {
  if (to_fetch.size() > first_range) {
    PageRange& last = to_fetch.back();
    if (last.first_page + last.pages == page && page % kPagesPerChunk != 0) {
      ++last.pages;
      return;
    }
  }
  to_fetch.push_back({page, 1});
}

void Prefetcher::hint(PageRange range, std::vector<PageRange>& to_fetch) {
  if (mode_ == PrefetchMode::kOff || range.first_page >= options_.volume_pages) return;
  const uint64_t pages = std::min({uint64_t{range.pages}, options_.volume_pages - range.first_page, kHintPagesMax});
  const size_t first_range = to_fetch.size();
  for (uint64_t page = range.first_page; page < range.first_page + pages; ++page) {
    if ((ledger_.contains(page) && !ledger_.in_shadow(page)) || cached_(page)) continue;
    const bool issue = mode_ == PrefetchMode::kOn && ledger_.in_flight() < options_.in_flight_pages_max;
    if (mode_ == PrefetchMode::kOn && !issue) {
      ++refused_in_flight_;
      continue;
    }
    ledger_.issue(page, hint_expert_, 0, !issue);
    if (issue) issue_page(page, to_fetch, first_range);
  }
  learn();
}

void Prefetcher::on_fetched(PageRange range) {
  for (uint64_t page = range.first_page; page < range.first_page + range.pages; ++page) ledger_.fetched(page);
  filled_pages_ += range.pages;
  ledger_.advance(range.pages, horizon());
  learn();
}

void Prefetcher::on_dropped(PageRange range) {
  for (uint64_t page = range.first_page; page < range.first_page + range.pages; ++page) ledger_.dropped(page);
}

void Prefetcher::on_first_use(uint64_t page) {
  ledger_.used(page);
  learn();
}

void Prefetcher::on_evicted_unused(uint64_t page) {
  ledger_.wasted(page);
  learn();
}

PrefetchStatistics Prefetcher::statistics() const {
  PrefetchStatistics statistics;
  statistics.mode = mode_;
  statistics.read_requests = read_requests_;
  statistics.read_pages = read_pages_ + unearned_pages_;
  statistics.missed_pages = missed_pages_;
  statistics.refused_budget = refused_budget_;
  statistics.refused_in_flight = refused_in_flight_;
  statistics.stops = gates_.stops();
  statistics.starts = gates_.starts();
  statistics.budget_tokens = budget_.tokens();
  for (uint32_t expert = 0; expert < experts_.size(); ++expert) {
    statistics.expert[statistics.experts++] = {experts_.name(expert), ledger_.counts(static_cast<uint8_t>(expert)),
                                               gates_.any_open(static_cast<uint8_t>(expert))};
  }
  statistics.expert[statistics.experts++] = {"hint", ledger_.counts(hint_expert_), true};
  for (const ExpertStatistics& expert : statistics.expert) add(statistics.total, expert.counts);
  return statistics;
}

}  // namespace foreshard::policy
