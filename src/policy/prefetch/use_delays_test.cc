// Shows that the delay before which nearly all are used is found to within a quarter, is not stated before it is known,
// and follows a change.
#include "policy/prefetch/use_delays.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace foreshard::policy {
namespace {

TEST(UseDelays, AreNotKnownAtFirst) {
  UseDelays delays;
  for (int i = 0; i < 255; ++i) delays.add(10);
  EXPECT_EQ(delays.nearly_all(), UseDelays::kUnknown);
  delays.add(10);
  EXPECT_LT(delays.nearly_all(), 15u);
}

TEST(UseDelays, TellWhenNearlyAllAreUsed) {
  for (const uint64_t scale : {uint64_t{1}, uint64_t{7}, uint64_t{1000}, uint64_t{1} << 30}) {
    UseDelays delays;
    Random random(5);
    for (int i = 0; i < 4096; ++i) delays.add(random.below(100) * scale);
    EXPECT_GE(delays.nearly_all(), 92 * scale) << scale;
    EXPECT_LE(delays.nearly_all(), 125 * scale) << scale;
  }
}

TEST(UseDelays, AFewThatTakeVeryLongDoNotCount) {
  UseDelays delays;
  for (int i = 0; i < 4096; ++i) delays.add(i % 50 == 0 ? UINT64_MAX : 100);
  EXPECT_LE(delays.nearly_all(), 130u);
  EXPECT_GE(delays.nearly_all(), 100u);
}

TEST(UseDelays, FollowAChange) {
  UseDelays delays;
  for (int i = 0; i < 100'000; ++i) delays.add(100'000);
  EXPECT_GE(delays.nearly_all(), 100'000u);
  for (int i = 0; i < 100'000; ++i) delays.add(50);
  EXPECT_LE(delays.nearly_all(), 70u);
  for (int i = 0; i < 10'000; ++i) delays.add(3000);
  EXPECT_GE(delays.nearly_all(), 3000u);
}

}  // namespace
}  // namespace foreshard::policy
