// The rule by which a new model takes the place of the present one: both have answered the same later requests, which
// neither was trained on, and the new one's loss is lower by a margin, beyond what chance would do. Pure.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>

#include "base/assert.h"

namespace foreshard::policy {

struct ComparisonRule {
  uint64_t answers_min = 1000;   // fewer say nothing
  double margin = 0.02;          // nats an answer: what a change must at least be worth
  double deviations_min = 3;     // of the mean difference
  uint32_t block_answers = 50;   // neighbouring answers depend on each other; blocks of them hardly
};

struct Comparison {
  enum class Verdict { kTooLittle, kKeep, kReplace };
  Verdict verdict = Verdict::kTooLittle;
  uint64_t answers = 0;
  double gain = 0;       // mean loss of the present model less that of the new one
  double deviation = 0;  // of the gain
};

// Losses of the two models, answer by answer.
inline Comparison compare_losses(std::span<const float> present, std::span<const float> fresh,
                                 const ComparisonRule& rule = {}) {
  ASSERT(present.size() == fresh.size(), present.size(), fresh.size());
  Comparison comparison;
  comparison.answers = present.size();
  const size_t blocks = present.size() / rule.block_answers;
  if (present.size() < rule.answers_min || blocks < 2) return comparison;
  double sum = 0, squares = 0;
  for (size_t block = 0; block < blocks; ++block) {
    double gain = 0;
    for (size_t i = block * rule.block_answers; i < (block + 1) * rule.block_answers; ++i) {
      gain += static_cast<double>(present[i]) - static_cast<double>(fresh[i]);
    }
    gain /= rule.block_answers;
    sum += gain;
    squares += gain * gain;
  }
  const auto n = static_cast<double>(blocks);
  comparison.gain = sum / n;
  const double variance = squares / n - comparison.gain * comparison.gain;
  comparison.deviation = std::sqrt(std::fmax(variance, 0) / (n - 1));
  // What is not a number compares false, and keeps what there is.
  const bool better = comparison.gain >= rule.margin && comparison.gain >= rule.deviations_min * comparison.deviation;
  comparison.verdict = better ? Comparison::Verdict::kReplace : Comparison::Verdict::kKeep;
  return comparison;
}

}  // namespace foreshard::policy
