// Shows that room goes to the kind of page that would have been asked for again, that no kind loses all of its room,
// and that what a kind does not use is for the others.
#include "policy/cache/room_shares.h"

#include <gtest/gtest.h>

namespace foreshard::policy {
namespace {

double sum(const RoomShares& shares) {
  return shares.share(PageKind::kPrefetched) + shares.share(PageKind::kWritten) + shares.share(PageKind::kRead);
}

TEST(RoomShares, WhatIsMissedGetsTheRoomOfTheOthers) {
  RoomShares shares;
  const double before = shares.share(PageKind::kWritten);
  shares.give(PageKind::kWritten, 1000);
  EXPECT_GT(shares.share(PageKind::kWritten), before);
  EXPECT_LE(shares.share(PageKind::kWritten), before + 2.0 / 1000);
  for (int i = 0; i < 100000; ++i) shares.give(PageKind::kWritten, 1000);
  EXPECT_GT(shares.share(PageKind::kWritten), 0.9);
  EXPECT_NEAR(sum(shares), 1, 1e-9);
}

TEST(RoomShares, NoKindLosesAllOfIt) {
  for (const uint64_t capacity : {0, 1, 15, 1000}) {
    RoomShares shares;
    for (int i = 0; i < 100000; ++i) shares.give(PageKind::kRead, capacity);
    EXPECT_GT(shares.share(PageKind::kPrefetched), 0.03) << capacity;
    EXPECT_GT(shares.share(PageKind::kWritten), 0.03) << capacity;
    for (int i = 0; i < 100000; ++i) shares.give(PageKind::kPrefetched, capacity);
    EXPECT_GT(shares.share(PageKind::kPrefetched), 0.9) << capacity;
  }
}

TEST(RoomShares, RoomIsInProportionToWhatMoreOfItWouldSpare) {
  RoomShares shares;
  for (int i = 0; i < 100000; ++i) shares.give(i % 4 == 0 ? PageKind::kPrefetched : PageKind::kRead, 1000);
  const double ratio = shares.share(PageKind::kRead) / shares.share(PageKind::kPrefetched);
  EXPECT_NEAR(ratio, 3, 0.5);
}

TEST(RoomShares, TheKindFurthestBeyondItsShareGives) {
  const RoomShares shares;  // 0.6, 0.1, 0.3
  EXPECT_EQ(shares.most_beyond({650, 60, 290}, 1000), PageKind::kPrefetched);
  EXPECT_EQ(shares.most_beyond({590, 120, 290}, 1000), PageKind::kWritten);
  EXPECT_EQ(shares.most_beyond({500, 100, 400}, 1000), PageKind::kRead);
  // Within its share each: the least within it, but never a kind without pages.
  EXPECT_EQ(shares.most_beyond({10, 90, 100}, 1000), PageKind::kWritten);
  EXPECT_EQ(shares.most_beyond({10, 0, 0}, 1000), PageKind::kPrefetched);
  EXPECT_EQ(shares.most_beyond({0, 0, 1}, 1000), PageKind::kRead);
}

}  // namespace
}  // namespace foreshard::policy
