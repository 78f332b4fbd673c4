// ReplayRuns: several ways of prefetching beside each other on one reading of the requests. Behind `replay` and
// `predict backtest`.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/replay_report.h"
#include "policy/replay/prefetch_names.h"
#include "policy/replay/replay.h"

namespace foreshard::cli {

class ReplayRuns {
 public:
  // The cache's size of the choice is that of the options.
  ReplayRuns(const policy::ReplayOptions& options, policy::PrefetchChoice choice);
  // A name that has been checked.
  void add(const std::string& prefetch, policy::Replacement replacement);
  void take(const policy::TraceRequest& request);
  // In the order in which they were added.
  std::vector<ReplayRow> rows() const;

 private:
  struct Run {
    std::string prefetch;
    policy::Replacement replacement;
    std::unique_ptr<policy::Replay> replay;
  };
  policy::ReplayOptions options_;
  policy::PrefetchChoice choice_;
  std::vector<Run> runs_;
};

}  // namespace foreshard::cli
