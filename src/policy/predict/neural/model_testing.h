// Models for tests and benchmarks: with random weights, and with weights set by hand.
#pragma once

#include <algorithm>
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

// Its bias says: as the last time, whatever came before; and one page.
inline Model history_model(ModelKind kind = ModelKind::kLstm, SymbolKind symbols = SymbolKind::kDelta) {
  ModelShape shape;
  shape.kind = kind;
  shape.symbols = symbols;
  shape.vocabulary = 2;
  shape.regions = shape.pages = shape.workloads = shape.labels = 2;
  shape.width = shape.hidden = 4;
  shape.history_entries = 256;
  Model model = random_model(shape, 1);
  std::fill(model.weights.begin(), model.weights.end(), 0.0f);
  size_t at = model.weights.size();
  for (uint32_t head = 0; head < kHeads; ++head) {
    at -= (shape.output_width() + 1) * shape.head_values(static_cast<Head>(head));
  }
  const size_t bias = at + shape.output_width() * shape.head_values(Head::kSymbol);
  model.weights[bias + kAnswerHistory] = 3;
  // Of the next head: one page.
  const size_t lengths = bias + shape.head_values(Head::kSymbol) + shape.output_width() * kLengthClasses;
  model.weights[lengths] = 5;
  return model;
}

}  // namespace foreshard::policy
