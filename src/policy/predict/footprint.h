// FootprintPredictor: proposes, when a region of 16 pages is visited again, what was read in it the last time. It
// guesses often; which guesses are good is the filter's to learn.
//
// Owner: a PredictorSet. Memory: none of its own.
#pragma once

#include "policy/predict/page_history.h"
#include "policy/predict/predictor.h"

namespace foreshard::policy {

class FootprintPredictor : public Predictor {
 public:
  // The history is its owner's, who keeps it up to date after each observation.
  explicit FootprintPredictor(const PageHistory& history) : history_(history) {}
  std::string_view name() const override { return "footprint"; }
  void observe(const Observation& observation, std::vector<Candidate>& candidates) override;
  uint64_t memory_bytes_max() const override { return sizeof(*this); }

 private:
  const PageHistory& history_;
};

}  // namespace foreshard::policy
