// Proves when the servers' memory is a destination: where their disks are a good part of a read, for pages that are not
// probable enough for the cache, within a budget of its own; never in shadow, nor where it was not asked for; and that
// every page is accounted for.
#include "policy/prefetch/warming.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "policy/prefetch/prefetcher.h"

namespace foreshard::policy {
namespace {

constexpr uint64_t kUs = 1000;

Warming warming_after(uint64_t reads, uint64_t latency_ns, uint64_t disk_ns) {
  Warming warming(budget_settings(PrefetchBudget::kNormal));
  warming.set_enabled(true);
  for (uint64_t i = 0; i < reads; ++i) warming.on_read(latency_ns, disk_ns);
  return warming;
}

TEST(Warming, PaysWhereTheDiskIsAGoodPartOfARead) {
  EXPECT_FALSE(warming_after(10, 200 * kUs, 150 * kUs).pays());
  EXPECT_TRUE(warming_after(100, 200 * kUs, 150 * kUs).pays());
  EXPECT_FALSE(warming_after(100, 5000 * kUs, 150 * kUs).pays());
  EXPECT_FALSE(warming_after(100, 60 * kUs, 0).pays());
  EXPECT_FALSE(warming_after(100, 0, kUs).pays());
  Warming off = warming_after(100, 200 * kUs, 150 * kUs);
  off.set_enabled(false);
  EXPECT_FALSE(off.pays());
  Warming moved = warming_after(100, 200 * kUs, 150 * kUs);
  for (int i = 0; i < 1000; ++i) moved.on_read(5000 * kUs, 150 * kUs);
  EXPECT_FALSE(moved.pays());
}

TEST(Warming, AsksForLessThanTheCacheAndStopsWhenTheBudgetIsSpent) {
  Warming warming = warming_after(100, 200 * kUs, 150 * kUs);
  const Threshold driver(budget_settings(PrefetchBudget::kNormal));
  EXPECT_TRUE(warming.allows(driver.of(8) * 0.8, 8, false));
  EXPECT_FALSE(warming.allows(driver.of(8) * 0.7, 8, false));
  EXPECT_TRUE(warming.allows(driver.of(8) * 0.7, 8, true));
  EXPECT_FALSE(warming.allows(driver.of(8) * 0.3, 8, true));
  uint64_t wasted = 0;
  for (; warming.allows(0.9, 8, false) && wasted < 100'000; ++wasted) {
    warming.issue();
    warming.arrived(1);
    warming.outcome(false);
  }
  EXPECT_LT(wasted, 1000u);
  EXPECT_EQ(warming.statistics().wasted, wasted);
  warming.earn(10'000);
  EXPECT_TRUE(warming.allows(0.99, 8, false));
}

TEST(Warming, StopsSoonWhereOneOfTenIsUsed) {
  Warming warming = warming_after(100, 200 * kUs, 150 * kUs);
  warming.earn(1'000'000);
  uint64_t issued = 0;
  for (; warming.allows(0.6, 8, false) && issued < 100'000; ++issued) {
    warming.earn(10);
    warming.issue();
    warming.arrived(1);
    warming.outcome(issued % 10 == 0);
  }
  EXPECT_LT(issued, 3000u);
  EXPECT_TRUE(warming.allows(0.97, 8, false));  // what is nearly sure goes on, and brings it down again
}

TEST(Warming, IsBoundedUnderWay) {
  Warming warming = warming_after(100, 200 * kUs, 150 * kUs);
  warming.earn(1'000'000);
  uint64_t issued = 0;
  for (; warming.allows(1, 8, false) && issued < 100'000; ++issued) warming.issue();
  EXPECT_LE(issued, 128u);
  warming.arrived(issued);
  EXPECT_EQ(warming.statistics().in_flight, 0u);
  warming.arrived(1);
  EXPECT_EQ(warming.statistics().in_flight, 0u);
}

// After each of 100 large requests another one follows nearly half of the time.
struct Coin {
  Prefetcher prefetcher;
  Random random{7};
  uint64_t time_ns = 0, far = 1u << 24;
  uint64_t here = 0, there = 0;
  explicit Coin(PrefetcherOptions options) : prefetcher(options, [](uint64_t) { return false; }) {}

  void read(uint64_t first_page, uint64_t disk_ns) {
    constexpr uint32_t kPages = 16;
    prefetcher.on_read({.pages = kPages, .latency_ns = 200 * kUs, .disk_ns = disk_ns}, time_ns += 1000 * kUs);
    Observation seen;
    seen.time_ns = time_ns;
    seen.volume = VolumeId{1};
    seen.first_page = first_page;
    seen.pages = seen.missed_pages = kPages;
    std::vector<PageRange> ranges;
    prefetcher.on_access(seen, ranges);
    for (const PageRange& range : ranges) {
      if (range.destination == Destination::kServer) {
        there += range.pages;
        prefetcher.on_warmed(range);
      } else {
        here += range.pages;
        prefetcher.on_fetched(range, 200 * kUs);
      }
    }
  }
  void run(uint64_t disk_ns) {
    for (int i = 0; i < 20'000; ++i) {
      const uint64_t one = random.below(100) * 100'000;
      read(one, disk_ns);
      read(random.chance(0.47) ? one + 50'000 : (far += 1000), disk_ns);
    }
  }
  static PrefetcherOptions options(PrefetchMode mode, bool warms) {
    PrefetcherOptions options;
    options.mode = mode;
    options.volume = VolumeId{1};
    options.cache_pages = 1024;
    options.warms_server = warms;
    return options;
  }
};

TEST(Warming, TakesWhatTheCacheDoesNot) {
  Coin coin(Coin::options(PrefetchMode::kOn, true));
  coin.run(150 * kUs);
  const WarmingStatistics warming = coin.prefetcher.statistics().warming;
  EXPECT_GT(coin.there, 10'000u);
  EXPECT_EQ(warming.issued, coin.there);
  EXPECT_EQ(warming.in_flight, 0u);
  EXPECT_GT(warming.used, coin.there / 5);
  EXPECT_LE(warming.used + warming.wasted + warming.taken, warming.issued);
  EXPECT_GE(warming.used + warming.wasted + warming.taken + 8192, warming.issued);
}

TEST(Warming, IsNotDoneFarAwayNorInShadowNorUnasked) {
  Coin far(Coin::options(PrefetchMode::kOn, true));
  far.run(20 * kUs);
  EXPECT_EQ(far.there, 0u);
  Coin shadow(Coin::options(PrefetchMode::kShadow, true));
  shadow.run(150 * kUs);
  EXPECT_EQ(shadow.there + shadow.here, 0u);
  Coin unasked(Coin::options(PrefetchMode::kOn, false));
  unasked.run(150 * kUs);
  EXPECT_EQ(unasked.there, 0u);
}

}  // namespace
}  // namespace foreshard::policy
