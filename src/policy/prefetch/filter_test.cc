// Shows that the filter learns which features mean what, also among features that mean nothing, states probabilities
// that come true, follows a change, and stays finite whatever it is taught.
#include "policy/prefetch/filter.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"
#include "policy/prefetch/calibration.h"

namespace foreshard::policy {
namespace {

// Table 1 tells (below 32 of 64 codes, say), tables 2 to 6 are noise, table 31 is the same for all.
FilterExample example_of(uint32_t telling, Random& random) {
  FilterExample example;
  example.add(1, telling);
  for (uint32_t table = 2; table <= 6; ++table) example.add(table, static_cast<uint32_t>(random.below(500)));
  example.add(31, 0);
  return example;
}

TEST(OnlineFilter, HasNoOpinionAtFirst) {
  const OnlineFilter filter;
  Random random(1);
  EXPECT_FLOAT_EQ(filter.probability(example_of(3, random)), 0.5f);
  EXPECT_EQ(filter.learned(), 0u);
}

// The share of answers on the right side of one half.
double teach(OnlineFilter& filter, Random& random, int examples, bool inverted) {
  int right = 0;
  for (int i = 0; i < examples; ++i) {
    const auto telling = static_cast<uint32_t>(random.below(64));
    const bool used = (telling < 32) != inverted;
    const FilterExample example = example_of(telling, random);
    right += (filter.probability(example) > 0.5f) == used;
    filter.learn(example, used);
  }
  return static_cast<double>(right) / examples;
}

TEST(OnlineFilter, LearnsARuleThatOneFeatureTells) {
  OnlineFilter filter;
  Random random(2);
  teach(filter, random, 10'000, false);
  EXPECT_EQ(filter.learned(), 10'000u);
  EXPECT_GT(teach(filter, random, 2000, false), 0.98);
}

// Requests of 64 pages that come out alike, and single pages that come out otherwise, half as many pages: what they
// have in common is not drowned by the former.
TEST(OnlineFilter, APageOfALargeRequestSaysLessThanASingleOne) {
  OnlineFilter filter;
  for (int i = 0; i < 4000; ++i) {
    FilterExample large;
    large.add(31, 0);
    large.pages_width = 7;
    for (int page = 0; page < 64; ++page) filter.learn(large, true);
    FilterExample single;
    single.add(31, 0);
    single.pages_width = 1;
    for (int page = 0; page < 8; ++page) filter.learn(single, false);
  }
  FilterExample any;
  any.add(31, 0);
  EXPECT_GT(filter.probability(any), 0.3f);
  EXPECT_LT(filter.probability(any), 0.7f);
}

TEST(OnlineFilter, FollowsAChange) {
  OnlineFilter filter;
  Random random(3);
  teach(filter, random, 50'000, false);
  teach(filter, random, 50'000, true);
  EXPECT_GT(teach(filter, random, 2000, true), 0.95);
  teach(filter, random, 100'000, false);
  EXPECT_GT(teach(filter, random, 2000, false), 0.95);
}

TEST(OnlineFilter, StatesProbabilitiesThatComeTrue) {
  OnlineFilter filter;
  Random random(4);
  Calibration calibration;
  for (int i = 0; i < 150'000; ++i) {
    const auto telling = static_cast<uint32_t>(random.below(8));
    const FilterExample example = example_of(telling, random);
    const bool used = random.chance(0.1 + 0.1 * telling);
    if (i >= 75'000) calibration.add(filter.probability(example), used);
    filter.learn(example, used);
  }
  EXPECT_LT(calibration.ece(), 0.05);
  EXPECT_LT(calibration.brier(), calibration.brier_base() - 0.02);
}

TEST(OnlineFilter, TwoFeaturesAddUp) {
  OnlineFilter filter;
  Random random(5);
  const auto example = [](uint32_t a, uint32_t b) {
    FilterExample made;
    made.add(1, a);
    made.add(2, b);
    return made;
  };
  for (int i = 0; i < 40'000; ++i) {
    const auto a = static_cast<uint32_t>(random.below(2)), b = static_cast<uint32_t>(random.below(2));
    filter.learn(example(a, b), random.chance(0.05 + 0.45 * a + 0.45 * b));
  }
  EXPECT_LT(filter.probability(example(0, 0)), 0.2f);
  EXPECT_NEAR(filter.probability(example(0, 1)), 0.5f, 0.15f);
  EXPECT_NEAR(filter.probability(example(1, 0)), 0.5f, 0.15f);
  EXPECT_GT(filter.probability(example(1, 1)), 0.8f);
}

TEST(OnlineFilter, EveryTableAndCodeHasAPlaceAndTheSameOneAlways) {
  Random random(6);
  for (int i = 0; i < 10'000; ++i) {
    FilterExample a, b;
    const auto table = static_cast<uint32_t>(random.below(kFilterTables));
    const auto code = static_cast<uint32_t>(random.next());
    a.add(table, code);
    b.add(table, code);
    ASSERT_EQ(a.places[0], b.places[0]);
    ASSERT_EQ(a.places[0] / kFilterCodes, table);
  }
}

TEST(OnlineFilter, StaysFiniteWhateverItIsTaught) {
  OnlineFilter filter;
  FilterExample same;
  for (uint32_t i = 0; i < kFeaturesMax; ++i) same.add(7, 7);
  for (int round = 0; round < 4; ++round) {
    for (int i = 0; i < 200'000; ++i) filter.learn(same, round % 2 == 0);
    const float probability = filter.probability(same);
    EXPECT_TRUE(std::isfinite(probability));
    EXPECT_GE(probability, 0.0f);
    EXPECT_LE(probability, 1.0f);
  }
}

}  // namespace
}  // namespace foreshard::policy
