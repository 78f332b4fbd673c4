#include "cli/replay_runs.h"

#include "runtime/clocks.h"

namespace foreshard::cli {

ReplayRuns::ReplayRuns(const policy::ReplayOptions& options, policy::PrefetchChoice choice)
    : options_(options), choice_(std::move(choice)) {
  choice_.cache_pages = options.cache_pages;
}

void ReplayRuns::add(const std::string& prefetch, policy::Replacement replacement) {
  policy::ReplayOptions options = options_;
  options.replacement = replacement;
  Run run{prefetch, replacement, std::make_unique<policy::Replay>(options, runtime::monotonic_ns)};
  run.replay->set_prefetch(policy::make_replay_prefetch(prefetch, choice_, run.replay->view()));
  runs_.push_back(std::move(run));
}

void ReplayRuns::take(const policy::TraceRequest& request) {
  for (Run& run : runs_) run.replay->take(request);
}

std::vector<ReplayRow> ReplayRuns::rows() const {
  const std::string budget(policy::prefetch_budget_name(choice_.budget));
  std::vector<ReplayRow> rows;
  for (const Run& run : runs_) {
    const char* replacement = run.replacement == policy::Replacement::kLru ? "lru" : "default";
    rows.push_back({run.prefetch, replacement, budget, run.replay->result()});
  }
  return rows;
}

}  // namespace foreshard::cli
