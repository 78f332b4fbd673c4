// Shows that a watched cache knows what prefetching spares: counted beside a second cache that is shown the same reads
// and no prefetches, whole for a small cache and sampled for a large one.
#include "policy/cache/without_prefetch.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/random.h"

namespace foreshard::policy {
namespace {

// A cache into which what is proposed goes before it is read, beside one without.
struct Pair {
  explicit Pair(uint64_t pages) : with(pages * kPageBytes), without(pages * kPageBytes) {
    with.watch_prefetching(true);
  }
  void read(uint64_t page) {
    missed_with += miss(with, page);
    missed_without += miss(without, page);
  }
  void prefetch(uint64_t page) { with.insert(page, Origin::kPrefetch); }
  void write(uint64_t page) {
    for (PageCache* cache : {&with, &without}) {
      cache->erase_range(page, 1);
      cache->insert(page, Origin::kWrite);
    }
  }
  static bool miss(PageCache& cache, uint64_t page) {
    if (cache.find(page)) return false;
    cache.insert(page, Origin::kDemand);
    return true;
  }
  uint64_t ended() const { return with.statistics().prefetched_used + with.statistics().prefetched_wasted; }
  int64_t spared() const { return static_cast<int64_t>(missed_without - missed_with); }

  PageCache with, without;
  uint64_t missed_with = 0, missed_without = 0;
};

// Popular pages, in no order.
uint64_t popular(Random& random, uint64_t pages) {
  return static_cast<uint64_t>(std::pow(static_cast<double>(pages), random.fraction()));
}

// What is prefetched is read sometimes, but what it displaces more often: until the cache says so.
void prefetch_in_vain(Pair& pair, Random& random) {
  for (int i = 0; i < 60'000 && pair.with.prefetching_pays(); ++i) {
    pair.read(popular(random, 4000));
    for (int k = 0; k < 2; ++k) pair.prefetch(popular(random, 4000));
  }
  ASSERT_FALSE(pair.with.prefetching_pays());
}

void expect_true_gain(uint64_t cache_pages, double tolerance) {
  Random random(1);
  Pair pair(cache_pages);
  uint64_t stream = 1u << 30, ended = 0;
  int64_t spared = 0;
  const uint64_t reads = cache_pages * 12 + 30'000;
  for (uint64_t i = 0; i < reads; ++i) {
    if (i == reads - reads / 3) ended = pair.ended(), spared = pair.spared();
    pair.read(popular(random, cache_pages * 8));
    if (i % 16 == 0) pair.write(popular(random, cache_pages * 8));
    if (i % 4 != 0) continue;
    pair.prefetch(++stream);
    pair.read(stream);
    pair.prefetch(popular(random, cache_pages * 8));
  }
  ASSERT_NE(pair.with.payback(), nullptr);
  const std::optional<double> gain = pair.with.payback()->gain();
  ASSERT_TRUE(gain.has_value());
  EXPECT_NEAR(*gain, static_cast<double>(pair.spared() - spared) / static_cast<double>(pair.ended() - ended),
              tolerance);
  EXPECT_TRUE(pair.with.prefetching_pays());
  pair.with.check();
}

TEST(WithoutPrefetch, KnowsWhatASmallCacheWouldMiss) { expect_true_gain(1000, 0.05); }
TEST(WithoutPrefetch, EstimatesWhatALargeCacheWouldMiss) { expect_true_gain(64 * 1024, 0.08); }

TEST(WithoutPrefetch, FollowsTheCacheWhereNothingIsPrefetched) {
  Random random(2);
  Pair pair(500);
  for (int i = 0; i < 20'000; ++i) {
    pair.read(popular(random, 4000));
    if (i % 5 == 0) pair.write(popular(random, 4000));
    if (i % 100 == 0) pair.with.erase_range(i % 4000, 64), pair.without.erase_range(i % 4000, 64);
  }
  EXPECT_EQ(pair.missed_with, pair.missed_without);
  EXPECT_FALSE(pair.with.payback()->gain().has_value());
  EXPECT_TRUE(pair.with.prefetching_pays());
}

// What is prefetched is read sometimes, but what it displaces more often.
TEST(WithoutPrefetch, WherePrefetchingOnlyDisplacesTheCacheSaysSoAndDropsWhatWaits) {
  Random random(3);
  Pair pair(1000);
  uint64_t i = 0;
  for (; i < 60'000 && pair.with.prefetching_pays(); ++i) {
    pair.read(popular(random, 4000));
    for (int k = 0; k < 2; ++k) pair.prefetch(popular(random, 4000));
  }
  ASSERT_FALSE(pair.with.prefetching_pays());
  EXPECT_GT(pair.missed_with * 10, pair.missed_without * 9);
  const uint64_t waiting = pair.with.statistics().prefetched_waiting;
  EXPECT_GT(waiting, 100u);
  for (uint64_t k = 0; k < 4 * waiting; ++k) pair.read(popular(random, 4000));
  EXPECT_EQ(pair.with.statistics().prefetched_waiting, 0u);
  pair.with.check();
}

// A client's hints are its own affair: useless ones do not stop prediction, and what waits of them when that is stopped
// waits on.
TEST(WithoutPrefetch, HintsAreNotJudgedAndNotDropped) {
  Random random(3);
  Pair pair(1000);
  for (int i = 0; i < 60'000; ++i) {
    pair.read(popular(random, 4000));
    pair.with.insert((1u << 30) + i, Origin::kHint);
  }
  EXPECT_TRUE(pair.with.prefetching_pays());
  EXPECT_FALSE(pair.with.payback()->gain().has_value());
  Pair other(1000);
  for (int i = 0; i < 60'000 && other.with.prefetching_pays(); ++i) {
    other.read(popular(random, 4000));
    for (int k = 0; k < 2; ++k) other.prefetch(popular(random, 4000));
    if (i % 100 == 0) other.with.insert((1u << 30) + i / 100 % 50, Origin::kHint);
  }
  ASSERT_FALSE(other.with.prefetching_pays());
  uint64_t there = 0, stay = 0;
  for (int i = 0; i < 50; ++i) there += other.with.contains((1u << 30) + i);
  for (uint64_t k = 0; k < 2000; ++k) other.read(popular(random, 4000));
  for (int i = 0; i < 50; ++i) stay += other.with.contains((1u << 30) + i);
  EXPECT_GT(there, 10u);
  EXPECT_EQ(stay, there);
  EXPECT_EQ(other.with.statistics().prefetched_waiting, there);
  other.with.check();
}

// What waited when it was stopped, and then went, makes nothing go that comes later.
TEST(WithoutPrefetch, WhatComesAfterTheStopIsNotDroppedForWhatWaitedThen) {
  Random random(3);
  Pair pair(1000);
  ASSERT_NO_FATAL_FAILURE(prefetch_in_vain(pair, random));
  const uint64_t waiting = pair.with.statistics().prefetched_waiting;
  pair.read(1u << 29);  // makes room
  pair.with.erase_range(0, 5000);
  pair.without.erase_range(0, 5000);
  for (uint64_t k = 0; k < waiting / 2; ++k) pair.prefetch((1u << 30) + k);
  for (uint64_t k = 0; k < 1000; ++k) pair.read((1u << 28) + k % 700);
  uint64_t stay = 0;
  for (uint64_t k = 0; k < waiting / 2; ++k) stay += pair.with.contains((1u << 30) + k);
  EXPECT_EQ(stay, waiting / 2);
}

TEST(WithoutPrefetch, NoReadIsLostThatASecondTierHas) {
  Random random(3);
  Pair pair(1000);
  pair.with.set_at_hand([](uint64_t) { return true; });
  for (int i = 0; i < 60'000; ++i) {
    pair.read(popular(random, 4000));
    pair.prefetch((1u << 30) + i);
    if (i % 5 == 0) pair.read((1u << 30) + i);
  }
  EXPECT_TRUE(pair.with.prefetching_pays());
  EXPECT_NEAR(pair.with.payback()->gain().value_or(0), 0.2, 0.05);
}

// Demand reads that the cache's owner keeps out of it, as those of a scan, pass the time too.
TEST(WithoutPrefetch, WhatIsReadAndNotKeptPassesTheTime) {
  Random random(3);
  Pair pair(1000);
  ASSERT_NO_FATAL_FAILURE(prefetch_in_vain(pair, random));
  for (uint64_t page = 0; page < 5000; ++page) (void)pair.with.find((1u << 30) + page);
  EXPECT_TRUE(pair.with.prefetching_pays());
}

TEST(WithoutPrefetch, ItIsWatchedOnlyWhileAskedForAndWithAnyCapacity) {
  PageCache cache(0);
  cache.watch_prefetching(true);
  EXPECT_EQ(cache.payback(), nullptr);
  EXPECT_FALSE(cache.find(1));
  cache.set_capacity(100 * kPageBytes);
  EXPECT_NE(cache.payback(), nullptr);
  EXPECT_GE(cache.memory_bytes_max(), 100 * kPageBytes + WithoutPrefetch::kBytesMax);
  cache.set_capacity(0);
  EXPECT_EQ(cache.payback(), nullptr);
  cache.set_capacity(100 * kPageBytes);
  cache.watch_prefetching(false);
  EXPECT_EQ(cache.payback(), nullptr);
  EXPECT_TRUE(cache.prefetching_pays());
}

}  // namespace
}  // namespace foreshard::policy
