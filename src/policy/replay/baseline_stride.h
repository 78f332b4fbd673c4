// BaselineStride: the stride prefetcher of the baselines: three equal distances in a row between requests that begin in
// the same region of 4 MiB make a stream, and each request of it has the next kStepsAhead steps fetched. Never
// filtered.
//
// Owner: a replay. Memory: kRegions regions, fixed; of two that fall on the same place the last is kept.
#pragma once

#include <vector>

#include "policy/predict/predictor.h"

namespace foreshard::policy {

class BaselineStride final : public Predictor {
 public:
  static constexpr uint32_t kRegions = 1u << 14;
  static constexpr uint32_t kRegionPages = 1024;
  static constexpr uint32_t kStepsAhead = 4;
  static constexpr uint32_t kEqualMin = 3;
  static constexpr uint32_t kPagesMax = 64;  // of a step
  BaselineStride() : regions_(kRegions) {}
  std::string_view name() const override { return "baseline-stride"; }
  // To be shown every read, plain hits too.
  void observe(const Observation& observation, std::vector<Candidate>& candidates) override;
  uint64_t memory_bytes_max() const override { return sizeof(*this) + regions_.size() * sizeof(Region); }

 private:
  struct Region {
    uint64_t number = UINT64_MAX;
    uint64_t last = 0;   // first page of the last request
    int64_t stride = 0;  // the distance before it
    uint32_t equal = 0;  // such distances in a row
  };
  std::vector<Region> regions_;
};

}  // namespace foreshard::policy
