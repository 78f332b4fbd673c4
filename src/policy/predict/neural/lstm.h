// Lstm: one recurrent layer over tokens. State: h and c, rounded up to whole vectors.
#pragma once

#include "policy/predict/neural/sequence_model.h"

namespace foreshard::policy {

class Lstm final : public SequenceModel {
 public:
  explicit Lstm(const Model& model);
  size_t state_floats() const override { return 2 * size_; }
  void step(const Token& token, SequenceState& state) override;
  uint64_t memory_bytes() const override;

 private:
  size_t width_;
  size_t size_;                // of h, rounded up
  std::vector<float> table_;
  PackedMatrix gates_;         // over the token's sum and h, side by side
  std::vector<float> input_;   // scratch
  std::vector<float> active_;  // scratch: the gates
};

}  // namespace foreshard::policy
