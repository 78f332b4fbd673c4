// Prefetcher: the one object that a driver holds to read ahead. It watches requests, asks the experts, and says what
// to fetch: pages that are neither cached nor on their way, of experts whose precision pays, within the budget of
// waste, in ranges of whole runs that cross no chunk. It fetches nothing itself, and every answer is correct without
// it (predictions are hints).
//
// Owner: the driver; one executor; one volume. Pure: no I/O, no clock. How the driver uses it:
//   read:  look up every page (cache.find; on_first_use for first uses), then on_access once; fetch what it returns
//   when a fetch is in the cache: on_fetched; if it failed or a write overtook it: on_dropped
//   PageCache::set_on_wasted -> on_evicted_unused;  NBD CACHE -> hint
//   write: on_access with write = true
// Modes: off costs a branch; shadow decides and keeps score and fetches nothing; on. Memory: memory_bytes_max().
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "policy/predict/predictor.h"
#include "policy/predict/predictor_set.h"
#include "policy/prefetch/budget.h"
#include "policy/prefetch/ledger.h"

namespace foreshard::policy {

enum class PrefetchMode : uint8_t { kOff, kShadow, kOn };

struct PageRange {
  uint64_t first_page = 0;
  uint32_t pages = 0;
  bool operator==(const PageRange&) const = default;
};

struct PrefetcherOptions {
  PrefetchMode mode = PrefetchMode::kOn;
  uint64_t volume_pages = UINT64_MAX;   // nothing beyond is proposed
  uint64_t cache_pages = 65536;         // of the cache that it fills; 0: prefetching is off
  uint32_t in_flight_pages_max = 4096;  // fetches not yet answered
  double waste_share_max = 0.5;         // wasted pages as a share of the pages that the client read
  double precision_min = 0.25;          // what pays, least
};

struct ExpertStatistics {
  std::string_view name;
  PrefetchCounts counts;
  bool active = false;  // it may issue, at some level of confidence
};

// For people and for the CLI. Counts are pages.
struct PrefetchStatistics {
  PrefetchMode mode = PrefetchMode::kOff;
  uint64_t read_requests = 0, read_pages = 0, missed_pages = 0;
  PrefetchCounts total;
  uint64_t refused_budget = 0;     // pages that the budget of waste held back
  uint64_t refused_in_flight = 0;  // pages that would have exceeded the fetches in flight
  uint64_t stops = 0, starts = 0;  // of an expert at a level of confidence, for want of precision
  double budget_tokens = 0;        // pages that may be wasted now
  uint32_t experts = 0;
  std::array<ExpertStatistics, kExpertsMax> expert{};
  // used / (used + wasted), 0 when nothing is known.
  double precision() const;
  double shadow_precision() const;
};

std::string_view prefetch_mode_name(PrefetchMode mode);  // "off", "shadow", "on"

class Prefetcher {
 public:
  // `cached` tells, without side effect, whether a page is in the cache.
  Prefetcher(const PrefetcherOptions& options, std::function<bool(uint64_t page)> cached);

  // After the request was looked up. Appends what to fetch now; in mode on those pages are in flight from here on.
  // Plain hits end here, in the header.
  void on_access(const Observation& observation, std::vector<PageRange>& to_fetch) {
    if (mode_ == PrefetchMode::kOff) return;
    if (!observation.write) {
      ++read_requests_;
      unearned_pages_ += observation.pages;
      if (observation.missed_pages == 0 && !observation.hit_prefetched && !experts_.awaits(observation.first_page)) {
        return;
      }
    }
    observe(observation, to_fetch);
  }
  void on_fetched(PageRange range);
  void on_dropped(PageRange range);
  void on_first_use(uint64_t page);
  void on_evicted_unused(uint64_t page);
  // The client says that it will read this: fetched without regard to precision or budget, up to the pages in flight.
  void hint(PageRange range, std::vector<PageRange>& to_fetch);

  void set_mode(PrefetchMode mode) { mode_ = options_.cache_pages == 0 ? PrefetchMode::kOff : mode; }
  void set_volume_pages(uint64_t pages) { options_.volume_pages = pages; }
  PrefetchMode mode() const { return mode_; }
  PrefetchStatistics statistics() const;
  uint64_t memory_bytes_max() const { return ledger_.memory_bytes_max() + experts_.memory_bytes_max(); }

 private:
  void observe(const Observation& observation, std::vector<PageRange>& to_fetch);
  void consider(const Candidate& candidate, std::vector<PageRange>& to_fetch);
  void issue_page(uint64_t page, std::vector<PageRange>& to_fetch, size_t first_range);
  void learn();
  uint64_t horizon() const;

  PrefetcherOptions options_;
  PrefetchMode mode_;
  std::function<bool(uint64_t)> cached_;
  PredictorSet experts_;
  PrefetchLedger ledger_;
  PrecisionGates gates_;
  WasteBudget budget_;
  uint8_t hint_expert_;
  std::vector<Candidate> candidates_;
  uint64_t read_requests_ = 0, read_pages_ = 0, missed_pages_ = 0;
  uint64_t unearned_pages_ = 0;  // read, and not yet counted into the budget
  uint64_t filled_pages_ = 0;    // gone into the cache, by demand or ahead of it
  std::array<uint64_t, kExpertsMax> hopeless_{};  // candidates of no promise, by expert
  uint64_t refused_budget_ = 0, refused_in_flight_ = 0;
};

}  // namespace foreshard::policy
