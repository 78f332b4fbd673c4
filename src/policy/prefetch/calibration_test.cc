// Shows that the calibration error and the Brier score are what one gets by hand, and that probabilities are corrected
// by what came of them, apart for small and large requests.
#include "policy/prefetch/calibration.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"

namespace foreshard::policy {
namespace {

TEST(Calibration, KnowsNothingAtFirst) {
  const Calibration calibration;
  EXPECT_EQ(calibration.pages(), 0u);
  EXPECT_EQ(calibration.ece(), 0);
  EXPECT_EQ(calibration.brier(), 0);
  EXPECT_EQ(calibration.brier_base(), 0);
}

TEST(Calibration, IsWhatOneGetsByHand) {
  Calibration calibration;
  // Four pages at .8, of which two came true; six at .11, of which one did.
  for (int i = 0; i < 4; ++i) calibration.add(0.8, i < 2);
  for (int i = 0; i < 6; ++i) calibration.add(0.11, i < 1);
  EXPECT_EQ(calibration.pages(), 10u);
  // |3.2 - 2| = 1.2 and |0.66 - 1| = 0.34, over 10.
  EXPECT_NEAR(calibration.ece(), 0.154, 1e-12);
  // 2 * .2^2 + 2 * .8^2 = 1.36; .89^2 + 5 * .11^2 = .7921 + .0605 = .8526; over 10.
  EXPECT_NEAR(calibration.brier(), 0.22126, 1e-12);
  // Three of ten: .3 * .7.
  EXPECT_NEAR(calibration.brier_base(), 0.21, 1e-12);
}

TEST(Calibration, EveryProbabilityHasItsBin) {
  Calibration calibration;
  for (const double stated : {-1.0, 0.0, 0.049, 0.05, 0.5, 0.999, 1.0, 2.0}) calibration.add(stated, true);
  static_assert(Calibration::kBins == 20);
  EXPECT_EQ(calibration.bins()[0].pages, 3u);
  EXPECT_EQ(calibration.bins()[1].pages, 1u);
  EXPECT_EQ(calibration.bins()[10].pages, 1u);
  EXPECT_EQ(calibration.bins()[19].pages, 3u);
  EXPECT_NEAR(calibration.bins()[19].stated, 2.999, 1e-12);
  EXPECT_EQ(calibration.bins()[19].used, 3u);
}

TEST(Calibration, OneWhoSpeaksTheTruthHasNoErrorAndBeatsTheBaseRate) {
  Calibration calibration;
  Random random(4);
  for (int i = 0; i < 200'000; ++i) {
    const double p = random.fraction();
    calibration.add(p, random.chance(p));
  }
  EXPECT_LT(calibration.ece(), 0.01);
  EXPECT_NEAR(calibration.brier(), 1.0 / 6, 0.005);  // the mean of p (1 - p)
  EXPECT_NEAR(calibration.brier_base(), 0.25, 0.005);
}

TEST(Recalibration, SaysWhatItIsToldUntilItKnowsBetter) {
  Recalibration recalibration;
  EXPECT_EQ(recalibration.correct(0.7, 1), 0.7);
  recalibration.learn(0.7, 1, false);
  EXPECT_NEAR(recalibration.correct(0.7, 1), 0.7, 0.02);
}

TEST(Recalibration, CorrectsSmallAndLargeRequestsApart) {
  Recalibration recalibration;
  Random random(5);
  for (int i = 0; i < 4000; ++i) {
    recalibration.learn(0.7, 1, random.chance(0.4));
    const bool used = random.chance(0.9);
    for (int page = 0; page < 16; ++page) recalibration.learn(0.7, 5, used);
  }
  EXPECT_NEAR(recalibration.correct(0.7, 1), 0.4, 0.08);
  EXPECT_NEAR(recalibration.correct(0.7, 5), 0.9, 0.08);
  EXPECT_EQ(recalibration.correct(0.2, 5), 0.2);  // of which nothing is known
  Recalibration other;
  other.restore(recalibration.learned());
  EXPECT_EQ(other.correct(0.7, 1), recalibration.correct(0.7, 1));
  EXPECT_EQ(other.correct(0.7, 5), recalibration.correct(0.7, 5));
}

// A request's pages come out alike: else one large request that came to nothing would belie a hundred that did not.
TEST(Recalibration, ALargeRequestSaysLittleMoreThanASmallOne) {
  Recalibration recalibration;
  for (int request = 0; request < 100; ++request)
    for (int page = 0; page < 256; ++page) recalibration.learn(0.9, 9, request % 10 != 0);
  const double before = recalibration.correct(0.9, 9);
  for (int page = 0; page < 256; ++page) recalibration.learn(0.9, 9, false);
  EXPECT_GT(recalibration.correct(0.9, 9), before - 0.03);
}

TEST(Recalibration, WhatIsUsedAfterAllCountsAsUsed) {
  Recalibration recalibration;
  for (int i = 0; i < 3000; ++i) {
    recalibration.learn(0.8, 1, false);
    recalibration.revise(0.8, 1);
  }
  EXPECT_GT(recalibration.correct(0.8, 1), 0.9);
}

TEST(Recalibration, WhatMakesNoSenseIsNotTakenOver) {
  Recalibration::Bins bins{};
  bins.fill({.samples = std::nan(""), .bias = 0.5});
  bins[1] = {.samples = 1e9, .bias = 0.5};
  bins[2] = {.samples = 1e9, .bias = -3};
  Recalibration::Learned learned{.common = bins};
  learned.sized[3] = bins;
  Recalibration recalibration;
  recalibration.restore(learned);
  EXPECT_EQ(recalibration.correct(0.01, 1), 0.01);
  EXPECT_NEAR(recalibration.correct(0.07, 1), 0.57, 0.05);
  EXPECT_EQ(recalibration.correct(0.15, 1), 0.15);
  EXPECT_EQ(recalibration.correct(0.01, 3), 0.01);
  EXPECT_NEAR(recalibration.correct(0.07, 3), 1.0, 0.05);
  EXPECT_EQ(recalibration.correct(0.15, 3), 0.15);
}

}  // namespace
}  // namespace foreshard::policy
