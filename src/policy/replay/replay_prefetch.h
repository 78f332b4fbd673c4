// ReplayPrefetch: a way of prefetching as a replay drives it: shown every request after its lookup, told what became of
// what it asked for. The driver's calls in the driver's order (policy/prefetch/prefetcher.h).
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

#include "policy/predict/predictor.h"
#include "policy/prefetch/calibration.h"
#include "policy/prefetch/prefetcher.h"

namespace foreshard::policy {

// What it says of itself in the end.
struct PrefetchFacts {
  double ece = 0, brier = 0, brier_base = 0;
  std::array<CalibrationBin, Calibration::kBins> reliability{};
  uint64_t memory_bytes = 0;
  WarmingStatistics warming;
};

class ReplayPrefetch {
 public:
  // What it may look at, without effect.
  struct View {
    std::function<bool(uint64_t page)> cached;
    std::function<bool(uint64_t page)> in_flight;
    std::function<void(uint64_t page)> expect;  // cached() comes soon; may be missing
    std::function<bool()> pays;                 // whether prefetching pays, as the cache finds out; may be missing
  };
  virtual ~ReplayPrefetch() = default;
  virtual void on_access(const Observation& observation, std::vector<PageRange>& to_fetch) = 0;
  // latency_ns: since it was asked for.
  virtual void on_fetched(PageRange range, uint64_t latency_ns) = 0;
  virtual void on_dropped(PageRange range) = 0;
  virtual void on_first_use(uint64_t page) = 0;
  virtual void on_wasted(uint64_t page, bool evicted) = 0;
  // A read on demand took that long, and the server's disk of that so much; 0: the server had it in memory.
  virtual void on_read(uint64_t latency_ns, uint64_t disk_ns) {}
  virtual void on_warmed(PageRange range) {}
  virtual PrefetchFacts facts() const = 0;
};

}  // namespace foreshard::policy
