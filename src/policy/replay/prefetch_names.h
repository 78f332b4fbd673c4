// The ways of prefetching that a replay can be asked for, by name: none; the plain baselines; the driver's Prefetcher
// with all of its experts, or with one alone.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "policy/replay/prefetch_adapter.h"

namespace foreshard::policy {

// none, readahead, all, and every expert; the baselines are understood too.
std::vector<std::string> replay_prefetch_names();
// What is compared when nothing is named: no prefetching, readahead, each expert alone, all.
std::vector<std::string> replay_prefetch_table();
// kInvalid, listing what there is.
Result<void> check_replay_prefetch(const std::string& name);
// Null for none. The name has been checked; the choice of experts is the name's.
std::unique_ptr<ReplayPrefetch> make_replay_prefetch(const std::string& name, PrefetchChoice choice,
                                                     const ReplayPrefetch::View& view);

}  // namespace foreshard::policy
