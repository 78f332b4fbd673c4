#include "policy/predict/predictor_set.h"

#include <algorithm>

#include "base/assert.h"
#include "policy/predict/stride.h"
#include "policy/prefetch/ledger.h"

namespace foreshard::policy {
namespace {

// The window of one stream takes at most this part of the cache.
constexpr uint64_t kCacheShare = 16;

}  // namespace

PredictorSet::PredictorSet(uint64_t cache_pages) {
  const uint64_t window_pages_max = std::max<uint64_t>(cache_pages / kCacheShare, 1);
  auto sequential = std::make_unique<SequentialPredictor>(
      static_cast<uint32_t>(std::min<uint64_t>(window_pages_max, SequentialPredictor::kWindowPagesEver)));
  sequential_ = sequential.get();
  experts_.push_back(std::move(sequential));
  experts_.push_back(std::make_unique<StridePredictor>());
}

void PredictorSet::add(std::unique_ptr<Predictor> expert) {
  ASSERT(experts_.size() + 1 < kExpertsMax, experts_.size());
  experts_.push_back(std::move(expert));
}

void PredictorSet::observe(const Observation& observation, std::vector<Candidate>& candidates) {
  const size_t before = candidates.size();
  for (size_t expert = 0; expert < experts_.size(); ++expert) {
    const size_t first = candidates.size();
    experts_[expert]->observe(observation, candidates);
    for (size_t i = first; i < candidates.size(); ++i) candidates[i].expert = static_cast<uint8_t>(expert);
  }
  // By insertion: they are few, equals keep their order, and nothing is allocated.
  for (size_t i = before + 1; i < candidates.size(); ++i) {
    const Candidate candidate = candidates[i];
    size_t place = i;
    for (; place > before && candidates[place - 1].confidence < candidate.confidence; --place) {
      candidates[place] = candidates[place - 1];
    }
    candidates[place] = candidate;
  }
  if (candidates.size() > before + kCandidatesMax) candidates.resize(before + kCandidatesMax);
}

uint64_t PredictorSet::memory_bytes_max() const {
  uint64_t bytes = 0;
  for (const auto& expert : experts_) bytes += expert->memory_bytes_max();
  return bytes;
}

}  // namespace foreshard::policy
