// Shows that a model is replaced by a better one, and not by one that is as good, worse, better by less than the
// margin or by chance, nor on too little evidence or losses that are not numbers.
#include "policy/predict/neural/model_comparison.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "base/random.h"

namespace foreshard::policy {
namespace {

using Verdict = Comparison::Verdict;

// Losses around a mean, between 0 and twice of it.
std::vector<float> losses(double mean, size_t count, uint64_t seed) {
  Random random(seed);
  std::vector<float> all;
  for (size_t i = 0; i < count; ++i) all.push_back(static_cast<float>(2 * mean * random.fraction()));
  return all;
}

TEST(CompareLosses, TheClearlyBetterReplaces) {
  EXPECT_EQ(compare_losses(losses(2.0, 5000, 1), losses(1.5, 5000, 2)).verdict, Verdict::kReplace);
}

TEST(CompareLosses, EqualWorseAndHardlyBetterDoNot) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    EXPECT_EQ(compare_losses(losses(2.0, 5000, seed), losses(2.0, 5000, seed + 100)).verdict, Verdict::kKeep) << seed;
  }
  EXPECT_EQ(compare_losses(losses(1.5, 5000, 1), losses(2.0, 5000, 2)).verdict, Verdict::kKeep);
  const std::vector<float> present = losses(2.0, 5000, 3);
  EXPECT_EQ(compare_losses(present, present).verdict, Verdict::kKeep);
  std::vector<float> hardly = present;
  for (float& loss : hardly) loss -= 0.01f;
  EXPECT_EQ(compare_losses(present, hardly).verdict, Verdict::kKeep);
}

TEST(CompareLosses, TooLittleEvidenceDoesNot) {
  EXPECT_EQ(compare_losses(losses(3.0, 900, 1), losses(1.0, 900, 2)).verdict, Verdict::kTooLittle);
  EXPECT_EQ(compare_losses({}, {}).verdict, Verdict::kTooLittle);
}

TEST(CompareLosses, WhatIsNotANumberKeepsThePresent) {
  std::vector<float> fresh = losses(1.0, 5000, 1);
  fresh[100] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(compare_losses(losses(2.0, 5000, 2), fresh).verdict, Verdict::kKeep);
}

}  // namespace
}  // namespace foreshard::policy
