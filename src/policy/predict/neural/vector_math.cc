#include "policy/predict/neural/vector_math.h"

#include <algorithm>
#include <cmath>

#include "base/assert.h"

// Highway compiles what stands between HWY_BEFORE_NAMESPACE and HWY_AFTER_NAMESPACE once for each set of instructions,
// by including this file again.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "policy/predict/neural/vector_math.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>

HWY_BEFORE_NAMESPACE();
namespace foreshard::policy::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using Floats = hn::ScalableTag<float>;

constexpr size_t kPanelFloats = 64;

// kPanelFloats sums at once: as many vectors as that takes stay in registers while the inputs go by.
void multiply_panels(const float* values, const float* bias, size_t panels, size_t inputs, const float* x, float* y) {
  const Floats d;
  const size_t lanes = hn::Lanes(d);
  constexpr size_t kGroup = 8;  // vectors, so that the sums fit the registers and hide the latency of addition
  const size_t group = std::min(kGroup * lanes, kPanelFloats);
  for (size_t panel = 0; panel < panels; ++panel) {
    for (size_t part = 0; part < kPanelFloats; part += group) {
      const float* w = values + panel * inputs * kPanelFloats + part;
      const float* b = bias + panel * kPanelFloats + part;
      float* out = y + panel * kPanelFloats + part;
      if (group == kGroup * lanes) {
        auto s0 = hn::LoadU(d, b), s1 = hn::LoadU(d, b + lanes), s2 = hn::LoadU(d, b + 2 * lanes);
        auto s3 = hn::LoadU(d, b + 3 * lanes), s4 = hn::LoadU(d, b + 4 * lanes), s5 = hn::LoadU(d, b + 5 * lanes);
        auto s6 = hn::LoadU(d, b + 6 * lanes), s7 = hn::LoadU(d, b + 7 * lanes);
        for (size_t i = 0; i < inputs; ++i, w += kPanelFloats) {
          const auto v = hn::Set(d, x[i]);
          s0 = hn::MulAdd(hn::LoadU(d, w), v, s0);
          s1 = hn::MulAdd(hn::LoadU(d, w + lanes), v, s1);
          s2 = hn::MulAdd(hn::LoadU(d, w + 2 * lanes), v, s2);
          s3 = hn::MulAdd(hn::LoadU(d, w + 3 * lanes), v, s3);
          s4 = hn::MulAdd(hn::LoadU(d, w + 4 * lanes), v, s4);
          s5 = hn::MulAdd(hn::LoadU(d, w + 5 * lanes), v, s5);
          s6 = hn::MulAdd(hn::LoadU(d, w + 6 * lanes), v, s6);
          s7 = hn::MulAdd(hn::LoadU(d, w + 7 * lanes), v, s7);
        }
        hn::StoreU(s0, d, out), hn::StoreU(s1, d, out + lanes), hn::StoreU(s2, d, out + 2 * lanes);
        hn::StoreU(s3, d, out + 3 * lanes), hn::StoreU(s4, d, out + 4 * lanes), hn::StoreU(s5, d, out + 5 * lanes);
        hn::StoreU(s6, d, out + 6 * lanes), hn::StoreU(s7, d, out + 7 * lanes);
      } else {
        // Vectors so wide that a panel is fewer than kGroup of them: two inputs at a time instead.
        for (size_t at = 0; at < group; at += 2 * lanes) {
          auto a0 = hn::LoadU(d, b + at), a1 = hn::LoadU(d, b + at + lanes);
          auto b0 = hn::Zero(d), b1 = hn::Zero(d);
          const float* row = w + at;
          size_t i = 0;
          for (; i + 1 < inputs; i += 2, row += 2 * kPanelFloats) {
            const auto v = hn::Set(d, x[i]), u = hn::Set(d, x[i + 1]);
            a0 = hn::MulAdd(hn::LoadU(d, row), v, a0);
            a1 = hn::MulAdd(hn::LoadU(d, row + lanes), v, a1);
            b0 = hn::MulAdd(hn::LoadU(d, row + kPanelFloats), u, b0);
            b1 = hn::MulAdd(hn::LoadU(d, row + kPanelFloats + lanes), u, b1);
          }
          if (i < inputs) {
            const auto v = hn::Set(d, x[i]);
            a0 = hn::MulAdd(hn::LoadU(d, row), v, a0);
            a1 = hn::MulAdd(hn::LoadU(d, row + lanes), v, a1);
          }
          hn::StoreU(hn::Add(a0, b0), d, out + at);
          hn::StoreU(hn::Add(a1, b1), d, out + at + lanes);
        }
      }
    }
  }
}

void add_row(const float* row, size_t n, float* y) {
  const Floats d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(hn::Add(hn::LoadU(d, y + i), hn::LoadU(d, row + i)), d, y + i);
  for (; i < n; ++i) y[i] += row[i];
}

template <class V>
V sigmoid(V x) {
  const Floats d;
  const auto one = hn::Set(d, 1.0f);
  // Exp is good up to 104 only.
  const auto bounded = hn::Min(hn::Max(hn::Neg(x), hn::Set(d, -80.0f)), hn::Set(d, 80.0f));
  return hn::Div(one, hn::Add(one, hn::Exp(d, bounded)));
}

