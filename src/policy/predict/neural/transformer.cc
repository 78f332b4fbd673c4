#include "policy/predict/neural/transformer.h"

#include <algorithm>
#include <cmath>

namespace foreshard::policy {
namespace {

std::vector<float> copy(std::span<const float> values) { return {values.begin(), values.end()}; }

PackedMatrix matrix(WeightReader& reader, size_t outputs, size_t inputs) {
  const std::span<const float> weights = reader.take(outputs * inputs);
  return PackedMatrix(weights, reader.take(outputs), outputs, inputs);
}

}  // namespace

Transformer::Transformer(const Model& model)
    : width_(model.shape.width), context_(model.shape.context), attention_heads_(model.shape.attention_heads) {
  const size_t hidden = model.shape.hidden;
  WeightReader reader(model.weights);
  table_ = copy(reader.take(size_t{model.shape.table_rows()} * width_));
  for (uint32_t layer = 0; layer < model.shape.layers; ++layer) {
    Block& block = blocks_.emplace_back();
    block.gain = copy(reader.take(width_));
    block.bias = copy(reader.take(width_));
    block.query_key_value = matrix(reader, 3 * width_, width_);
    block.out = matrix(reader, width_, width_);
    block.distance = copy(reader.take(attention_heads_ * context_));
    block.inner_gain = copy(reader.take(width_));
    block.inner_bias = copy(reader.take(width_));
    block.inner = matrix(reader, hidden, width_);
    block.outer = matrix(reader, width_, hidden);
  }
  gain_ = copy(reader.take(width_));
  bias_ = copy(reader.take(width_));
  for (uint32_t head = 0; head < kHeads; ++head) {
    heads_[head] = matrix(reader, model.shape.head_values(static_cast<Head>(head)), width_);
  }
  x_.resize(width_);
  normed_.resize(width_);
  wide_.resize(std::max(blocks_[0].query_key_value.outputs_padded(), blocks_[0].inner.outputs_padded()));
  mixed_.resize(blocks_[0].out.outputs_padded());
  scores_.resize(context_);
}

// Leaves in mixed_ what the heads of attention gathered. `known` entries of the ring end at `at`.
void Transformer::attend(const Block& block, const float* query, float* keys, float* values, uint32_t at,
                         uint32_t known) {
  const size_t size = width_ / attention_heads_;
  const float scale = 1 / std::sqrt(static_cast<float>(size));
  std::fill(mixed_.begin(), mixed_.end(), 0.0f);
  for (size_t head = 0; head < attention_heads_; ++head) {
    const size_t from = head * size;
    for (uint32_t back = 0; back < known; ++back) {
      const size_t slot = (at + context_ - back) % context_;
      scores_[back] =
          dot(query + from, keys + slot * width_ + from, size) * scale + block.distance[head * context_ + back];
    }
    softmax(scores_.data(), known);
    for (uint32_t back = 0; back < known; ++back) {
      const size_t slot = (at + context_ - back) % context_;
      add_scaled(scores_[back], values + slot * width_ + from, size, mixed_.data() + from);
    }
  }
}

void Transformer::step(const Token& token, SequenceState& state) {
  const auto at = static_cast<uint32_t>(state.steps % context_);
  // Counted so that it never wraps in the wrong place.
  state.steps = state.steps + 1 >= 2 * context_ ? state.steps + 1 - context_ : state.steps + 1;
  const auto known = static_cast<uint32_t>(std::min<size_t>(state.steps, context_));
  sum_rows(table_.data(), width_, token, x_.data());
  float* ring = state.values.data() + padded(width_);
  for (const Block& block : blocks_) {
    float* const keys = ring;
    float* const values = ring + context_ * width_;
    ring = values + context_ * width_;
    layer_norm(x_.data(), block.gain.data(), block.bias.data(), width_, normed_.data());
    block.query_key_value.multiply(normed_.data(), wide_.data());
    std::copy_n(wide_.data() + width_, width_, keys + at * width_);
    std::copy_n(wide_.data() + 2 * width_, width_, values + at * width_);
    attend(block, wide_.data(), keys, values, at, known);
    std::copy_n(mixed_.data(), width_, normed_.data());
    block.out.multiply(normed_.data(), mixed_.data());
    add_scaled(1, mixed_.data(), width_, x_.data());

    layer_norm(x_.data(), block.inner_gain.data(), block.inner_bias.data(), width_, normed_.data());
    block.inner.multiply(normed_.data(), wide_.data());
    rectify(wide_.data(), block.inner.outputs());
    block.outer.multiply(wide_.data(), mixed_.data());
    add_scaled(1, mixed_.data(), width_, x_.data());
  }
  layer_norm(x_.data(), gain_.data(), bias_.data(), width_, state.values.data());
}

uint64_t Transformer::memory_bytes() const {
  uint64_t bytes = table_.size() * sizeof(float);
  for (const Block& block : blocks_) {
    bytes += block.query_key_value.memory_bytes() + block.out.memory_bytes() + block.inner.memory_bytes() +
             block.outer.memory_bytes() + (4 * width_ + block.distance.size()) * sizeof(float);
  }
  for (const PackedMatrix& head : heads_) bytes += head.memory_bytes();
  return bytes;
}

}  // namespace foreshard::policy
