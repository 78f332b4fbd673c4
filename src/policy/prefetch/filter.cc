#include "policy/prefetch/filter.h"

#include <algorithm>
#include <cmath>

namespace foreshard::policy {
namespace {

constexpr float kStep = 0.08f;
constexpr float kStepFirst = 0.15f;        // a new filter has everything to learn
constexpr float kStepExamples = 16384.0f;  // after so many the step has come half of the way down
constexpr float kSquaresFirst = 1.0f;
constexpr float kSquaresMax = 4000.0f;  // no step is smaller than with this sum: the present counts more than the past

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

}  // namespace

OnlineFilter::OnlineFilter() : weights_(kFilterTables * kFilterCodes, Weight{0, kSquaresFirst}) {}

float OnlineFilter::probability(const FilterExample& example) const {
  float sum = 0;
  for (uint32_t i = 0; i < example.count; ++i) sum += weights_[example.places[i]].value;
  return sigmoid(sum);
}

void OnlineFilter::learn(const FilterExample& example, bool used) {
  const float wrong = (used ? 1.0f : 0.0f) - probability(example);
  const float square = wrong * wrong * example.weight;
  const float age = static_cast<float>(learned_) / kStepExamples;
  const float step = (kStep + (kStepFirst - kStep) / (1 + age)) * wrong * example.weight;
  for (uint32_t i = 0; i < example.count; ++i) {
    Weight& weight = weights_[example.places[i]];
    weight.squares = std::min(weight.squares + square, kSquaresMax);
    weight.value += step / std::sqrt(weight.squares);
  }
  ++learned_;
}

}  // namespace foreshard::policy
