// PlainPrefetch: predictors whose every proposal is fetched: no filter, no budget, no gates. The measure for what
// chooses. Keeps count of how their stated confidence agrees with what was used.
//
// Owner: a replay. Memory: that of its predictors, and an entry for each prefetched page whose use is not known yet.
#pragma once

#include <memory>
#include <unordered_map>

#include "policy/replay/replay_prefetch.h"

namespace foreshard::policy {

class PlainPrefetch final : public ReplayPrefetch {
 public:
  PlainPrefetch(View view, std::vector<std::unique_ptr<Predictor>> predictors);
  void on_access(const Observation& observation, std::vector<PageRange>& to_fetch) override;
  void on_fetched(PageRange range, uint64_t latency_ns) override {}
  void on_dropped(PageRange range) override;
  void on_first_use(uint64_t page) override { settle(page, true); }
  void on_wasted(uint64_t page, bool evicted) override { settle(page, false); }
  PrefetchFacts facts() const override;

 private:
  void propose(const Candidate& candidate, std::vector<PageRange>& to_fetch);
  void settle(uint64_t page, bool used);
  const View view_;
  std::vector<std::unique_ptr<Predictor>> predictors_;
  std::vector<Candidate> candidates_;
  std::unordered_map<uint64_t, float> open_;  // confidence by page; only looked up
  Calibration calibration_;
};

}  // namespace foreshard::policy
