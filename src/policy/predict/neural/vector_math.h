// The arithmetic of the neural models, vectorised by Highway for the instructions that the processor turns out to have
// (from SSE4 to AVX-512). Plain functions over floats; sizes are the caller's duty. Results differ between kinds of
// processors in their last bits, as the order of additions does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace foreshard::policy {

inline constexpr size_t kVectorFloats = 16;  // what sizes are rounded up to: the widest vector

inline size_t padded(size_t floats) { return (floats + kVectorFloats - 1) / kVectorFloats * kVectorFloats; }

// A matrix of so many outputs and inputs, packed so that a product with a vector reads it once, in order.
class PackedMatrix {
 public:
  PackedMatrix() = default;
  // row_major: outputs * inputs. bias: outputs, or empty for none.
  PackedMatrix(std::span<const float> row_major, std::span<const float> bias, size_t outputs, size_t inputs);
  size_t outputs() const { return outputs_; }
  size_t outputs_padded() const { return panels_ * kPanel; }
  size_t inputs() const { return inputs_; }
  uint64_t memory_bytes() const { return (values_.size() + bias_.size()) * sizeof(float); }
  // y = bias + W x. y has room for outputs_padded(); what lies behind outputs() becomes 0.
  void multiply(const float* x, float* y) const;

  static constexpr size_t kPanel = 64;  // outputs that are summed side by side

 private:
  size_t outputs_ = 0, inputs_ = 0, panels_ = 0;
  std::vector<float> values_;  // [panel][input][kPanel]
  std::vector<float> bias_;    // [panel][kPanel]
};

// y = sum of the table's rows, each of `width`.
void sum_rows(const float* table, size_t width, std::span<const uint32_t> rows, float* y);
// One step of an LSTM's state: gates holds input, forget, candidate and output gates, `size` floats each, before their
// activation. size is a multiple of kVectorFloats.
void lstm_cell(const float* gates, size_t size, float* c, float* h);
// In place; n >= 1. What comes out is not negative and sums up to 1, if what goes in is finite.
void softmax(float* x, size_t n);
// y = (x - mean) / sqrt(variance + 1e-5) * gain + bias
void layer_norm(const float* x, const float* gain, const float* bias, size_t n, float* y);
float dot(const float* a, const float* b, size_t n);
// y += a * x
void add_scaled(float a, const float* x, size_t n, float* y);
void rectify(float* x, size_t n);
// The instructions that are used here, such as "AVX2".
const char* vector_instructions();

}  // namespace foreshard::policy
