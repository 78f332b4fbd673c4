#include "policy/prefetch/prefetcher.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "base/bytes.h"
#include "base/random.h"

namespace foreshard::policy {
namespace {

// Records in the ledger: of issued pages as many as the cache has pages, within reason.
constexpr uint64_t kIssuedMin = 4096;
constexpr uint64_t kIssuedMax = 1u << 16;
constexpr uint64_t kShadowRecords = 1u << 13;
constexpr float kUnlikelyBelow = 0.2f;  // of such proposals one in kUnlikelyShare is followed and stands for the others
constexpr uint8_t kUnlikelyShare = 4;
constexpr uint8_t kWarmedTag = 1;            // in the ledger, a bit: it went into the server's memory
constexpr uint8_t kChosenTag = 4;            // another: its expert had chosen it by a probability of its own
constexpr uint8_t kNoBetterTag = 2;          // another: it was refused as no better than what it displaces
constexpr size_t kStandsForMax = 4;          // pages of a refused request that its front stands for
constexpr float kProbable = 0.2f;            // such a page may be worth a fetch, alone
constexpr uint32_t kExpectedPages = 16;      // of a candidate whose memory is waited for together
constexpr uint64_t kUnlikelyAfter = 50'000;  // examples; before, each is needed
constexpr uint64_t kHorizonFirst = 32;       // pages
constexpr uint64_t kHorizonRequests = 40;    // but where they are large so many requests: streams look 28 ahead
constexpr double kLargePages = 8;            // on average of the last ones
constexpr double kRecentRequests = 8;
constexpr uint64_t kHintPagesMax = 8192;  // of one hint: 32 MiB
constexpr uint32_t kTaughtPages = 64;     // of a request of the past, so that it takes some microseconds
constexpr uint64_t kActiveRequests = 4096;
constexpr uint64_t kStopRequests = 1024;  // so many in a row that led to no fetch: it has stopped
constexpr uint64_t kStoppedShare = 8;     // of which, or of those that find the way full, one in so many is looked at
constexpr const char* kTables = "3:";  // of features, as describe() numbers them: with others a filter is worth nothing
// An expert that chooses is told no more than this, so that what is nearly sure goes on.
constexpr double kThresholdTold = 0.9;
constexpr uint64_t kLatencyShareUp = 32, kLatencyShareDown = 4;

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

// Between two that judge by different things: of the odds, the geometric mean.
float halfway(float a, float b) {
  constexpr float kLeast = 1e-3f;
  a = std::clamp(a, kLeast, 1 - kLeast);
  b = std::clamp(b, kLeast, 1 - kLeast);
  return 1 / (1 + std::sqrt((1 - a) / a * ((1 - b) / b)));
}

uint32_t log2_bucket(uint64_t value) { return static_cast<uint32_t>(std::bit_width(value)); }

}  // namespace

void PrefetchStatistics::ask_cache(const PageCache& cache) {
  total.used = cache.statistics().prefetched_used;
  total.wasted = cache.statistics().prefetched_wasted;
  total.waiting = cache.statistics().prefetched_waiting;
  if (const Payback* found = cache.payback()) payback = {true, found->pays(), found->gain(), found->stops()};
}

double PrefetchStatistics::precision() const { return share(total.used, total.wasted); }
double PrefetchStatistics::shadow_precision() const { return share(total.shadow_used, total.shadow_wasted); }

std::string_view prefetch_mode_name(PrefetchMode mode) {
  switch (mode) {
    case PrefetchMode::kOff: return "off";
    case PrefetchMode::kShadow: return "shadow";
    case PrefetchMode::kOn: return "on";
  }
  return "off";
}

Prefetcher::Prefetcher(const PrefetcherOptions& options, std::function<bool(uint64_t page)> cached,
                       std::function<void(uint64_t page)> expect, std::function<bool()> pays)
    : options_(options),
      mode_(options.cache_pages == 0 ? PrefetchMode::kOff : options.mode),
      cached_(std::move(cached)),
      expect_(std::move(expect)),
      pays_(std::move(pays)),
      experts_(
          options.cache_pages, options.experts, history_,
          [this](uint64_t page) { return state_of(page) == PageState::kThere; },
          budget_settings(options.budget).stream_window_pages),
      ledger_(std::clamp(options.cache_pages, kIssuedMin, kIssuedMax), kShadowRecords, options.cache_pages),
      judged_{.recalibration = {}, .threshold = Threshold(budget_settings(options.budget))},
      chosen_(judged_),
      budget_(budget_settings(options.budget).waste_share_max),
      warming_(budget_settings(options.budget)),
      hint_expert_(kExpertsMax - 1),
      examples_(ledger_.records()),
      postponed_(ledger_.issued_records()) {
  candidates_.reserve(PredictorSet::kCandidatesMax * 2);
  warming_.set_enabled(options.warms_server);
}

uint64_t Prefetcher::memory_bytes_max() const {
  return ledger_.memory_bytes_max() + experts_.memory_bytes_max() + history_.memory_bytes_max() + OnlineFilter::kBytes +
         Sieve::kBytes + sizeof(Displacement) + examples_.size() * sizeof(FilterExample) + postponed_.memory_bytes() +
         failed_.memory_bytes() + Proposals::kBytesMax;
}

// A page counts as not used when twice the time has passed in which nearly all are used that are, or half of that which
// a wasted one stays in the cache: the sooner it is known, the better. It grows from a few pages at the start: if
// negative outcomes came only after half a cache, the first ones would all be positive.
uint64_t Prefetcher::horizon() const {
  const auto stays = static_cast<uint64_t>(ledger_.residence() / 2);
  const uint64_t most = std::min(stays, ledger_.delays().nearly_all() * 2);
  const uint64_t requests = recent_pages_ < kLargePages ? 0 : kHorizonRequests * static_cast<uint64_t>(recent_pages_);
  return std::min(std::max({kHorizonFirst, requests, filled_pages_ / 4}), std::max(most, kHorizonFirst));
}

void Prefetcher::learn() {
  for (const PrefetchLedger::Outcome& outcome : ledger_.outcomes()) __builtin_prefetch(&examples_[outcome.record]);
  for (const PrefetchLedger::Outcome& outcome : ledger_.outcomes()) {
    if (outcome.expert == hint_expert_) continue;
    if (!outcome.late) {
      filter_.learn(examples_[outcome.record], outcome.used);
      if (outcome.awaited) postponed_.awaited(outcome.record, now_ns_, fetch_latency_ns_, filter_);
    }
    if ((outcome.tag & kWarmedTag) != 0 && !outcome.late) warming_.outcome(outcome.used);
    const FilterExample& example = examples_[outcome.record];
    const double probability = example.probability / double{FilterExample::kProbabilityMax};
    // What is refused for what came of others like it would never be known to be better than those. One page of its
    // request is followed, but where it went into the server's memory.
    const bool refused = (outcome.tag & kNoBetterTag) != 0;
    if (!outcome.shadow || refused) {
      const bool for_all = refused && (outcome.tag & kWarmedTag) == 0;
      Recalibration& recalibration = experience_of(outcome.tag).recalibration;
      if (outcome.late) {
        recalibration.revise(probability, example.pages_width, for_all);
      } else {
        recalibration.learn(probability, example.pages_width, outcome.used, for_all);
      }
    }
    if (outcome.shadow) continue;
    const double stated = outcome.confidence / double{PrefetchLedger::kConfidenceMax};
    if (outcome.late) {
      calibration_.revise(stated);
      experience_of(outcome.tag).threshold.revise();
      continue;
    }
    calibration_.add(stated, outcome.used);
    experience_of(outcome.tag).threshold.learn(outcome.used);
    if (!outcome.used) budget_.waste();
  }
  ledger_.outcomes().clear();
}

void Prefetcher::observe(const Observation& observation, std::vector<PageRange>& to_fetch) {
  if (!pages_are_possible(observation.first_page, observation.pages)) return;
  const uint64_t end = observation.first_page + observation.pages;
  if (observation.write) {
    failed_.forget(observation.first_page, observation.pages);
    if (ledger_.shadow_waiting() == 0) return;
    ledger_.overwritten_range(observation.first_page, observation.pages);
    learn();
    return;
  }
  now_ns_ = observation.time_ns;
  experts_.expect(observation);
  history_.expect(observation.first_page);
  ledger_.expect(observation.first_page);
  budget_.earn(unearned_pages_);
  warming_.earn(unearned_pages_);
  read_pages_ += std::exchange(unearned_pages_, 0);
  missed_pages_ += observation.missed_pages;
  missed_requests_ += observation.missed_pages != 0;
  filled_pages_ += observation.missed_pages;
  if (ledger_.in_flight() + ledger_.shadow_waiting() != 0) {
    ledger_.demanded_range(observation.first_page, observation.pages);
  }
  ledger_.advance(observation.missed_pages, horizon());
  displacement_.read(observation.first_page, observation.pages, observation.missed_pages != 0, ledger_.clock(),
                     static_cast<uint64_t>(ledger_.residence()));
  experts_.expect_more(observation);
  history_.expect_region(observation.first_page);
  learn();

  crowding_.note_request(observation.outstanding_requests);
  crowded_ = mode_ == PrefetchMode::kOn && crowding_.full();
  crowded_requests_ += crowded_;
  paying_ = !pays_ || pays_();
  Observation seen = observation;
  seen.fetch_latency_ns = fetch_latency_ns_;
  seen.threshold = static_cast<float>(std::min(chosen_.threshold.value(), kThresholdTold));
  candidates_.clear();
  experts_.observe(seen, candidates_);
  ++observed_;
  recent_pages_ += (observation.pages - recent_pages_) / kRecentRequests;
  if (!stopped_ && observed_ - issued_at_ >= kStopRequests) {
    stopped_ = true;
    ++stops_;
    ledger_.forget_delays();  // of what is no longer fetched: what comes now may take longer
  }
  consider(observation, to_fetch);
  history_.touch(observation.first_page, observation.pages);
  last_end_ = end;
}

// Leaves the candidates that are worth looking up, and gets the memory for that on its way, all at once: one after the
// other, most of the time would be spent waiting for it.
void Prefetcher::sift() {
  if (filter_.learned() > kUnlikelyAfter) {
    std::erase_if(candidates_,
                  [this](const Candidate& candidate) { return !candidate.is_chosen && !sieve_.passes(candidate); });
  }
  for (const Candidate& candidate : candidates_) {
    const uint64_t pages = std::min(candidate.pages, kExpectedPages);
    for (uint64_t page = candidate.first_page; page < candidate.first_page + pages; ++page) {
      if (expect_) expect_(page);
      if (page == candidate.first_page || page % 4 == 0) ledger_.expect(page);
    }
    history_.expect(candidate.first_page);
  }
  for (const Candidate& candidate : candidates_) history_.expect_region(candidate.first_page);
}

void Prefetcher::consider(const Observation& observation, std::vector<PageRange>& to_fetch) {
  if ((stopped_ || crowded_) && mix64(observed_) % kStoppedShare != 0) return;
  sift();
  proposals_.gather(observation, candidates_, options_.volume_pages, [this](uint64_t page) { return state_of(page); });
  decide(observation, to_fetch);
}

void Prefetcher::on_candidates(const Observation& observation, uint8_t expert, std::span<const Candidate> candidates,
                               std::vector<PageRange>& to_fetch) {
  if (mode_ == PrefetchMode::kOff || candidates.empty()) return;
  if (!pages_are_possible(observation.first_page, observation.pages)) return;
  candidates = candidates.first(std::min(candidates.size(), PredictorSet::kCandidatesMax));
  candidates_.assign(candidates.begin(), candidates.end());
  for (Candidate& candidate : candidates_) {
    candidate.expert = expert;
    candidate.is_chosen = false;
  }
  late_ = true;
  consider(observation, to_fetch);
  late_ = false;
}

Prefetcher::Experience& Prefetcher::experience_of(uint8_t tag) { return (tag & kChosenTag) != 0 ? chosen_ : judged_; }

PageState Prefetcher::state_of(uint64_t page) const {
  if (cached_(page) || failed_.holds(page, now_ns_)) return PageState::kThere;
  switch (ledger_.held(page)) {
    case PrefetchLedger::Held::kIssued: return PageState::kThere;
    case PrefetchLedger::Held::kShadow: return PageState::kFollowed;
    case PrefetchLedger::Held::kNot: break;
  }
  return PageState::kNeeded;
}

// The tables of the filter: 0 the sources; 1-9 what each expert says, 10-18 in another view; the rest about the page,
// its neighbourhood and the request. A change here changes kTables.
void Prefetcher::describe(const Observation& observation, const Proposal& proposal, const PageHistory::Region* region,
                          FilterExample& example) const {
  example.count = 0;
  example.weight = 1;
  example.pages_width = static_cast<uint8_t>(log2_bucket(proposal.missing));
  const uint64_t page = proposal.page;
  const uint32_t offset = proposal.offset < 8 ? proposal.offset : std::min(7 + log2_bucket(proposal.offset), 15u);
  const uint32_t missed = observation.missed_pages != 0;
  example.add(0, proposal.sources * 2 + missed);
  for (uint32_t i = 0; i < proposal.opinions; ++i) {
    const Opinion& opinion = proposal.opinion[i];
    const uint32_t expert = opinion.source / 2, rank = opinion.source % 2;
    example.add(1 + expert, opinion.context * 2u + rank);
    example.add(10 + expert, (opinion.detail * 16u + offset) * 2 + rank);
  }
  const uint32_t by = experts_.kind_of(proposal.sources);
  const auto in_region = static_cast<uint32_t>(page % PageHistory::kRegionPages);
  uint32_t count = 0, age = 31, density = 0, footprint = 0, around = 0;
  if (region != nullptr) {
    count = region->count(in_region);
    if (count != 0) age = log2_bucket(history_.age(*region, in_region));
    density = static_cast<uint32_t>(std::popcount(region->touched));
    footprint = (region->previous >> in_region & 1u) * 2 + (region->current >> in_region & 1u);
    around = region->touched >> in_region >> 1 & 0xf;
    around |= (static_cast<uint32_t>(region->touched) << 4 >> in_region & 0xf) << 4;
  }
  if (in_region < 4) {
    const PageHistory::Region* before = history_.find(page - PageHistory::kRegionPages);
    if (before != nullptr && page >= PageHistory::kRegionPages)
      around |= (before->touched >> 12 >> in_region & 0xfu) << 4;
  } else if (in_region > 11) {
    const PageHistory::Region* after = history_.find(page + PageHistory::kRegionPages);
    if (after != nullptr) around |= static_cast<uint32_t>(after->touched) << (15 - in_region) & 0xf;
  }
  const uint32_t request = std::min(observation.pages, 63u), run_pages = std::min(proposal.missing, 63u);
  const SequentialPredictor& stream = experts_.stream();
  const auto distance = static_cast<int64_t>(page - (observation.first_page + observation.pages));
  const auto step = static_cast<int64_t>(observation.first_page - last_end_);
  const uint32_t step_code = step >= 0 ? std::min(log2_bucket(static_cast<uint64_t>(step)), 31u)
                                       : 32 + std::min(log2_bucket(static_cast<uint64_t>(-step)), 31u);
  example.add(19, (age * 16 + count) * 4 + by);
  example.add(20, request * 64 + run_pages);
  // Of the request before, which for a late candidate is not the one that it follows.
  if (!late_)
    example.add(21, (std::min(stream.run(), 15u) * 64 + request) * 64 + std::min(stream.previous_pages(), 63u));
  example.add(22, (in_region * 16 + offset) * 4 + by);
  example.add(23, around * 4 + by);
  example.add(24, (density * 4 + footprint) * 4 + by);
  example.add(25, static_cast<uint32_t>(page >> 10) * 4 + by);
  example.add(26, static_cast<uint32_t>(page >> 16) * 4 + by);
  if (!late_) example.add(27, (step_code * 16 + std::min(log2_bucket(observation.pages), 15u)) * 4 + by);
  example.add(28, static_cast<uint32_t>(std::clamp<int64_t>(distance, -65, 65) + 65) * 4 + by);
  example.add(29, ((proposal.sources * 16 + std::min<uint32_t>(std::popcount(around), 8)) * 8 +
                   std::min(log2_bucket(run_pages), 7u)) *
                          4 +
                      std::min(count, 3u));
  example.add(31, 0);
}

void Prefetcher::weigh(const Observation& observation, size_t proposal) {
  Weighed& weighed = weighed_[proposal];
  if (weighed.known) return;
  weighed.known = true;
  const Proposal& page = proposals_.pages()[proposal];
  const PageHistory::Region* region = history_.find(page.page);
  describe(observation, page, region, weighed.example);
  weighed.probability = filter_.probability(weighed.example);
  weighed.read_before = region != nullptr && (region->touched >> page.page % PageHistory::kRegionPages & 1) != 0;
}

double Prefetcher::threshold_of(size_t proposal) const {
  const uint32_t missing = proposals_.pages()[proposal].missing;
  return judged_.threshold.of(missing, displacement_.share() / Displacement::kUsualShare,
                              weighed_[proposal].read_before);
}

void Prefetcher::record(size_t proposal, bool shadow, uint8_t tag, float probability) {
  const Proposal& page = proposals_.pages()[proposal];
  Weighed& weighed = weighed_[proposal];
  weighed.example.probability = static_cast<uint8_t>(probability * FilterExample::kProbabilityMax + 0.5f);
  const double stated = experience_of(tag).recalibration.correct(probability, weighed.example.pages_width);
  const auto confidence = static_cast<uint8_t>(stated * PrefetchLedger::kConfidenceMax + 0.5);
  const auto expert = static_cast<uint8_t>(page.opinion[0].source / 2);
  if ((ledger_.tag(page.page) & kWarmedTag) != 0) warming_.take();
  const auto refused = shadow ? std::nullopt : ledger_.open_shadow(page.page);
  const uint32_t number = ledger_.issue(page.page, expert, confidence, shadow, tag);
  learn();  // what was written off to make room names the example that lies there still
  if (!shadow) postponed_.issue(number, now_ns_, refused ? &examples_[*refused] : nullptr);
  examples_[number] = weighed.example;
  if (!shadow) last_issue_[expert] = issued_at_ = observed_;
}

void Prefetcher::decide(const Observation& observation, std::vector<PageRange>& to_fetch) {
  const std::span<const Proposal> pages = proposals_.pages();
  if (weighed_.size() < pages.size()) weighed_.resize(pages.size());
  for (size_t i = 0; i < pages.size(); ++i) weighed_[i].known = weighed_[i].issued = false, weighed_[i].refused_tag = 0;
  for (size_t run = 0; run < proposals_.runs(); ++run) decide_run(observation, run, to_fetch);
  for (size_t i = 0; i < pages.size(); ++i) {
    if (!weighed_[i].known || weighed_[i].issued || pages[i].followed) continue;
    if (weighed_[i].probability < kUnlikelyBelow && filter_.learned() > kUnlikelyAfter) {
      if (unlikely_++ % kUnlikelyShare != 0) continue;
      weighed_[i].example.weight *= kUnlikelyShare;
    }
    const bool refused = weighed_[i].refused_tag != 0;
    record(i, true, weighed_[i].refused_tag, refused ? weighed_[i].refused_probability : weighed_[i].probability);
  }
  if (stopped_ && issued_at_ == observed_) {
    stopped_ = false;
    ++starts_;
  }
  learn();
}

// From the front on, up to the first page that is refused: the rest of a request is worth nothing without its front,
// and is not even weighed; that page stands for it in what is learned.
void Prefetcher::decide_run(const Observation& observation, size_t run, std::vector<PageRange>& to_fetch) {
  using enum PrefetchDecision::Verdict;
  const Proposals::Run numbers = proposals_.run(run);
  const std::span<const Proposal> pages = proposals_.pages();
  const size_t first_range = to_fetch.size();
  PrefetchDecision& decision = decisions_[decided_++ % kDecisionsMax];
  decision = {.time_ns = observation.time_ns, .trigger_page = observation.first_page};
  decision.first_page = pages[numbers[0]].page;
  decision.pages = static_cast<uint32_t>(numbers.size());
  decision.sources = pages[numbers[0]].sources;
  decision.verdict = kFetched;
  const Candidate& candidate = candidates_[proposals_.candidate(run)];
  const uint8_t tag = candidate.is_chosen ? kChosenTag : uint8_t{0};
  bool probable = false, refused = false, warming = false;
  for (size_t place = 0; place < numbers.size() && !refused; ++place) {
    const uint16_t i = numbers[place];
    weigh(observation, i);
    probable = probable || weighed_[i].probability >= kProbable;
    if (weighed_[i].issued) continue;
    decision.probability = weighed_[i].probability;
    if (candidate.is_chosen) decision.probability = halfway(decision.probability, candidate.confidence);
    decision.threshold = candidate.is_chosen ? 0.0f : static_cast<float>(threshold_of(i));
    refused = true;
    if (warming) {  // the rest of a request is worth nothing in the cache without its front
    } else if (decision.probability < decision.threshold) {
      if (decision.verdict == kFetched) decision.verdict = kImprobable;
    } else if (!paying_ && weighed_[i].read_before) {
      decision.verdict = kDoesNotPay;
      refuse_as_no_better(i, tag, decision.probability);
    } else if (experience_of(tag).recalibration.correct(decision.probability, weighed_[i].example.pages_width) <
               displacement_.worth(pages[i].missing)) {
      decision.verdict = kNoBetter;
      refuse_as_no_better(i, tag, decision.probability);
      displacement_.refused();
    } else if (mode_ != PrefetchMode::kOn || crowded_) {
      decision.verdict = crowded_ ? kCrowded : kShadow;
      issued_at_ = observed_;  // it has not stopped: it would fetch
      refused = false;
    } else if (ledger_.in_flight() >= options_.in_flight_pages_max) {
      decision.verdict = kTooManyInFlight;
      ++refused_in_flight_;
    } else if (budget_.affordable(decision.probability, ledger_.open()) == 0) {
      decision.verdict = kOverBudget;
      ++refused_budget_;
    } else {
      if (candidate.is_chosen) weighed_[i].example.weight = 1;
      record(i, false, tag, decision.probability);
      weighed_[i].issued = true;
      issue_page(pages[i].page, Destination::kDriver, to_fetch, first_range);
      ++decision.fetched;
      refused = false;
    }
    if (!refused) continue;
    if (decision.verdict != kTooManyInFlight && warm(i, warming)) {
      warming = true;
      refused = false;
      decision.verdict = kWarmed;
      ++decision.warmed;
      issue_page(pages[i].page, Destination::kServer, to_fetch, first_range);
      continue;
    }
    const size_t rest = std::min<size_t>(numbers.size() - place, kStandsForMax);
    weighed_[i].example.weight = std::max(weighed_[i].example.weight, static_cast<uint8_t>(rest));
  }
  if (!candidate.is_chosen) sieve_.learn(candidate, probable);
}

// It is followed like what is fetched, or what is held against it would never be known to have changed.
void Prefetcher::refuse_as_no_better(size_t proposal, uint8_t tag, float probability) {
  weighed_[proposal].refused_tag = tag | kNoBetterTag;
  weighed_[proposal].refused_probability = probability;
}

std::vector<PrefetchDecision> Prefetcher::decisions() const {
  std::vector<PrefetchDecision> newest;
  for (uint64_t back = 1; back <= std::min<uint64_t>(decided_, kDecisionsMax); ++back) {
    newest.push_back(decisions_[(decided_ - back) % kDecisionsMax]);
  }
  return newest;
}

std::string Prefetcher::source_names(uint32_t sources) const {
  std::string names;
  for (uint32_t expert = 0; expert < experts_.size(); ++expert) {
    if ((sources >> (expert * 2) & 3u) == 0) continue;
    if (!names.empty()) names += '+';
    names += experts_.name(expert);
  }
  return names;
}

std::string_view verdict_name(PrefetchDecision::Verdict verdict) {
  switch (verdict) {
    case PrefetchDecision::Verdict::kFetched: return "fetched";
    case PrefetchDecision::Verdict::kShadow: return "would be fetched";
    case PrefetchDecision::Verdict::kImprobable: return "too improbable";
    case PrefetchDecision::Verdict::kOverBudget: return "over the budget of waste";
    case PrefetchDecision::Verdict::kTooManyInFlight: return "too many under way";
    case PrefetchDecision::Verdict::kWarmed: return "into the server's memory";
    case PrefetchDecision::Verdict::kNoBetter: return "no better than what it displaces";
    case PrefetchDecision::Verdict::kDoesNotPay: return "what is fetched spares no reads at present";
    case PrefetchDecision::Verdict::kCrowded: return "the client keeps the way full";
  }
  return "";
}

// Not for the driver's cache; perhaps for the server's.
bool Prefetcher::warm(size_t proposal, bool begun) {
  const Proposal& page = proposals_.pages()[proposal];
  if (mode_ != PrefetchMode::kOn || crowded_ || !warming_.allows(weighed_[proposal].probability, page.missing, begun))
    return false;
  if (page.followed && (ledger_.tag(page.page) & kWarmedTag) != 0) return false;
  record(proposal, true, kWarmedTag | weighed_[proposal].refused_tag,
         weighed_[proposal].refused_tag != 0 ? weighed_[proposal].refused_probability : weighed_[proposal].probability);
  weighed_[proposal].issued = true;
  issued_at_ = observed_;
  warming_.issue();
  return true;
}

void Prefetcher::issue_page(uint64_t page, Destination destination, std::vector<PageRange>& to_fetch,
                            size_t first_range, bool hinted) {
  if (to_fetch.size() > first_range) {
    PageRange& last = to_fetch.back();
    if (last.first_page + last.pages == page && page % kPagesPerChunk != 0 && last.destination == destination) {
      ++last.pages;
      return;
    }
  }
  to_fetch.push_back({page, 1, destination, hinted});
}

void Prefetcher::hint(PageRange range, std::vector<PageRange>& to_fetch) {
  if (mode_ == PrefetchMode::kOff || range.first_page >= options_.volume_pages) return;
  const uint64_t pages = std::min({uint64_t{range.pages}, options_.volume_pages - range.first_page, kHintPagesMax});
  const size_t first_range = to_fetch.size();
  for (uint64_t page = range.first_page; page < range.first_page + pages; ++page) {
    if ((ledger_.contains(page) && !ledger_.in_shadow(page)) || cached_(page)) continue;
    const bool issue = mode_ == PrefetchMode::kOn && ledger_.in_flight() < options_.in_flight_pages_max;
    if (mode_ == PrefetchMode::kOn && !issue) {
      refused_in_flight_ += range.first_page + pages - page;
      break;
    }
    if ((ledger_.tag(page) & kWarmedTag) != 0) warming_.take();
    const uint32_t number = ledger_.issue(page, hint_expert_, 0, !issue);
    learn();
    examples_[number] = FilterExample();
    if (issue) issue_page(page, Destination::kDriver, to_fetch, first_range, true);
  }
  learn();
}

void Prefetcher::on_fetched(PageRange range, uint64_t latency_ns) {
  for (uint64_t page = range.first_page; page < range.first_page + range.pages; ++page) ledger_.fetched(page);
  failed_.forget(range.first_page, range.pages);
  if (latency_ns != 0) {
    // Sooner down than up: under load a fetch takes longer, and to look further ahead then would only add to the load.
    const uint64_t share = latency_ns < fetch_latency_ns_ ? kLatencyShareDown : kLatencyShareUp;
    fetch_latency_ns_ = fetch_latency_ns_ == 0 ? latency_ns : (fetch_latency_ns_ * (share - 1) + latency_ns) / share;
  }
  filled_pages_ += range.pages;
  ledger_.advance(range.pages, horizon());
  learn();
}

void Prefetcher::on_dropped(PageRange range) {
  for (uint64_t page = range.first_page; page < range.first_page + range.pages; ++page) ledger_.dropped(page);
}

void Prefetcher::on_failed(PageRange range, uint64_t now_ns) {
  for (uint64_t page = range.first_page; page < range.first_page + range.pages; ++page) failed_.add(page, now_ns);
}

void Prefetcher::on_first_use(uint64_t page) {
  ledger_.used(page);
  learn();
}

void Prefetcher::on_wasted(uint64_t page, bool evicted) {
  ledger_.wasted(page, evicted);
  if (evicted) displacement_.evicted(page, ledger_.clock());
  learn();
}

// In the order of their tables in the filter.
std::string Prefetcher::expert_names() const {
  std::string names = kTables;
  for (uint32_t expert = 0; expert < experts_.size(); ++expert) {
    if (expert != 0) names += ',';
    names += experts_.name(expert);
  }
  return names;
}

LearnedState Prefetcher::learned() const {
  LearnedState state;
  state.experts = expert_names();
  state.filter_examples = filter_.learned();
  state.filter = filter_.weights();
  state.recalibration = judged_.recalibration.learned();
  state.budget = prefetch_budget_name(options_.budget);
  state.threshold = judged_.threshold.value();
  state.precision = judged_.threshold.precision();
  state.outcomes = judged_.threshold.outcomes();
  if (experts_.log() != nullptr) state.log = experts_.log()->recent(LearnedState::kLoggedMax);
  if (experts_.fingerprint() != nullptr) state.recordings = experts_.fingerprint()->recordings();
  return state;
}

void Prefetcher::restore(const LearnedState& learned) {
  // One of the two may have a trained expert more behind the others, whose tables the other one does not use.
  const std::string names = expert_names();
  if ((names + ",").starts_with(learned.experts + ",") || (learned.experts + ",").starts_with(names + ",")) {
    filter_.restore(learned.filter, learned.filter_examples);
    judged_.recalibration.restore(learned.recalibration);
    if (learned.budget == prefetch_budget_name(options_.budget))
      judged_.threshold.restore(learned.threshold, learned.precision, learned.outcomes);
  }
  if (experts_.fingerprint() != nullptr) experts_.fingerprint()->restore(learned.recordings);
}

void Prefetcher::teach(std::span<const LoggedRequest> log) {
  for (const LoggedRequest& request : log) {
    Observation past;
    past.volume = options_.volume;
    past.first_page = request.first_page;
    past.pages = request.pages;
    if (!is_read(past)) continue;
    experts_.teach(past);
    history_.touch(request.first_page, std::min(request.pages, kTaughtPages));
  }
}

PrefetchStatistics Prefetcher::statistics() const {
  PrefetchStatistics statistics;
  statistics.mode = mode_;
  statistics.read_requests = read_requests_;
  statistics.read_pages = read_pages_ + unearned_pages_;
  statistics.missed_pages = missed_pages_;
  statistics.missed_requests = missed_requests_;
  statistics.refused_budget = refused_budget_;
  statistics.refused_in_flight = refused_in_flight_;
  statistics.crowded = crowded_requests_;
  statistics.stops = stops_;
  statistics.starts = starts_;
  statistics.budget = options_.budget;
  statistics.budget_tokens = budget_.tokens();
  statistics.threshold = judged_.threshold.value();
  statistics.ece = calibration_.ece();
  statistics.brier = calibration_.brier();
  statistics.brier_base = calibration_.brier_base();
  statistics.reliability = calibration_.bins();
  statistics.warming = warming_.statistics();
  statistics.fetch_latency_ns = fetch_latency_ns_;
  if (const FingerprintPredictor* fingerprint = experts_.fingerprint()) {
    statistics.recordings = fingerprint->known();
    statistics.recognised = fingerprint->recognised();
  }
  statistics.memory_bytes = memory_bytes_max();
  for (uint32_t expert = 0; expert < experts_.size(); ++expert) {
    const bool active = last_issue_[expert] != 0 && observed_ - last_issue_[expert] < kActiveRequests;
    statistics.expert[statistics.experts++] = {experts_.name(expert), ledger_.counts(static_cast<uint8_t>(expert)),
                                               active};
  }
  statistics.expert[statistics.experts++] = {"hint", ledger_.counts(hint_expert_), true};
  for (const ExpertStatistics& expert : statistics.expert) add(statistics.total, expert.counts);
  return statistics;
}

}  // namespace foreshard::policy
