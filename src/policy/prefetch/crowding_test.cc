// Proves when a way counts as full: many at once and each several times slower than on an empty way; never for a client
// that waits for each answer, never far away without a queue, and not for ever after the data has moved.
#include "policy/prefetch/crowding.h"

#include <gtest/gtest.h>

namespace foreshard::policy {
namespace {

constexpr uint64_t kMs = 1'000'000, kSecond = 1'000'000'000;

struct Way {
  Crowding crowding;
  uint64_t now_ns = 0;
  void reads(uint64_t count, uint64_t pages, uint64_t latency_ns, uint64_t pause_ns = kMs) {
    for (uint64_t i = 0; i < count; ++i) crowding.add(pages, latency_ns, now_ns += pause_ns);
  }
  // What requests of a client find that has sent as many at once, again and again.
  bool full(uint64_t pages, uint64_t at_once) {
    bool found = false;
    for (uint64_t i = 0; i < 200; ++i) found = crowding.full(pages, pages * (1 + i % at_once));
    return found;
  }
};

TEST(Crowding, IsManyAtOnceAndSlowerThanOnAnEmptyWay) {
  Way way;
  EXPECT_FALSE(way.full(32, 8));
  way.reads(10, 32, kMs / 4);
  EXPECT_FALSE(way.full(32, 8));
  way.reads(100, 32, 2 * kMs);
  EXPECT_TRUE(way.full(32, 8));
  EXPECT_TRUE(way.crowding.full(32, 32));  // the first of a burst
  EXPECT_FALSE(way.full(32, 3));
  EXPECT_TRUE(way.full(32, 16));
  EXPECT_FALSE(way.full(32, 1));
  EXPECT_TRUE(way.full(32, 8));
  way.reads(100, 32, kMs / 4);
  EXPECT_FALSE(way.full(32, 8));
}

TEST(Crowding, IsNotDistance) {
  Way way;
  way.reads(1000, 1, 5 * kMs);
  EXPECT_FALSE(way.full(1, 32));
}

TEST(Crowding, LargeReadsAreNotComparedWithSmallOnes) {
  Way way;
  for (int i = 0; i < 100; ++i) {
    way.reads(1, 1, kMs / 10);
    way.reads(1, 64, kMs);
  }
  EXPECT_FALSE(way.full(1, 32));
}

TEST(Crowding, ForgetsWhereTheDataOnceWas) {
  Way way;
  way.reads(10, 1, kMs);
  way.reads(200, 1, 5 * kMs);
  EXPECT_TRUE(way.full(1, 32));
  way.reads(3 * 3600, 1, 5 * kMs, kSecond);
  EXPECT_FALSE(way.full(1, 32));
}

TEST(Crowding, OneThatWaitedForAServerIsNoQueue) {
  Way way;
  way.reads(100, 1, kMs);
  way.reads(1, 1, 30 * kSecond);
  EXPECT_FALSE(way.full(1, 32));
  way.crowding.add(0, kMs, way.now_ns);
  way.crowding.add(1, 0, way.now_ns);
  way.crowding.add(UINT64_MAX, kMs, 0);
  EXPECT_FALSE(way.full(0, 32));
}

}  // namespace
}  // namespace foreshard::policy
