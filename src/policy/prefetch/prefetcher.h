// Prefetcher: the one object that a driver holds to read ahead. It watches requests, asks the experts what may follow,
// gives each proposed page a probability by a filter that it teaches with what came of all proposals, and says what to
// fetch: pages neither cached nor on their way, whose probability is worth their cost, within the budget of waste, in
// ranges of whole runs that cross no chunk. It fetches nothing itself, and every answer is correct without it
// (predictions are hints).
//
// A request is saved only if all of its pages are there, so a page is fetched if p >= threshold * n / (h + n), where n
// is how many pages of the request that it belongs to are missing: single pages go on a guess, large requests only
// when they are nearly sure, the more so the larger. h, about 2, is the larger the less of what is displaced comes
// back. The threshold and h follow the precision that the budget asks for. Where nothing passes, or where what is
// displaced is worth about as much, prefetching has stopped by itself; proposals are still followed in shadow, and
// start it again when they would pay. Where the cache finds that prefetching spares no reads, what was read before is
// left alone until the cache lets it try again: how often that is read may be all that is known of it. What is new
// comes as before, for it can have been displaced by nothing.
//
// Owner: the driver; one executor; one volume. Pure: no I/O, no clock. How the driver uses it:
//   read:  look up every page (cache.find; on_first_use for first uses), then on_access once; fetch what it returns
//   when a fetch is in the cache: on_fetched; if it failed or a write overtook it: on_dropped, and on_failed for the
//     pages that would fail again
//   PageCache::set_on_wasted -> on_wasted;  NBD CACHE -> hint
//   write: on_access with write = true
// Modes: off costs a branch; shadow decides and keeps score and fetches nothing; on. Memory: memory_bytes_max().
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "policy/cache/page_cache.h"
#include "policy/cache/payback.h"
#include "policy/predict/page_history.h"
#include "policy/predict/predictor.h"
#include "policy/predict/predictor_set.h"
#include "policy/prefetch/budget.h"
#include "policy/prefetch/calibration.h"
#include "policy/prefetch/crowding.h"
#include "policy/prefetch/displacement.h"
#include "policy/prefetch/failed_fetches.h"
#include "policy/prefetch/filter.h"
#include "policy/prefetch/learned_state.h"
#include "policy/prefetch/ledger.h"
#include "policy/prefetch/postponed.h"
#include "policy/prefetch/proposals.h"
#include "policy/prefetch/sieve.h"
#include "policy/prefetch/warming.h"