void cell(const float* gates, size_t size, float* c, float* h) {
  const Floats d;
  for (size_t i = 0; i < size; i += hn::Lanes(d)) {
    const auto input = sigmoid(hn::LoadU(d, gates + i));
    const auto forget = sigmoid(hn::LoadU(d, gates + size + i));
    const auto candidate = hn::Tanh(d, hn::LoadU(d, gates + 2 * size + i));
    const auto output = sigmoid(hn::LoadU(d, gates + 3 * size + i));
    const auto state = hn::MulAdd(forget, hn::LoadU(d, c + i), hn::Mul(input, candidate));
    hn::StoreU(state, d, c + i);
    hn::StoreU(hn::Mul(output, hn::Tanh(d, state)), d, h + i);
  }
}

void soft_max(float* x, size_t n) {
  const Floats d;
  const size_t lanes = hn::Lanes(d);
  float most = x[0];
  size_t i = 0;
  if (n >= lanes) {
    auto best = hn::LoadU(d, x);
    for (i = lanes; i + lanes <= n; i += lanes) best = hn::Max(best, hn::LoadU(d, x + i));
    most = hn::GetLane(hn::MaxOfLanes(d, best));
  }
  for (; i < n; ++i) most = std::max(most, x[i]);
  const auto top = hn::Set(d, most);
  auto sums = hn::Zero(d);
  for (i = 0; i + lanes <= n; i += lanes) {
    const auto e = hn::Exp(d, hn::Sub(hn::LoadU(d, x + i), top));
    hn::StoreU(e, d, x + i);
    sums = hn::Add(sums, e);
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, sums));
  for (; i < n; ++i) sum += x[i] = std::exp(x[i] - most);
  const float scale = 1 / sum;
  const auto scales = hn::Set(d, scale);
  for (i = 0; i + lanes <= n; i += lanes) hn::StoreU(hn::Mul(hn::LoadU(d, x + i), scales), d, x + i);
  for (; i < n; ++i) x[i] *= scale;
}

float dot_product(const float* a, const float* b, size_t n) {
  const Floats d;
  const size_t lanes = hn::Lanes(d);
  auto sums = hn::Zero(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) sums = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), sums);
  float sum = hn::GetLane(hn::SumOfLanes(d, sums));
  for (; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

void scaled_add(float a, const float* x, size_t n, float* y) {
  const Floats d;
  const size_t lanes = hn::Lanes(d);
  const auto factor = hn::Set(d, a);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(hn::MulAdd(factor, hn::LoadU(d, x + i), hn::LoadU(d, y + i)), d, y + i);
  }
  for (; i < n; ++i) y[i] += a * x[i];
}

const char* instructions() { return hwy::TargetName(HWY_TARGET); }

}  // namespace foreshard::policy::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace foreshard::policy {

HWY_EXPORT(multiply_panels);
HWY_EXPORT(add_row);
HWY_EXPORT(cell);
HWY_EXPORT(soft_max);
HWY_EXPORT(dot_product);
HWY_EXPORT(scaled_add);
HWY_EXPORT(instructions);

PackedMatrix::PackedMatrix(std::span<const float> row_major, std::span<const float> bias, size_t outputs,
                           size_t inputs)
    : outputs_(outputs), inputs_(inputs), panels_((outputs + kPanel - 1) / kPanel) {
  ASSERT(row_major.size() == outputs * inputs, row_major.size(), outputs * inputs);
  ASSERT(bias.empty() || bias.size() == outputs, bias.size(), outputs);
  values_.resize(panels_ * inputs * kPanel);
  bias_.resize(panels_ * kPanel);
  std::copy(bias.begin(), bias.end(), bias_.begin());
  for (size_t output = 0; output < outputs; ++output) {
    for (size_t input = 0; input < inputs; ++input) {
      values_[(output / kPanel * inputs + input) * kPanel + output % kPanel] = row_major[output * inputs + input];
    }
  }
}

void PackedMatrix::multiply(const float* x, float* y) const {
  HWY_DYNAMIC_DISPATCH(multiply_panels)(values_.data(), bias_.data(), panels_, inputs_, x, y);
}

void sum_rows(const float* table, size_t width, std::span<const uint32_t> rows, float* y) {
  std::fill_n(y, width, 0.0f);
  for (const uint32_t row : rows) HWY_DYNAMIC_DISPATCH(add_row)(table + row * width, width, y);
}

void lstm_cell(const float* gates, size_t size, float* c, float* h) { HWY_DYNAMIC_DISPATCH(cell)(gates, size, c, h); }

void softmax(float* x, size_t n) { HWY_DYNAMIC_DISPATCH(soft_max)(x, n); }

void layer_norm(const float* x, const float* gain, const float* bias, size_t n, float* y) {
  double sum = 0, squares = 0;
  for (size_t i = 0; i < n; ++i) sum += x[i];
  const double mean = sum / static_cast<double>(n);
  for (size_t i = 0; i < n; ++i) squares += (x[i] - mean) * (x[i] - mean);
  const double scale = 1 / std::sqrt(squares / static_cast<double>(n) + 1e-5);
  for (size_t i = 0; i < n; ++i) y[i] = static_cast<float>((x[i] - mean) * scale) * gain[i] + bias[i];
}

float dot(const float* a, const float* b, size_t n) { return HWY_DYNAMIC_DISPATCH(dot_product)(a, b, n); }

void add_scaled(float a, const float* x, size_t n, float* y) { HWY_DYNAMIC_DISPATCH(scaled_add)(a, x, n, y); }

void rectify(float* x, size_t n) {
  for (size_t i = 0; i < n; ++i) x[i] = std::max(x[i], 0.0f);
}

const char* vector_instructions() { return HWY_DYNAMIC_DISPATCH(instructions)(); }

}  // namespace foreshard::policy
#endif
