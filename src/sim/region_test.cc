// Proved here: a run of the whole region is the same bit for bit when repeated, and differs with the seed; it has
// the operations and faults that it promises.
#include "sim/region.h"

#include <gtest/gtest.h>

namespace foreshard::sim {
namespace {

RegionOutcome run(uint64_t seed) {
  RegionOptions options;
  options.seed = seed;
  options.operations_min = 300;
  options.virtual_ns_min = 60'000'000'000;
  return RegionRun(options).run();
}

TEST(RegionRun, OneSeedIsOneRun) {
  for (uint64_t seed : {11, 12, 13}) {
    const RegionOutcome first = run(seed), again = run(seed);
    EXPECT_EQ(first.fingerprint, again.fingerprint);
    EXPECT_EQ(first.steps, again.steps);
    EXPECT_EQ(first.operations, again.operations);
    EXPECT_EQ(first.counters, again.counters);
    EXPECT_NE(first.fingerprint, run(seed + 100).fingerprint);
  }
}

TEST(RegionRun, FaultsAndOperationsHappenAndNothingIsViolated) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    const RegionOutcome outcome = run(seed);
    EXPECT_FALSE(outcome.violation.has_value()) << seed << ": " << *outcome.violation;
    EXPECT_GE(outcome.operations, 300u);
    EXPECT_GE(outcome.faults, 10u);
  }
}

}  // namespace
}  // namespace foreshard::sim
