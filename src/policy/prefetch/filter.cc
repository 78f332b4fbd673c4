#include "policy/prefetch/filter.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace foreshard::policy {
namespace {

constexpr float kStep = 0.12f;
constexpr float kStepFirst = 0.2f;         // a new filter has everything to learn
constexpr float kStepExamples = 16384.0f;  // after so many the step has come half of the way down
constexpr float kSquaresFirst = 1.0f;
constexpr float kSquaresMax = 4000.0f;  // no step is smaller than with this sum: the present counts more than the past
constexpr uint64_t kLearnedMax = uint64_t{1} << 40;  // examples that are taken over: more say no more
constexpr float kValueMax = 30.0f;                   // of a weight that is taken over

// 2^(-i/2).
constexpr std::array<float, 10> kShares = {1.0f,    0.7071f, 0.5f,    0.3536f, 0.25f,
                                           0.1768f, 0.125f,  0.0884f, 0.0625f, 0.0442f};

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

}  // namespace

OnlineFilter::OnlineFilter() : weights_(kFilterTables * kFilterCodes, Weight{0, kSquaresFirst}) {}

float OnlineFilter::probability(const FilterExample& example) const {
  float sum = 0;
  for (uint32_t i = 0; i < example.count; ++i) sum += weights_[example.places[i]].value;
  return sigmoid(sum);
}

void OnlineFilter::learn(const FilterExample& example, bool used, float share) {
  const float wrong = (used ? 1.0f : 0.0f) - probability(example);
  share *= example.weight * kShares[std::min<size_t>(example.pages_width, kShares.size() - 1)];
  const float square = wrong * wrong * share;
  const float age = static_cast<float>(learned_) / kStepExamples;
  const float step = (kStep + (kStepFirst - kStep) / (1 + age)) * wrong * share;
  for (uint32_t i = 0; i < example.count; ++i) {
    Weight& weight = weights_[example.places[i]];
    weight.squares = std::min(weight.squares + square, kSquaresMax);
    weight.value += step / std::sqrt(weight.squares);
  }
  ++learned_;
}

std::vector<FilterWeight> OnlineFilter::weights() const {
  std::vector<FilterWeight> learned;
  for (size_t place = 0; place < weights_.size(); ++place) {
    if (weights_[place].squares == kSquaresFirst && weights_[place].value == 0) continue;
    learned.push_back({static_cast<uint16_t>(place), weights_[place].value, weights_[place].squares});
  }
  return learned;
}

void OnlineFilter::restore(const std::vector<FilterWeight>& weights, uint64_t learned) {
  std::fill(weights_.begin(), weights_.end(), Weight{0, kSquaresFirst});
  for (const FilterWeight& weight : weights) {
    // Not a number compares false too.
    if (weight.place >= weights_.size() || !(std::fabs(weight.value) <= kValueMax)) continue;
    if (!(weight.squares >= kSquaresFirst && weight.squares <= kSquaresMax)) continue;
    weights_[weight.place] = {weight.value, weight.squares};
  }
  learned_ = std::min(learned, kLearnedMax);
}

}  // namespace foreshard::policy