namespace foreshard::policy {

enum class PrefetchMode : uint8_t { kOff, kShadow, kOn };

enum class Destination : uint8_t { kDriver, kServer };  // whose memory

struct PageRange {
  uint64_t first_page = 0;
  uint32_t pages = 0;
  Destination destination = Destination::kDriver;
  bool hinted = false;  // the client asked for it
  bool operator==(const PageRange&) const = default;
};

struct PrefetcherOptions {
  PrefetchMode mode = PrefetchMode::kOn;
  VolumeId volume;                      // whose accesses those are that a LearnedState holds
  uint64_t volume_pages = UINT64_MAX;   // nothing beyond is proposed
  uint64_t cache_pages = 65536;         // of the cache that it fills; 0: prefetching is off
  uint32_t in_flight_pages_max = 4096;  // fetches not yet answered
  PrefetchBudget budget = PrefetchBudget::kNormal;
  bool warms_server = false;         // what is not probable enough for the cache may go into the server's memory
  bool watch_hits = false;           // plain hits teach too: for whole files, where they tell what follows
  std::vector<std::string> experts;  // of PredictorSet's names; none: all
};

struct ExpertStatistics {
  std::string_view name;
  PrefetchCounts counts;
  bool active = false;  // something that it proposed has been issued lately
};

// What the cache has found out about prefetching (Payback).
struct PaybackStatistics {
  bool watched = false;
  bool pays = true;
  std::optional<double> gain;  // Payback::gain()
  uint64_t stops = 0;          // for want of that
};
// For people and for the CLI. Counts are pages.
struct PrefetchStatistics {
  PrefetchMode mode = PrefetchMode::kOff;
  uint64_t read_requests = 0, missed_requests = 0, read_pages = 0, missed_pages = 0;
  PrefetchCounts total;
  uint64_t refused_budget = 0;     // pages that the budget of waste held back
  uint64_t refused_in_flight = 0;  // pages that would have exceeded the fetches in flight
  uint64_t crowded = 0;            // read requests that found the way full (Crowding)
  uint64_t stops = 0, starts = 0;  // of fetching at all, for want of promise
  PrefetchBudget budget = PrefetchBudget::kNormal;
  double budget_tokens = 0;                   // pages that may be wasted now
  double threshold = 0;                       // of the probability, for a large request
  double ece = 0, brier = 0, brier_base = 0;  // of the stated probabilities of issued pages (Calibration)
  std::array<CalibrationBin, Calibration::kBins> reliability{};
  WarmingStatistics warming;
  PaybackStatistics payback;                // see ask_cache()
  uint64_t fetch_latency_ns = 0;            // smoothed
  uint32_t recordings = 0, recognised = 0;  // boots and jobs known, and of those that are seen at present
  uint64_t memory_bytes = 0;                // of which it may take at most
  uint32_t experts = 0;
  std::array<ExpertStatistics, kExpertsMax> expert{};
  // used / (used + wasted), 0 when nothing is known.
  double precision() const;
  double shadow_precision() const;
  // Fills in what only the cache that it is fetched into knows: whether it pays; and of all pages together how many
  // were used, left unused or wait, to the page. (By expert, pages older than the ledger's last records count as
  // wasted, though many wait then, and some are used.)
  void ask_cache(const PageCache& cache);
};

// What was decided of one run of proposed pages, kept for those who ask why.
struct PrefetchDecision {
  enum class Verdict : uint8_t {
    kFetched,
    kShadow,
    kImprobable,
    kOverBudget,
    kTooManyInFlight,
    kCrowded,
    kWarmed,
    kNoBetter,
    kDoesNotPay
  };
  uint64_t time_ns = 0;       // of the request that led to it
  uint64_t trigger_page = 0;  // the first page of that request
  uint64_t first_page = 0;
  uint32_t pages = 0;     // of the run that lack
  uint32_t fetched = 0;   // of those, into the cache
  uint32_t warmed = 0;    // and into the server's memory
  float probability = 0;  // of the first page that was refused, or of the last one
  float threshold = 0;    // asked of it
  uint32_t sources = 0;   // expert * 2 + rank, a bit each
  Verdict verdict = Verdict::kImprobable;
};
std::string_view verdict_name(PrefetchDecision::Verdict verdict);

std::string_view prefetch_mode_name(PrefetchMode mode);  // "off", "shadow", "on"

class Prefetcher {
 public:
  // `cached` tells, without side effect, whether a page is in the cache; `expect`, where given, is told of pages that
  // it will be asked about in a moment, so that the memory can be on its way; `pays`, where given, whether what is
  // fetched ahead spares reads (PageCache::prefetching_pays).
  Prefetcher(const PrefetcherOptions& options, std::function<bool(uint64_t page)> cached,
             std::function<void(uint64_t page)> expect = {}, std::function<bool()> pays = {});

  // After the request was looked up. Appends what to fetch now; in mode on those pages are in flight from here on.
  // Plain hits end here, in the header.
  void on_access(const Observation& observation, std::vector<PageRange>& to_fetch) {
    if (mode_ == PrefetchMode::kOff) return;
    if (!observation.write) {
      ++read_requests_;
      unearned_pages_ += observation.pages;
      if (observation.missed_pages == 0 && !observation.hit_prefetched && !options_.watch_hits) return;
    }
    observe(observation, to_fetch);
  }
  // latency_ns: since it was returned by on_access; 0: not known.
  void on_fetched(PageRange range, uint64_t latency_ns);
  // Any read of stored data from a server has ended, on demand or ahead of it.
  void on_read(const ServerRead& read, uint64_t now_ns) {
    crowding_.add(read, now_ns);
    warming_.on_read(read.latency_ns, read.disk_ns);
  }
  // What was to go into the server's memory has arrived there, or has not.
  void on_warmed(PageRange range) { warming_.arrived(range.pages); }
  void on_dropped(PageRange range);
  // To ask for them again at once, for whichever memory, would be for nothing: for a while they are not fetched.
  void on_failed(PageRange range, uint64_t now_ns);
  void on_first_use(uint64_t page);
  void on_wasted(uint64_t page, bool evicted);
  // The client says that it will read this: fetched without regard to precision or budget, up to the pages in flight.
  void hint(PageRange range, std::vector<PageRange>& to_fetch);

  // What has been learned so far; and to begin with what another one has learned of the same content, before the first
  // access.
  LearnedState learned() const;
  // All but its log, which is for teach(): all at once, it would take up to 60 ms.
  void restore(const LearnedState& learned);
  void teach(std::span<const LoggedRequest> log);  // the oldest first; some 2 us each

