// The parts of `foreshard predict backtest` that know of no driver: what was recorded as requests for a replay, and the
// replay of them with the volume's own settings.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "app/control_messages.h"
#include "cli/replay_report.h"
#include "cli/replay_runs.h"

namespace foreshard::cli {

// Keeps what a driver recorded, in memory. Bounded: full, it takes no more.
class RecordedRequests {
 public:
  static constexpr size_t kRequestsMax = 2'000'000;
  explicit RecordedRequests(size_t requests_max = kRequestsMax) : requests_max_(requests_max) {}
  // False when it is full.
  bool add(const app::pb::RecordBatch& batch);
  const std::vector<policy::TraceRequest>& requests() const { return requests_; }
  uint64_t reads() const { return reads_; }
  bool full() const { return requests_.size() >= requests_max_; }

 private:
  size_t requests_max_;
  std::vector<policy::TraceRequest> requests_;
  uint64_t reads_ = 0;
};

// Whether it is worth a backtest: kNotFound when nothing was read, kUnavailable when too much is missing.
Result<void> check_recorded(const std::string& volume, const RecordedRequests& recorded, uint64_t dropped,
                            double seconds);

struct BacktestTerms {
  std::string volume;
  std::string mode;  // that the volume has now; empty: not asked
  uint64_t cache_bytes = 0;
  uint64_t fetch_ns = 0;
  bool fetch_assumed = false;  // nobody has told what a fetch takes
  policy::PrefetchBudget budget = policy::PrefetchBudget::kNormal;
};

// No prefetching, readahead, each expert alone and all together, beside each other.
ReplayRuns backtest_runs(const BacktestTerms& terms);

struct BacktestInput {
  std::string trace;                 // its file; empty: recorded from the volume
  std::optional<double> recorded_s;  // of a recording
  uint64_t dropped = 0;              // requests that are missing in it
  bool full = false;                 // it was ended by its length
};
// The rows hold at least one.
Json backtest_json(const BacktestTerms& terms, const BacktestInput& input, const ReplayReport& report);
std::string backtest_text(const BacktestTerms& terms, const BacktestInput& input, const ReplayReport& report);

}  // namespace foreshard::cli
