// The likeliest answers of a model's symbol head, with what means the same taken together.
#pragma once

#include <span>
#include <vector>

#include "policy/predict/neural/token.h"

namespace foreshard::policy {

struct RankedAnswer {
  uint32_t answer = 0;
  float probability = 0;
};

// The `count_max` likeliest answers that name something, the best first. Changes the probabilities: those of answers
// with one meaning are moved to one of them.
void rank_answers(const TokenStream& stream, std::span<float> probabilities, uint32_t count_max,
                  std::vector<RankedAnswer>& ranked);

// The likeliest of a few.
uint32_t likeliest(std::span<const float> probabilities);

}  // namespace foreshard::policy
