#include "policy/replay/prefetch_names.h"

#include <algorithm>

#include "policy/predict/plain_readahead.h"
#include "policy/replay/baseline_assoc.h"
#include "policy/replay/baseline_stride.h"
#include "policy/replay/plain_prefetch.h"

namespace foreshard::policy {
namespace {

// Beside others, which look ahead themselves, readahead looks less far.
constexpr uint32_t kWindowPagesAlone = 32;
constexpr uint32_t kWindowPagesBeside = 8;

struct Baseline {
  std::string_view name;
  uint32_t readahead_pages;  // 0: without
  bool stride;
  bool assoc;
};
constexpr Baseline kBaselines[] = {{"readahead", kWindowPagesAlone, false, false},
                                   {"baseline-stride", kWindowPagesBeside, true, false},
                                   {"baseline-assoc", 0, false, true},
                                   {"baseline", kWindowPagesBeside, true, true}};

const Baseline* baseline_of(const std::string& name) {
  for (const Baseline& baseline : kBaselines) {
    if (baseline.name == name) return &baseline;
  }
  return nullptr;
}

std::unique_ptr<ReplayPrefetch> make_baseline(const Baseline& baseline, const ReplayPrefetch::View& view) {
  std::vector<std::unique_ptr<Predictor>> predictors;
  if (baseline.readahead_pages > 0) predictors.push_back(std::make_unique<PlainReadahead>(baseline.readahead_pages));
  if (baseline.stride) predictors.push_back(std::make_unique<BaselineStride>());
  if (baseline.assoc) predictors.push_back(std::make_unique<BaselineAssoc>());
  return std::make_unique<PlainPrefetch>(view, std::move(predictors));
}

}  // namespace

std::vector<std::string> replay_prefetch_names() {
  std::vector<std::string> names = {"none"};
  for (const Baseline& baseline : kBaselines) names.emplace_back(baseline.name);
  for (std::string& name : expert_names()) names.push_back(std::move(name));
  names.emplace_back("all");
  return names;
}

std::vector<std::string> replay_prefetch_table() {
  std::vector<std::string> names = {"none", "readahead"};
  for (std::string& name : expert_names()) names.push_back(std::move(name));
  names.emplace_back("all");
  return names;
}

Result<void> check_replay_prefetch(const std::string& name) {
  const std::vector<std::string> names = replay_prefetch_names();
  if (std::find(names.begin(), names.end(), name) != names.end()) return {};
  std::string text = "there is no way of prefetching named '" + name + "'; there are";
  for (const std::string& one : names) text += (&one == &names.front() ? " " : ", ") + one;
  return fail(ErrorCode::kInvalid, "--prefetch", std::move(text));
}

std::unique_ptr<ReplayPrefetch> make_replay_prefetch(const std::string& name, PrefetchChoice choice,
                                                     const ReplayPrefetch::View& view) {
  if (name == "none") return nullptr;
  if (const Baseline* baseline = baseline_of(name)) return make_baseline(*baseline, view);
  choice.experts.clear();
  if (name != "all") choice.experts = {name};
  return make_prefetch_adapter(choice, view);
}

}  // namespace foreshard::policy
