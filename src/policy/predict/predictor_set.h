// PredictorSet: the experts of one volume as one: shows them every observation and gathers what they propose, the
// surest first. Owner: the Prefetcher. Memory: that of its experts.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "policy/predict/predictor.h"
#include "policy/predict/sequential.h"

namespace foreshard::policy {

class PredictorSet {
 public:
  static constexpr size_t kCandidatesMax = 64;  // of one observation

  // Sequential streams and strides, for a cache of so many pages.
  explicit PredictorSet(uint64_t cache_pages);
  // Adds an expert behind the others; at most kExpertsMax - 1 in all, one index being the client's hints.
  void add(std::unique_ptr<Predictor> expert);

  void observe(const Observation& observation, std::vector<Candidate>& candidates);
  // Whether a plain hit on this page should be observed all the same: a stream expects it.
  bool awaits(uint64_t page) const { return sequential_->awaits(page); }
  uint32_t size() const { return static_cast<uint32_t>(experts_.size()); }
  std::string_view name(uint32_t expert) const { return experts_[expert]->name(); }
  uint64_t memory_bytes_max() const;

 private:
  std::vector<std::unique_ptr<Predictor>> experts_;
  SequentialPredictor* sequential_;  // one of them
};

}  // namespace foreshard::policy
