// PrefetchAdapter: the driver's Prefetcher behind the interface of a replay.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "policy/predict/neural/neural_predictor.h"
#include "policy/replay/replay_prefetch.h"

namespace foreshard::policy {

struct PrefetchChoice {
  std::vector<std::string> experts;  // empty: all
  PrefetchBudget budget = PrefetchBudget::kNormal;
  uint64_t cache_pages = 0;
  bool warms_server = false;  // the second destination: the server's RAM
  bool whole_files = false;  // the trace is of files, where plain hits tell what follows
  std::shared_ptr<RunnableModel> model;  // a trained expert more, where all take part; null: none
};

// The names of the experts that a Prefetcher has.
std::vector<std::string> expert_names();
std::unique_ptr<ReplayPrefetch> make_prefetch_adapter(const PrefetchChoice& choice, const ReplayPrefetch::View& view);

}  // namespace foreshard::policy
