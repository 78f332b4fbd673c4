// Shows that the threshold asks more of larger requests, rises while precision is too low and comes back, within its
// bounds; and that the budget of waste affords what its tokens cover if the stated probabilities hold.
#include "policy/prefetch/budget.h"

#include <gtest/gtest.h>

#include <cmath>

namespace foreshard::policy {
namespace {

TEST(Budget, FrugalAsksForMoreAndSpendsLess) {
  const BudgetSettings normal = budget_settings(PrefetchBudget::kNormal);
  const BudgetSettings frugal = budget_settings(PrefetchBudget::kFrugal);
  EXPECT_GT(frugal.threshold, normal.threshold);
  EXPECT_GT(frugal.precision_min, normal.precision_min);
  EXPECT_LT(frugal.waste_share_max, normal.waste_share_max);
  EXPECT_EQ(prefetch_budget_name(PrefetchBudget::kNormal), "normal");
  EXPECT_EQ(prefetch_budget_name(PrefetchBudget::kFrugal), "frugal");
}

TEST(Threshold, GrowsWithThePagesThatARequestLacks) {
  const Threshold threshold(budget_settings(PrefetchBudget::kNormal));
  for (uint32_t missing = 1; missing < 128; ++missing) {
    EXPECT_GT(threshold.of(missing), 0);
    EXPECT_LT(threshold.of(missing), threshold.of(missing + 1));
    EXPECT_LT(threshold.of(missing), threshold.value());
  }
  EXPECT_LT(threshold.of(1), threshold.value() / 2);
  EXPECT_NEAR(threshold.of(UINT32_MAX), threshold.value(), 1e-6);
}

TEST(Threshold, RisesBelowTheWantedPrecisionAndComesBackAbove) {
  for (const PrefetchBudget budget : {PrefetchBudget::kNormal, PrefetchBudget::kFrugal}) {
    const BudgetSettings settings = budget_settings(budget);
    Threshold threshold(settings);
    for (int i = 0; i < 50000; ++i) threshold.learn(true);
    EXPECT_DOUBLE_EQ(threshold.value(), settings.threshold);
    double last = threshold.value();
    for (int i = 0; i < 50000; ++i) threshold.learn(false);
    EXPECT_GT(threshold.value(), last + 0.2);
    EXPECT_LE(threshold.value(), 4);
    last = threshold.value();
    for (int i = 0; i < 200; ++i) threshold.learn(false);
    EXPECT_GE(threshold.value(), last);
    // A little above what is wanted, in turn with failures.
    const auto good = static_cast<int>((settings.precision_min + 0.1) * 100);
    for (int i = 0; i < 1'000'000; ++i) threshold.learn(i % 100 < good);
    EXPECT_NEAR(threshold.value(), settings.threshold, 0.05);
  }
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
        EXPECT_GE(threshold.value(), 0.6);
        EXPECT_LE(threshold.value(), 1.3);
      }
    }
  }
}

}  // namespace
}  // namespace foreshard::policy
