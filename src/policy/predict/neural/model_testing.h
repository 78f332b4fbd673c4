// A model with random weights, for tests and benchmarks.
#pragma once

#include <cmath>

#include "base/random.h"
#include "policy/predict/neural/model.h"
#include "policy/predict/neural/token.h"

namespace foreshard::policy {

inline Model random_model(ModelShape shape, uint64_t seed) {
  Model model;
  Random random(seed);
  std::vector<int64_t> symbols;
  for (uint32_t i = 0; i < shape.vocabulary; ++i) symbols.push_back(static_cast<int64_t>(i) * 3 - shape.vocabulary);
  model.vocabulary = Vocabulary(std::move(symbols));
  model.shape = shape;
  model.weights.resize(shape.weights());
  for (float& weight : model.weights) weight = static_cast<float>(random.fraction() - 0.5) * 0.5f;
  model.card = "{\"data\": []}\n";
  return model;
}

inline Token random_token(const ModelShape& shape, Random& random) {
  Token token;
  const auto offsets = shape.feature_offsets();
  for (uint32_t i = 0; i < kFeatures; ++i) {
    token[i] = offsets[i] + static_cast<uint32_t>(random.below(shape.feature_values(static_cast<Feature>(i))));
  }
  return token;
}

}  // namespace foreshard::policy
