// Shows that the prefetcher reads ahead of streams, leaves random traffic alone within two percent of extra bytes,
// stops an expert that does not pay and starts it again when it would, keeps its budget, its bounds and its
// conservation of pages, fetches nothing in shadow, and that its gates and budget do their arithmetic.
#include "policy/prefetch/prefetcher.h"

#include <gtest/gtest.h>

#include <memory>

#include "base/random.h"
#include "policy/cache/page_cache.h"

namespace foreshard::policy {
namespace {

// A volume with a cache and a prefetcher, as a driver holds them; fetches arrive at once unless they are held back.
struct Volume {
  explicit Volume(PrefetcherOptions options) : cache(options.cache_pages * kPageBytes) {
    prefetcher = std::make_unique<Prefetcher>(options, [this](uint64_t page) { return cache.contains(page); });
    cache.set_on_wasted([this](uint64_t page) { prefetcher->on_evicted_unused(page); });
  }
  static PrefetcherOptions options(PrefetchMode mode, uint64_t cache_pages = 4096) {
    PrefetcherOptions options;
    options.mode = mode;
    options.cache_pages = cache_pages;
    return options;
  }

  void arrive(PageRange range) {
    for (uint32_t i = 0; i < range.pages; ++i) cache.insert(range.first_page + i, Origin::kPrefetch);
    prefetcher->on_fetched(range);
  }
  // Returns whether every page was there.
  bool read(uint64_t first, uint32_t pages) {
    Observation observation;
    observation.first_page = first;
    observation.pages = pages;
    for (uint64_t page = first; page < first + pages; ++page) {
      const PageCache::Hit hit = cache.find(page);
      if (!hit) {
        ++observation.missed_pages;
        cache.insert(page, Origin::kDemand);
      }
      if (hit.first_use) {
        observation.hit_prefetched = true;
        prefetcher->on_first_use(page);
      }
    }
    ranges.clear();
    prefetcher->on_access(observation, ranges);
    read_pages += pages;
    for (const PageRange range : ranges) {
      fetched_pages += range.pages;
      if (!hold_back) arrive(range);
    }
    return observation.missed_pages == 0;
  }
  void expect_conserved() const {
    const PrefetchCounts counts = prefetcher->statistics().total;
    EXPECT_EQ(counts.issued, counts.used + counts.wasted + counts.dropped + counts.waiting + counts.in_flight);
    EXPECT_EQ(counts.shadow_issued, counts.shadow_used + counts.shadow_wasted + counts.shadow_waiting);
    EXPECT_EQ(counts.issued, fetched_pages);
  }

