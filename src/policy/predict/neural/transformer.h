// Transformer: a few blocks of causal attention over the last `context` tokens of a stream, layer norm before each
// part, with a learned bias for each distance in place of positions, so that keys and values stay valid in a ring
// while the window moves on: a step costs one token, not a window. State: the output, then keys and values of each
// layer, a ring of `context`.
#pragma once

#include "policy/predict/neural/sequence_model.h"

namespace foreshard::policy {

class Transformer final : public SequenceModel {
 public:
  explicit Transformer(const Model& model);
  size_t state_floats() const override { return padded(width_) + blocks_.size() * 2 * context_ * width_; }
  void step(const Token& token, SequenceState& state) override;
  uint64_t memory_bytes() const override;

 private:
  struct Block {
    std::vector<float> gain, bias;              // of the norm before attention
    PackedMatrix query_key_value, out;
    std::vector<float> distance;                // [head][how far back]
    std::vector<float> inner_gain, inner_bias;  // of the norm before the inner layer
    PackedMatrix inner, outer;
  };
  void attend(const Block& block, const float* query, float* keys, float* values, uint32_t at, uint32_t known);

  size_t width_, context_, attention_heads_;
  std::vector<float> table_;
  std::vector<Block> blocks_;
  std::vector<float> gain_, bias_;  // of the last norm
  std::vector<float> x_, normed_, wide_, mixed_, scores_;  // scratch
};

}  // namespace foreshard::policy
