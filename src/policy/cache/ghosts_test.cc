#include "policy/cache/ghosts.h"

#include <gtest/gtest.h>

namespace foreshard::policy {
namespace {

TEST(Ghosts, SaysHowItWentAndWhetherALittleMoreRoomWouldHaveKeptIt) {
  Ghosts ghosts;
  ghosts.reset(1000);
  for (uint64_t key = 0; key < 300; ++key) ghosts.remember(key, Gone::kUnread);
  ASSERT_TRUE(ghosts.find(299));
  EXPECT_EQ(ghosts.find(299)->how, Gone::kUnread);
  EXPECT_TRUE(ghosts.find(299)->near);
  EXPECT_FALSE(ghosts.find(0)->near);
  EXPECT_FALSE(ghosts.find(300));
}

TEST(Ghosts, WhatGoesAgainIsAsNewAsItsLastTime) {
  Ghosts ghosts;
  ghosts.reset(1000);
  ghosts.remember(7, Gone::kUnused);
  for (uint64_t key = 1000; key < 1800; ++key) ghosts.remember(key, Gone::kUnused);
  ghosts.remember(7, Gone::kFromSmall);
  ASSERT_TRUE(ghosts.find(7));
  EXPECT_EQ(ghosts.find(7)->how, Gone::kFromSmall);
  EXPECT_TRUE(ghosts.find(7)->near);
  ghosts.forget(7);
  EXPECT_FALSE(ghosts.find(7));
}

// A request is missed by one page of it that was forgotten.
TEST(Ghosts, NearlyAllAreRemembered) {
  Ghosts ghosts;
  ghosts.reset(10'000);
  for (uint64_t key = 0; key < 100'000; ++key) ghosts.remember(key * 3, Gone::kFromSmall);
  uint64_t found = 0;
  for (uint64_t key = 91'000; key < 100'000; ++key) found += ghosts.find(key * 3).has_value();
  EXPECT_GE(found, 8900u);
  for (uint64_t key = 0; key < 80'000; ++key) ASSERT_FALSE(ghosts.find(key * 3)) << key;
}

TEST(Ghosts, ResetForgetsAll) {
  Ghosts ghosts;
  ghosts.reset(100);
  ghosts.remember(1, Gone::kUnused);
  ghosts.reset(200);
  EXPECT_FALSE(ghosts.find(1));
}

}  // namespace
}  // namespace foreshard::policy