  void set_mode(PrefetchMode mode) { mode_ = options_.cache_pages == 0 ? PrefetchMode::kOff : mode; }
  // One more expert behind those of the options: a trained one. Its number.
  uint8_t add_expert(std::unique_ptr<Predictor> expert) {
    experts_.add(std::move(expert));
    return static_cast<uint8_t>(experts_.size() - 1);
  }
  // What an expert that takes its time proposes after a request that on_access has seen: weighed and decided like what
  // others propose at once, by what is known now.
  void on_candidates(const Observation& observation, uint8_t expert, std::span<const Candidate> candidates,
                     std::vector<PageRange>& to_fetch);
  void set_volume_pages(uint64_t pages) { options_.volume_pages = pages; }
  PrefetchMode mode() const { return mode_; }
  PrefetchStatistics statistics() const;
  uint64_t observed() const { return observed_; }  // reads that the experts were shown
  static constexpr size_t kDecisionsMax = 128;
  // The last decisions, the newest first.
  std::vector<PrefetchDecision> decisions() const;
  // The names of the experts behind a decision's sources, joined by '+'.
  std::string source_names(uint32_t sources) const;
  uint64_t memory_bytes_max() const;

 private:
  // What came of what was issued: whether what was stated came true, and what is asked of a probability for that.
  struct Experience {
    Recalibration recalibration;
    Threshold threshold;
  };

  void observe(const Observation& observation, std::vector<PageRange>& to_fetch);
  std::string expert_names() const;
  void consider(const Observation& observation, std::vector<PageRange>& to_fetch);
  void describe(const Observation& observation, const Proposal& proposal, const PageHistory::Region* region,
                FilterExample& example) const;
  void sift();
  void weigh(const Observation& observation, size_t proposal);
  double threshold_of(size_t proposal) const;
  void decide(const Observation& observation, std::vector<PageRange>& to_fetch);
  void decide_run(const Observation& observation, size_t run, std::vector<PageRange>& to_fetch);
  void record(size_t proposal, bool shadow, uint8_t tag, float probability);
  void refuse_as_no_better(size_t proposal, uint8_t tag, float probability);
  Experience& experience_of(uint8_t tag);  // with pages that are issued with the tag
  bool warm(size_t proposal, bool begun);
  void issue_page(uint64_t page, Destination destination, std::vector<PageRange>& to_fetch, size_t first_range,
                  bool hinted = false);
  void learn();
  PageState state_of(uint64_t page) const;
  uint64_t horizon() const;

  // A proposal with what the filter says of it.
  struct Weighed {
    FilterExample example;
    float probability = 0;
    bool known = false;  // it says something yet
    bool read_before = false;
    bool issued = false;
    uint8_t refused_tag = 0;  // as which it is followed where it was refused as no better
    float refused_probability = 0;
  };

  PrefetcherOptions options_;
  PrefetchMode mode_;
  std::function<bool(uint64_t)> cached_;
  std::function<void(uint64_t)> expect_;
  std::function<bool()> pays_;
  PredictorSet experts_;
  PageHistory history_;
  Sieve sieve_;
  OnlineFilter filter_;
  PrefetchLedger ledger_;
  Calibration calibration_;
  Experience judged_, chosen_;  // with what the filter had judged, and with what experts had chosen themselves
  WasteBudget budget_;
  Crowding crowding_;
  Warming warming_;
  Displacement displacement_;
  uint8_t hint_expert_;
  std::vector<FilterExample> examples_;  // by the ledger's records
  Postponed postponed_;
  FailedFetches failed_;
  std::vector<Candidate> candidates_;
  Proposals proposals_;
  std::vector<Weighed> weighed_;  // by proposal
  std::array<PrefetchDecision, kDecisionsMax> decisions_{};
  uint64_t decided_ = 0;
  uint64_t read_requests_ = 0, missed_requests_ = 0, read_pages_ = 0, missed_pages_ = 0;
  uint64_t unearned_pages_ = 0;  // read, and not yet counted into the budget
  uint64_t filled_pages_ = 0;    // gone into the cache, by demand or ahead of it
  uint64_t last_end_ = 0;        // of the request before
  uint64_t fetch_latency_ns_ = 0;
  uint64_t now_ns_ = 0;                             // of the last request
  std::array<uint64_t, kExpertsMax> last_issue_{};  // of each expert: read request that led to it
  uint64_t unlikely_ = 0;                           // proposals hardly worth following
  uint64_t observed_ = 0, issued_at_ = 0;  // reads shown to the experts; the one at which something was issued last
  double recent_pages_ = 0;                // of a request, smoothed
  bool stopped_ = false;
  bool crowded_ = false;
  bool paying_ = true;
  uint64_t crowded_requests_ = 0;
  bool late_ = false;  // what is considered at present are late candidates
  uint64_t stops_ = 0, starts_ = 0;
  uint64_t refused_budget_ = 0, refused_in_flight_ = 0;
};

}  // namespace foreshard::policy
