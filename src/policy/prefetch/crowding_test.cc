// Proves when a way counts as full: many at once and each several times slower than on an empty way; never for a client
// that waits for each answer, never for distance, size, disk or server, and not for ever after the data has moved.
#include "policy/prefetch/crowding.h"

#include <gtest/gtest.h>

namespace foreshard::policy {
namespace {

constexpr uint64_t kUs = 1000, kMs = 1'000'000;

struct Way {
  Crowding crowding;
  uint64_t now_ns = 0;
  void reads(uint64_t count, ServerRead read, uint64_t pause_ns = kMs) {
    for (uint64_t i = 0; i < count; ++i) crowding.add(read, now_ns += pause_ns);
  }
  // After requests of a client that has sent as many at once, again and again.
  bool full(uint64_t at_once) {
    for (uint64_t i = 0; i < 2000; ++i) crowding.note_request(1 + i % at_once);
    return crowding.full();
  }
};

ServerRead pages32(uint64_t latency_ns) { return {.server = 1, .pages = 32, .latency_ns = latency_ns}; }

TEST(Crowding, IsManyAtOnceAndSlowerThanOnAnEmptyWay) {
  Way way;
  EXPECT_FALSE(way.full(8));
  way.reads(10, pages32(kMs / 4));
  EXPECT_FALSE(way.full(8));
  way.reads(100, pages32(2 * kMs));
  EXPECT_TRUE(way.full(8));
  way.crowding.note_request(1);  // the first of a burst
  EXPECT_TRUE(way.crowding.full());
  EXPECT_FALSE(way.full(3));
  EXPECT_TRUE(way.full(16));
  EXPECT_FALSE(way.full(1));
  EXPECT_TRUE(way.full(8));
  way.reads(100, pages32(kMs / 4));
  EXPECT_FALSE(way.full(8));
}

// Most of what a client with many requests reads may be answered at once, and never be seen to wait.
TEST(Crowding, RemembersHowManyAClientSends) {
  Way way;
  way.reads(10, pages32(kMs / 4));
  way.reads(100, pages32(2 * kMs));
  for (int i = 0; i < 1000; ++i) way.crowding.note_request(i % 8 == 7 ? 8 : 1);
  EXPECT_TRUE(way.crowding.full());
}

TEST(Crowding, IsNotDistance) {
  Way way;
  for (int i = 0; i < 1000; ++i) {
    way.reads(1, {.server = 1, .pages = 1, .latency_ns = kMs / 4});
    way.reads(1, {.server = 2, .pages = 1, .latency_ns = 5 * kMs});
  }
  EXPECT_FALSE(way.full(32));
}

TEST(Crowding, IsNotTheDiskNorTheSize) {
  Way way;
  for (int i = 0; i < 1000; ++i) {
    way.reads(1, {.server = 1, .pages = 1, .latency_ns = 100 * kUs});
    way.reads(1, {.server = 1, .pages = 64, .latency_ns = kMs});
    way.reads(1, {.server = 1, .pages = 1, .latency_ns = 5 * kMs, .disk_ns = 4 * kMs});
  }
  EXPECT_FALSE(way.full(32));
}

TEST(Crowding, ForgetsWhereTheDataOnceWasHoweverBusyTheClient) {
  Way way;
  way.reads(10, {.server = 1, .pages = 1, .latency_ns = kMs / 4});
  way.reads(200, {.server = 1, .pages = 1, .latency_ns = 5 * kMs});
  EXPECT_TRUE(way.full(32));
  way.reads(4 * 3600 * 100, {.server = 1, .pages = 1, .latency_ns = 5 * kMs}, 10 * kMs);
  EXPECT_FALSE(way.full(32));
}

TEST(Crowding, OneThatWaitedForAServerIsNoQueue) {
  Way way;
  way.reads(100, pages32(kMs));
  way.reads(1, pages32(30'000 * kMs));
  EXPECT_FALSE(way.full(32));
  way.crowding.add({.pages = 0, .latency_ns = kMs}, way.now_ns);
  way.crowding.add({.pages = 1, .latency_ns = 0}, way.now_ns);
  way.crowding.add({.server = UINT64_MAX, .pages = UINT64_MAX, .latency_ns = UINT64_MAX}, 0);
  EXPECT_FALSE(way.full(32));
}

}  // namespace
}  // namespace foreshard::policy
