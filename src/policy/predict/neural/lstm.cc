#include "policy/predict/neural/lstm.h"

#include <algorithm>

namespace foreshard::policy {

Lstm::Lstm(const Model& model) : width_(model.shape.width), size_(padded(model.shape.hidden)) {
  const size_t hidden = model.shape.hidden;
  WeightReader reader(model.weights);
  const std::span<const float> table = reader.take(size_t{model.shape.table_rows()} * width_);
  table_.assign(table.begin(), table.end());
  const std::span<const float> of_input = reader.take(4 * hidden * width_);
  const std::span<const float> of_state = reader.take(4 * hidden * hidden);
  const std::span<const float> bias = reader.take(4 * hidden);
  // Each gate rounded up to whole vectors. The zeros in between keep h at 0 there: half of a candidate of 0.
  const size_t inputs = width_ + hidden;
  std::vector<float> rows(4 * size_ * inputs), biases(4 * size_);
  for (size_t gate = 0; gate < 4; ++gate) {
    for (size_t i = 0; i < hidden; ++i) {
      const size_t from = gate * hidden + i, to = gate * size_ + i;
      std::copy_n(of_input.data() + from * width_, width_, rows.data() + to * inputs);
      std::copy_n(of_state.data() + from * hidden, hidden, rows.data() + to * inputs + width_);
      biases[to] = bias[from];
    }
  }
  gates_ = PackedMatrix(rows, biases, 4 * size_, inputs);
  for (uint32_t head = 0; head < kHeads; ++head) {
    const size_t values = model.shape.head_values(static_cast<Head>(head));
    const std::span<const float> weights = reader.take(values * hidden);
    heads_[head] = PackedMatrix(weights, reader.take(values), values, hidden);
  }
  input_.resize(inputs);
  active_.resize(gates_.outputs_padded());
}

void Lstm::step(const Token& token, SequenceState& state) {
  float* const h = state.values.data();
  sum_rows(table_.data(), width_, token, input_.data());
  std::copy_n(h, input_.size() - width_, input_.data() + width_);
  gates_.multiply(input_.data(), active_.data());
  lstm_cell(active_.data(), size_, h + size_, h);
}

uint64_t Lstm::memory_bytes() const {
  uint64_t bytes = table_.size() * sizeof(float) + gates_.memory_bytes();
  for (const PackedMatrix& head : heads_) bytes += head.memory_bytes();
  return bytes;
}

}  // namespace foreshard::policy