  PageCache cache;
  std::unique_ptr<Prefetcher> prefetcher;
  std::vector<PageRange> ranges;
  uint64_t read_pages = 0, fetched_pages = 0;
  bool hold_back = false;
};

TEST(Prefetcher, StaysAheadOfASequentialReader) {
  Volume volume(Volume::options(PrefetchMode::kOn));
  uint64_t hits = 0;
  for (uint64_t i = 0; i < 5000; ++i) hits += volume.read(1000 + i * 4, 4);
  EXPECT_GE(hits, 4990u);
  volume.expect_conserved();
  EXPECT_GT(volume.prefetcher->statistics().precision(), 0.99);
  // What the cache saw is what the ledger says.
  EXPECT_EQ(volume.cache.statistics().prefetched_used, volume.prefetcher->statistics().total.used);
}

TEST(Prefetcher, FetchesEachPageOnceInRangesThatCrossNoChunk) {
  Volume volume(Volume::options(PrefetchMode::kOn, 65536));
  std::vector<bool> fetched(40000, false);
  for (uint64_t i = 0; i < 5000; ++i) {
    volume.read(i * 4, 4);
    for (const PageRange range : volume.ranges) {
      EXPECT_EQ(range.first_page / kPagesPerChunk, (range.first_page + range.pages - 1) / kPagesPerChunk);
      for (uint64_t page = range.first_page; page < range.first_page + range.pages; ++page) {
        EXPECT_FALSE(fetched[page]);
        fetched[page] = true;
      }
    }
  }
}

TEST(Prefetcher, RandomTrafficCostsTwoPercentAtMost) {
  for (const uint64_t pages : {uint64_t{20000}, uint64_t{1} << 24}) {
    Volume volume(Volume::options(PrefetchMode::kOn));
    Random random(pages);
    for (int i = 0; i < 60000; ++i) volume.read(random.below(pages), 1);
    EXPECT_LE(volume.fetched_pages * 50, volume.read_pages) << pages;
    volume.expect_conserved();
  }
}

// A large request, a small one that follows on it, and away: a trap for readahead of every kind.
void read_pairs(Volume& volume, Random& random, int count) {
  for (int i = 0; i < count; ++i) {
    const uint64_t first = random.below(1u << 26);
    volume.read(first, 8);
    volume.read(first + 8, 1);
  }
}

TEST(Prefetcher, StopsWhatDoesNotPayAndStartsAgainWhenItWould) {
  Volume volume(Volume::options(PrefetchMode::kOn));
  Random random(2);
  read_pairs(volume, random, 10000);
  const uint64_t wasted_before = volume.fetched_pages;
  read_pairs(volume, random, 30000);
  // Stopped: hardly anything more is fetched, though the experts go on proposing in shadow.
  EXPECT_LE((volume.fetched_pages - wasted_before) * 50, 30000u * 9);
  const PrefetchStatistics stopped = volume.prefetcher->statistics();
  EXPECT_GE(stopped.stops, 1u);
  EXPECT_GT(stopped.total.shadow_issued, 1000u);
  // Short runs of 16 requests now: the second request of each is worth reading ahead from again.
  uint64_t hits = 0;
  for (int i = 0; i < 3000; ++i) {
    const uint64_t first = random.below(1u << 26);
    for (uint64_t j = 0; j < 16; ++j) {
      const bool hit = volume.read(first + j * 2, 2);
      if (i >= 2000) hits += hit;
    }
  }
  EXPECT_GE(hits, 1000u * 16 * 8 / 10);
  EXPECT_GE(volume.prefetcher->statistics().starts, 1u);
  volume.expect_conserved();
}

TEST(Prefetcher, KeepsTheBudgetOfWaste) {
  PrefetcherOptions options = Volume::options(PrefetchMode::kOn);
  options.waste_share_max = 0.05;
  options.precision_min = 0;  // the budget alone brakes
  Volume volume(options);
  Random random(4);
  read_pairs(volume, random, 20000);
  const PrefetchStatistics statistics = volume.prefetcher->statistics();
  EXPECT_GT(statistics.refused_budget, 1000u);
  // The first tokens come on top.
  EXPECT_LE(statistics.total.wasted + statistics.total.waiting, volume.read_pages / 20 + 512);
  volume.expect_conserved();
}

TEST(Prefetcher, ShadowKeepsScoreAndFetchesNothing) {
  Volume volume(Volume::options(PrefetchMode::kShadow));
  for (uint64_t i = 0; i < 3000; ++i) volume.read(i * 4, 4);
  EXPECT_EQ(volume.fetched_pages, 0u);
  const PrefetchStatistics statistics = volume.prefetcher->statistics();
  EXPECT_GT(statistics.total.shadow_used, 10000u);
  EXPECT_GT(statistics.shadow_precision(), 0.9);
  EXPECT_EQ(statistics.total.issued, 0u);
  volume.expect_conserved();
}

TEST(Prefetcher, OffAndAnEmptyCacheDoNothing) {
  for (const PrefetchMode mode : {PrefetchMode::kOff, PrefetchMode::kOn}) {
    Volume volume(Volume::options(mode, mode == PrefetchMode::kOff ? 4096 : 0));
    for (uint64_t i = 0; i < 100; ++i) volume.read(i, 1);
    volume.prefetcher->hint({500, 100}, volume.ranges);
    EXPECT_TRUE(volume.ranges.empty());
    EXPECT_EQ(volume.fetched_pages, 0u);
    EXPECT_EQ(volume.prefetcher->statistics().total.shadow_issued, 0u);
  }
}

TEST(Prefetcher, PagesInFlightAreBoundedAndCountAsLateWhenAskedFor) {
  PrefetcherOptions options = Volume::options(PrefetchMode::kOn, 65536);
  options.in_flight_pages_max = 100;
  Volume volume(options);
  volume.hold_back = true;
  for (uint64_t i = 0; i < 10; ++i) {
    for (uint64_t stream = 0; stream < 20; ++stream) volume.read(stream * 100000 + i * 4, 4);
    EXPECT_LE(volume.prefetcher->statistics().total.in_flight, 100u);
  }
  const PrefetchStatistics statistics = volume.prefetcher->statistics();
  EXPECT_GT(statistics.total.late, 0u);
  EXPECT_GT(statistics.refused_in_flight, 0u);
  volume.expect_conserved();
}

TEST(Prefetcher, ProposesNothingBeyondTheVolume) {
  PrefetcherOptions options = Volume::options(PrefetchMode::kOn);
  options.volume_pages = 1000;
  Volume volume(options);
  for (uint64_t i = 0; i < 250; ++i) {
    volume.read(i * 4, 4);
    for (const PageRange range : volume.ranges) EXPECT_LE(range.first_page + range.pages, 1000u);
  }
  volume.ranges.clear();
  volume.prefetcher->hint({990, 100}, volume.ranges);
  volume.prefetcher->hint({5000, 100}, volume.ranges);
  EXPECT_TRUE(volume.ranges.empty());  // the stream has fetched those before the end already
}

TEST(Prefetcher, AHintIsFetchedOnceAndKeptOutOfTheBudget) {
  Volume volume(Volume::options(PrefetchMode::kOn));
  volume.prefetcher->hint({300, 100}, volume.ranges);
  EXPECT_EQ(volume.ranges, (std::vector<PageRange>{{300, 100}}));
  const double tokens = volume.prefetcher->statistics().budget_tokens;
  std::vector<PageRange> again;
  volume.prefetcher->hint({300, 100}, again);
  EXPECT_TRUE(again.empty());
  volume.arrive({300, 50});
  volume.prefetcher->on_dropped({350, 50});
  for (uint64_t page = 300; page < 340; ++page) volume.read(page, 1);
  volume.cache.erase_range(340, 10);
  const PrefetchCounts counts = volume.prefetcher->statistics().expert[2].counts;
  EXPECT_EQ(counts.issued, 100u);
  EXPECT_EQ(counts.used, 40u);
  EXPECT_EQ(counts.wasted, 10u);
  EXPECT_EQ(counts.dropped, 50u);
  EXPECT_GE(volume.prefetcher->statistics().budget_tokens, tokens);
}

TEST(Prefetcher, APlainHitThatAStreamAwaitsAdvancesIt) {
  Volume volume(Volume::options(PrefetchMode::kOn));
  // Pages that are cached on demand already lie in the stream's way.
  for (uint64_t i = 100; i < 110; ++i) {
    volume.cache.insert(i, Origin::kDemand);
  }
  for (uint64_t page = 90; page < 140; ++page) {
    const bool hit = volume.read(page, 1);
    if (page > 92) EXPECT_TRUE(hit) << page;
  }
}

TEST(PrecisionGates, CloseBelowTheLeastPrecisionAndReopenAMarginAbove) {
  PrecisionGates gates(0.25);
  EXPECT_FALSE(gates.open(0, 0));  // a guess must earn it
  EXPECT_TRUE(gates.open(0, 7));
  for (int i = 0; i < 1000; ++i) gates.learn({.expert = 0, .bucket = 7, .used = false, .shadow = false});
  EXPECT_FALSE(gates.open(0, 7));
  EXPECT_TRUE(gates.open(1, 7));
  for (int i = 0; i < 1000; ++i) gates.learn({.expert = 0, .bucket = 7, .used = i % 20 < 5, .shadow = true});
  EXPECT_FALSE(gates.open(0, 7));
  for (int i = 0; i < 2000; ++i) gates.learn({.expert = 0, .bucket = 7, .used = i % 10 < 4, .shadow = true});
  EXPECT_TRUE(gates.open(0, 7));
  EXPECT_NEAR(gates.precision(0, 7), 0.4, 0.05);
  EXPECT_EQ(gates.stops(), 1u);
  EXPECT_EQ(gates.starts(), 1u);
}

TEST(WasteBudget, AffordsWhatItsTokensCoverIfPrecisionHolds) {
  WasteBudget none(0);
  none.earn(1000);
  EXPECT_EQ(none.affordable(0.99, 0), 0u);
  WasteBudget budget(0.1);
  const double first = budget.tokens();
  budget.earn(1000);
  EXPECT_DOUBLE_EQ(budget.tokens(), first + 100);
  EXPECT_EQ(budget.affordable(0.5, 0), static_cast<uint64_t>((first + 100) / 0.5));
  EXPECT_EQ(budget.affordable(0.5, static_cast<uint64_t>((first + 100) / 0.5)), 0u);
  for (int i = 0; i < 1000; ++i) budget.waste();
  EXPECT_EQ(budget.affordable(0.999, 0), 0u);
  EXPECT_EQ(confidence_bucket(-1), 0);
  EXPECT_EQ(confidence_bucket(0.5f), 4);
  EXPECT_EQ(confidence_bucket(1), 7);
}

}  // namespace
}  // namespace foreshard::policy
