// Shows that the threshold asks more of larger requests, rises while precision is too low, falls while it is high and
// comes back, within its bounds; and that the budget of waste affords what its tokens cover if the stated probabilities
// hold.
#include "policy/prefetch/budget.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"

namespace foreshard::policy {
namespace {

TEST(Budget, FrugalAsksForMoreAndSpendsLess) {
  const BudgetSettings normal = budget_settings(PrefetchBudget::kNormal);
  const BudgetSettings frugal = budget_settings(PrefetchBudget::kFrugal);
  EXPECT_GT(frugal.threshold.first, normal.threshold.first);
  EXPECT_GT(frugal.small_share.least, normal.small_share.most);
  EXPECT_GT(frugal.precision_min, normal.precision_min);
  EXPECT_LT(frugal.waste_share_max, normal.waste_share_max);
  EXPECT_EQ(prefetch_budget_name(PrefetchBudget::kNormal), "normal");
  EXPECT_EQ(prefetch_budget_name(PrefetchBudget::kFrugal), "frugal");
}

TEST(Threshold, GrowsWithThePagesThatARequestLacks) {
  const Threshold threshold(budget_settings(PrefetchBudget::kNormal));
  for (uint32_t missing = 1; missing < 400; ++missing) {
    EXPECT_GT(threshold.of(missing), 0);
    EXPECT_LT(threshold.of(missing), threshold.of(missing + 1));
    if (missing <= 64) EXPECT_LT(threshold.of(missing), threshold.value());
  }
  EXPECT_LT(threshold.of(1), threshold.value() / 2);
  // Of 2 MiB, which may all be for nothing and spare one wait, it must be nearly sure, and no more than that.
  EXPECT_GT(threshold.of(512), 0.9);
  EXPECT_LT(threshold.of(UINT32_MAX), 0.98);
}

TEST(Threshold, AsksLessTheLessOfWhatIsDisplacedComesBack) {
  const Threshold threshold(budget_settings(PrefetchBudget::kNormal));
  for (const uint32_t missing : {1u, 8u, 64u}) {
    for (const bool read_before : {false, true}) {
      EXPECT_DOUBLE_EQ(threshold.of(missing, 1, read_before), threshold.of(missing));
      EXPECT_GT(threshold.of(missing, 1.2, read_before), threshold.of(missing));
      EXPECT_DOUBLE_EQ(threshold.of(missing, 9, read_before), threshold.of(missing, 2, read_before));
      EXPECT_LT(threshold.of(missing, 0.5, read_before), threshold.of(missing));
    }
    // Little less of what was never read before, which may be read once only.
    EXPECT_LT(threshold.of(missing, 0.5, true), threshold.of(missing, 0.5, false));
    EXPECT_LT(threshold.of(missing, 0.3, true), threshold.of(missing, 0.5, true));
    EXPECT_DOUBLE_EQ(threshold.of(missing, 0, true), threshold.of(missing, 0.1, true));
    EXPECT_GT(threshold.of(missing, 0, true), threshold.of(missing) / 4);
  }
  // Where next to nothing of what is fetched is used, nothing makes it ask for less.
  Threshold wary(budget_settings(PrefetchBudget::kNormal));
  for (int i = 0; i < 200'000; ++i) wary.learn(i % 10 == 0);
  EXPECT_DOUBLE_EQ(wary.of(1, 0, true), wary.of(1));
  EXPECT_GT(wary.of(1), 0.4);
  // A frugal one counts the bytes alone.
  const Threshold frugal(budget_settings(PrefetchBudget::kFrugal));
  EXPECT_DOUBLE_EQ(frugal.of(8, 0, true), frugal.of(8));
}

// Outcomes of this precision, in no rhythm.
void teach(Threshold& threshold, double precision, int outcomes) {
  Random random(9);
  for (int i = 0; i < outcomes; ++i) threshold.learn(random.chance(precision));
}

TEST(Threshold, GoesDownWhereNearlyAllIsUsedAndUpWhereNextToNothingIsAndComesBack) {
  const BudgetSettings settings = budget_settings(PrefetchBudget::kNormal);
  Threshold threshold(settings);
  teach(threshold, 0.95, 100'000);
  EXPECT_DOUBLE_EQ(threshold.value(), settings.threshold.least);
  teach(threshold, 0.7, 100'000);
  EXPECT_DOUBLE_EQ(threshold.value(), settings.threshold.first);
  teach(threshold, 0.1, 100'000);
  EXPECT_DOUBLE_EQ(threshold.value(), settings.threshold_max);
  teach(threshold, 0.7, 100'000);
  EXPECT_DOUBLE_EQ(threshold.value(), settings.threshold.first);
}

// What is spared there are guesses at single pages: a large request that is probable enough pays as it did.
TEST(Threshold, WhereTooLittleIsUsedItAsksMoreOfSmallRequestsAndComesBack) {
  const BudgetSettings settings = budget_settings(PrefetchBudget::kNormal);
  Threshold threshold(settings);
  const double one = threshold.of(1), many = threshold.of(64);
  teach(threshold, 0.5, 100'000);
  EXPECT_GT(threshold.of(1), one * 1.2);
  EXPECT_LT(threshold.of(64), many * 1.02);
  EXPECT_DOUBLE_EQ(threshold.value(), settings.threshold.first);
  // One that goes on from there asks for as much.
  Threshold taken(settings);
  taken.restore(threshold.value(), threshold.precision(), threshold.outcomes());
  EXPECT_DOUBLE_EQ(taken.of(1), threshold.of(1));
  // Where nothing has been fetched yet, nothing is known.
  Threshold unknown(settings);
  unknown.restore(settings.threshold.first, 0, 0);
  EXPECT_DOUBLE_EQ(unknown.of(1), one);
  teach(threshold, 0.7, 100'000);
  EXPECT_DOUBLE_EQ(threshold.of(1), one);
}

TEST(Threshold, AFrugalOneBeginsStrictWithSmallRequestsAndAsksLessWhereItCan) {
  const BudgetSettings settings = budget_settings(PrefetchBudget::kFrugal);
  Threshold threshold(settings);
  const double first = threshold.of(1);
  teach(threshold, 0.95, 100'000);
  EXPECT_NEAR(threshold.of(1), settings.threshold.first * settings.small_share.least, 1e-9);
  EXPECT_LT(threshold.of(1), first);
  EXPECT_NEAR(threshold.value(), settings.threshold.first, 1e-9);
  // Where it is about as precise as it is wanted it stays; where it is less, single pages are asked for more again.
  teach(threshold, 0.77, 10'000);
  const double least = threshold.of(1);
  teach(threshold, 0.755, 100'000);
  EXPECT_GT(threshold.of(1), least);
  teach(threshold, 0.5, 100'000);
  EXPECT_DOUBLE_EQ(threshold.value(), settings.threshold_max);
}

// What is told as not used first, and then was, is as if it had been told as used.
TEST(Threshold, BelievesWhatIsRevised) {
  Threshold right(budget_settings(PrefetchBudget::kNormal)), revised(budget_settings(PrefetchBudget::kNormal));
  Random random(3);
  for (int i = 0; i < 100'000; ++i) {
    const bool used = random.chance(0.7);
    right.learn(used);
    revised.learn(used && i % 2 == 0);
    if (used && i % 2 != 0) revised.revise();
  }
  EXPECT_NEAR(revised.precision(), right.precision(), 0.01);
  EXPECT_DOUBLE_EQ(revised.value(), right.value());
}

// A threshold that nothing can pass would never learn of anything again.
TEST(Threshold, LetsPassWhatIsNearlySureHoweverBadThePast) {
  Threshold threshold(budget_settings(PrefetchBudget::kFrugal));
  for (int i = 0; i < 1'000'000; ++i) threshold.learn(false);
  for (const uint32_t missing : {1u, 32u, 128u, UINT32_MAX}) EXPECT_LT(threshold.of(missing), 0.99);
}

TEST(Threshold, AFewOutcomesAreNoReasonToMove) {
  Threshold threshold(budget_settings(PrefetchBudget::kNormal));
  const double first = threshold.value();
  for (int i = 0; i < 20; ++i) threshold.learn(false);
  EXPECT_NEAR(threshold.value(), first, 0.01);
}

TEST(WasteBudget, AffordsWhatItsTokensCoverIfProbabilitiesHold) {
  WasteBudget none(0);
  none.earn(1000);
  EXPECT_EQ(none.affordable(0.99, 0), 0u);
  WasteBudget budget(0.1);
  const double first = budget.tokens();
  budget.earn(1000);
  EXPECT_DOUBLE_EQ(budget.tokens(), first + 100);
  EXPECT_EQ(budget.affordable(0.5, 0), static_cast<uint64_t>((first + 100) / 0.5));
  EXPECT_EQ(budget.affordable(0.5, static_cast<uint64_t>((first + 100) / 0.5)), 0u);
  EXPECT_GT(budget.affordable(1, 0), budget.affordable(0.5, 0));
  for (int i = 0; i < 1000; ++i) budget.waste();
  EXPECT_EQ(budget.affordable(0.999, 0), 0u);
}

TEST(WasteBudget, DoesNotSaveUpForEver) {
  WasteBudget budget(1);
  for (int i = 0; i < 1000; ++i) budget.earn(UINT64_MAX);
  EXPECT_LE(budget.tokens(), 1u << 20);
  EXPECT_GT(budget.affordable(0, 0), 0u);
  EXPECT_EQ(budget.affordable(0, UINT64_MAX), 0u);
}

// Whatever somebody says was learned before, the threshold stays one.
TEST(Threshold, TakesOverWithinItsBoundsOnly) {
  for (const double value : {-1.0, 0.0, 0.7, 99.0, std::nan("")}) {
    for (const double precision : {-1.0, 0.5, 2.0, std::nan("")}) {
      for (const uint64_t outcomes : {uint64_t{0}, UINT64_MAX - 1, UINT64_MAX}) {
        Threshold threshold(budget_settings(PrefetchBudget::kNormal));
        threshold.restore(value, precision, outcomes);
        for (int i = 0; i < 1000; ++i) threshold.learn(i % 2 == 0);
        EXPECT_GE(threshold.value(), 0.45);
        EXPECT_LE(threshold.value(), 1.3);
      }
    }
  }
}

}  // namespace
}  // namespace foreshard::policy
