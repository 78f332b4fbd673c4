// PredictorSet: the experts of one volume as one: shows them every observation and gathers what they propose.
// Owner: the Prefetcher. Memory: that of its experts.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "policy/predict/fingerprint.h"
#include "policy/predict/log_replay.h"
#include "policy/predict/page_history.h"
#include "policy/predict/predictor.h"
#include "policy/predict/sequential.h"

namespace foreshard::policy {

class PredictorSet {
 public:
  static constexpr size_t kCandidatesMax = 128;  // of one observation

  // The names of the experts that there are.
  static std::span<const std::string_view> names();
  // For a cache of so many pages: the named experts, or all. A name that is none of names() is our own bug. `there`:
  // whether a page needs no fetch.
  PredictorSet(uint64_t cache_pages, const std::vector<std::string>& names, const PageHistory& history,
               std::function<bool(uint64_t page)> there,
               uint32_t stream_window_pages = SequentialPredictor::kWindowPagesMax);
  // Adds an expert behind the others; kExpertsOfASetMax in all, since the filter has so many tables for them.
  static constexpr size_t kExpertsOfASetMax = 9;
  void add(std::unique_ptr<Predictor> expert);

  void observe(const Observation& observation, std::vector<Candidate>& candidates);
  // The observation comes soon (Predictor::expect).
  void expect(const Observation& observation) const;
  void expect_more(const Observation& observation) const;
  // A request of the past (Predictor::teach).
  void teach(const Observation& observation);
  // Which kind of knowledge stands behind the sources (expert * 2 + rank, a bit each): 1 the past (log and
  // recordings), whoever else; 2 a stream; 0 something else.
  uint32_t kind_of(uint32_t sources) const {
    return (sources & past_sources_) != 0 ? 1 : (sources & stream_sources_) != 0 ? 2 : 0;
  }
  const SequentialPredictor& stream() const { return sequential_; }
  // Null where the set has none.
  const LogReplayPredictor* log() const { return log_; }
  FingerprintPredictor* fingerprint() const { return fingerprint_; }
  uint32_t size() const { return static_cast<uint32_t>(experts_.size()); }
  std::string_view name(uint32_t expert) const { return experts_[expert]->name(); }
  uint64_t memory_bytes_max() const;

 private:
  SequentialPredictor sequential_;  // always watches: its streams are features of every proposal
  bool proposes_streams_ = false;
  std::vector<std::unique_ptr<Predictor>> experts_;
  LogReplayPredictor* log_ = nullptr;
  FingerprintPredictor* fingerprint_ = nullptr;
  uint32_t past_sources_ = 0, stream_sources_ = 0;
};

}  // namespace foreshard::policy
