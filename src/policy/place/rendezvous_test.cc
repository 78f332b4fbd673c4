// Rendezvous placement spreads evenly and moves only what it must when a server goes.
#include "policy/place/rendezvous.h"

#include <map>

#include <gtest/gtest.h>

namespace foreshard::policy {
namespace {

TEST(Rendezvous, SpreadsEvenlyAndMovesOnlyTheLostServersShare) {
  const std::vector<ServerId> six = {{1}, {2}, {3}, {4}, {5}, {6}};
  const std::vector<ServerId> five = {{1}, {2}, {4}, {5}, {6}};
  std::map<uint64_t, int> share;
  constexpr int kItems = 60000;
  for (uint64_t i = 0; i < kItems; ++i) {
    const ServerId with = place_by_rendezvous(VolumeId{7}, i, six);
    const ServerId without = place_by_rendezvous(VolumeId{7}, i, five);
    ++share[with.value];
    if (with.value != 3) {
      EXPECT_EQ(with, without);
    }
  }
  ASSERT_EQ(share.size(), 6u);
  for (const auto& [server, items] : share) EXPECT_NEAR(items, kItems / 6, kItems / 60) << server;
}

TEST(Rendezvous, DoesNotDependOnTheOrderOfServers) {
  for (uint64_t i = 0; i < 1000; ++i)
    EXPECT_EQ(place_by_rendezvous(VolumeId{1}, i, {{1}, {2}, {3}}),
              place_by_rendezvous(VolumeId{1}, i, {{3}, {1}, {2}}));
}

}  // namespace
}  // namespace foreshard::policy
