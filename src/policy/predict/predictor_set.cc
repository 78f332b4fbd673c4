#include "policy/predict/predictor_set.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/assert.h"
#include "policy/predict/association.h"
#include "policy/predict/delta.h"
#include "policy/predict/footprint.h"
#include "policy/predict/log_replay.h"
#include "policy/predict/near.h"
#include "policy/predict/stride.h"
#include "policy/prefetch/ledger.h"

namespace foreshard::policy {
namespace {

// One stream looks ahead by at most this part of the cache.
constexpr uint64_t kCacheShare = 16;
constexpr std::array<std::string_view, 8> kNames = {"log",       "sequential",  "stride",      "near",
                                                    "footprint", "association", "fingerprint", "delta"};

// The streams of the set, shown as an expert among the others.
class StreamView : public Predictor {
 public:
  explicit StreamView(SequentialPredictor& streams) : streams_(streams) {}
  std::string_view name() const override { return streams_.name(); }
  void observe(const Observation& observation, std::vector<Candidate>& candidates) override {
    streams_.observe(observation, candidates);
  }
  uint64_t memory_bytes_max() const override { return 0; }

 private:
  SequentialPredictor& streams_;
};

}  // namespace

std::span<const std::string_view> PredictorSet::names() { return kNames; }

PredictorSet::PredictorSet(uint64_t cache_pages, const std::vector<std::string>& names, const PageHistory& history,
                           std::function<bool(uint64_t)> there, uint32_t stream_window_pages)
    : sequential_(static_cast<uint32_t>(
                      std::clamp<uint64_t>(cache_pages / kCacheShare, 1, SequentialPredictor::kAheadPagesMax)),
                  stream_window_pages) {
  for (const std::string& name : names)
    ASSERT(std::find(kNames.begin(), kNames.end(), name) != kNames.end(), name.size());
  for (const std::string_view name : kNames) {
    if (!names.empty() && std::find(names.begin(), names.end(), name) == names.end()) continue;
    const uint32_t sources = 3u << (experts_.size() * 2);
    if (name == "log") {
      past_sources_ |= sources;
      auto log = std::make_unique<LogReplayPredictor>();
      log_ = log.get();
      add(std::move(log));
    } else if (name == "sequential") {
      stream_sources_ = sources;
      proposes_streams_ = true;
      add(std::make_unique<StreamView>(sequential_));
    } else if (name == "stride") {
      add(std::make_unique<StridePredictor>());
    } else if (name == "near") {
      add(std::make_unique<NearPredictor>(history, std::move(there)));
    } else if (name == "footprint") {
      add(std::make_unique<FootprintPredictor>(history));
    } else if (name == "delta") {
      add(std::make_unique<DeltaPredictor>());
    } else if (name == "fingerprint") {
      past_sources_ |= sources;
      auto fingerprint = std::make_unique<FingerprintPredictor>();
      fingerprint_ = fingerprint.get();
      add(std::move(fingerprint));
    } else {
      add(std::make_unique<AssociationPredictor>());
    }
  }
}

void PredictorSet::add(std::unique_ptr<Predictor> expert) {
  ASSERT(experts_.size() < kExpertsOfASetMax, experts_.size());
  experts_.push_back(std::move(expert));
}

void PredictorSet::observe(const Observation& observation, std::vector<Candidate>& candidates) {
  const size_t before = candidates.size();
  if (!proposes_streams_) {
    sequential_.observe(observation, candidates);
    candidates.resize(before);
  }
  for (size_t expert = 0; expert < experts_.size(); ++expert) {
    const size_t first = candidates.size();
    experts_[expert]->observe(observation, candidates);
    for (size_t i = first; i < candidates.size(); ++i) candidates[i].expert = static_cast<uint8_t>(expert);
  }
  if (candidates.size() > before + kCandidatesMax) candidates.resize(before + kCandidatesMax);
}

void PredictorSet::expect(const Observation& observation) const {
  for (const auto& expert : experts_) expert->expect(observation);
}

void PredictorSet::expect_more(const Observation& observation) const {
  for (const auto& expert : experts_) expert->expect_more(observation);
}

void PredictorSet::teach(const Observation& observation) {
  for (const auto& expert : experts_) expert->teach(observation);
}

uint64_t PredictorSet::memory_bytes_max() const {
  uint64_t bytes = sequential_.memory_bytes_max();
  for (const auto& expert : experts_) bytes += expert->memory_bytes_max();
  return bytes;
}

}  // namespace foreshard::policy
