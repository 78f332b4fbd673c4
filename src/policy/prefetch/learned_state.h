// LearnedState: what a prefetcher has learned, apart from the pages it holds: for the next driver of the volume, or of
// another volume made of the same image. Plain data, taken and given by Prefetcher::learned and Prefetcher::restore,
// which believe nothing of it: whatever it says, predictions stay hints.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "policy/predict/fingerprint.h"
#include "policy/predict/log_replay.h"
#include "policy/prefetch/calibration.h"
#include "policy/prefetch/filter.h"

namespace foreshard::policy {

struct LearnedState {
  static constexpr size_t kLoggedMax = 32'768;  // requests of the log

  std::string experts;  // names in the order of the filter's tables; the filter of others is not taken
  uint64_t filter_examples = 0;
  std::vector<FilterWeight> filter;
  Recalibration::Learned recalibration;
  std::string budget;  // whose threshold it is; under another one it is not taken
  double threshold = 0, precision = 0;
  uint64_t outcomes = 0;           // that threshold and precision come from
  std::vector<LoggedRequest> log;  // the oldest first
  std::vector<Recording> recordings;
};

}  // namespace foreshard::policy
