// Shows that what is displaced is worth what is read of it within its time, no more than that, that sampling does not
// favour those read early, and that it is forgotten where nothing is displaced any more.
#include "policy/prefetch/displacement.h"

#include <gtest/gtest.h>

#include <deque>

namespace foreshard::policy {
namespace {

// Pages leave one after the other; this share of them is read `after` pages later.
double worth_of(Displacement& displacement, double share, uint64_t after, uint64_t within, uint64_t pages,
                bool missed = true) {
  Random random(3);
  std::deque<uint64_t> left;
  for (uint64_t now = 0; now < pages; ++now) {
    displacement.evicted(now, now);
    left.push_back(now);
    if (left.size() <= after) continue;
    if (random.chance(share)) displacement.read(left.front(), 1, missed, now, within);
    left.pop_front();
  }
  return displacement.worth(1);
}

TEST(Displacement, NothingDisplacedIsWorthNothing) {
  Displacement displacement;
  EXPECT_EQ(displacement.worth(1), 0);
  displacement.read(0, 1000, true, 5, 10);
  EXPECT_EQ(displacement.worth(1), 0);
}

TEST(Displacement, IsTheShareThatIsReadInTime) {
  for (const double share : {0.05, 0.3, 0.5}) {
    Displacement displacement;
    EXPECT_NEAR(worth_of(displacement, share, 100, 500, 100'000), 1.25 * share, 0.08) << share;
  }
}

// All of its pages together spare one wait.
TEST(Displacement, APageOfALargeRequestIsWorthLessThanASingleOne) {
  Displacement displacement;
  Random random(3);
  constexpr uint64_t kPages = 64, kAfter = 40;
  for (uint64_t request = 0; request < 20'000; ++request) {
    const uint64_t now = request * kPages;
    for (uint64_t page = now; page < now + kPages; ++page) displacement.evicted(page, page);
    if (request >= kAfter && random.chance(0.5)) displacement.read(now - kAfter * kPages, kPages, true, now, 5000);
  }
  const double large = displacement.worth(kPages);
  EXPECT_NEAR(large, 0.625, 0.1);
  EXPECT_NEAR(displacement.worth(1), large / 8, 1e-9);
}

// What comes back in time by being fetched ahead again costs nobody a wait.
TEST(Displacement, WhatNobodyHadToWaitForIsWorthNothing) {
  Displacement displacement;
  EXPECT_EQ(worth_of(displacement, 0.5, 100, 500, 100'000, false), 0);
  EXPECT_NEAR(displacement.share(), 0.5, 0.07);
}

TEST(Displacement, SharesAreUsualUntilOneIsSeen) {
  Displacement unseen;
  EXPECT_DOUBLE_EQ(unseen.share(), Displacement::kUsualShare);
  for (const double share : {0.02, 0.4}) {
    Displacement displacement;
    worth_of(displacement, share, 100, 500, 100'000);
    EXPECT_NEAR(displacement.share(), share, 0.07) << share;
  }
}

TEST(Displacement, WhatIsReadTooLateDoesNotCount) {
  Displacement displacement;
  EXPECT_LT(worth_of(displacement, 0.9, 1000, 500, 100'000), 0.05);
}

TEST(Displacement, WhereMorePagesLeaveThanCanBeFollowedTheShareIsStillTrue) {
  Displacement displacement;
  EXPECT_NEAR(worth_of(displacement, 0.3, 30'000, 60'000, 2'000'000), 0.375, 0.1);
}

TEST(Displacement, NeverAsksForMoreThanANearlySurePageHas) {
  Displacement displacement;
  EXPECT_NEAR(worth_of(displacement, 1, 10, 100, 100'000), 0.8, 1e-9);
}

TEST(Displacement, IsForgottenWhereNothingIsDisplacedAnyMore) {
  Displacement displacement;
  const double worth = worth_of(displacement, 0.5, 100, 500, 100'000);
  for (int i = 0; i < 10'000; ++i) displacement.refused();
  EXPECT_GT(displacement.worth(1), worth * 0.9);
  for (int i = 0; i < 5'000'000; ++i) displacement.refused();
  EXPECT_LT(displacement.worth(1), worth * 0.05);
}

}  // namespace
}  // namespace foreshard::policy
