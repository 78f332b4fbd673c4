// Shows that the prefetcher reads ahead of streams and replays what recurs, also of two volumes at once and after a
// change; leaves random traffic alone within two percent of extra bytes; stops where nothing pays and starts again
// where it would; keeps its budget, its bounds and its conservation of pages; and fetches nothing in shadow.
#include "policy/prefetch/prefetcher.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "base/bytes.h"
#include "base/random.h"
#include "policy/cache/page_cache.h"

namespace foreshard::policy {
namespace {

// A volume with a cache and a prefetcher, as a driver holds them; fetches arrive at once unless they are held back.
struct Volume {
  explicit Volume(PrefetcherOptions options) : cache(options.cache_pages * kPageBytes) {
    prefetcher = std::make_unique<Prefetcher>(
        options, [this](uint64_t page) { return cache.contains(page); }, [this](uint64_t page) { cache.expect(page); },
        [this] { return cache.prefetching_pays(); });
    cache.watch_prefetching(options.mode == PrefetchMode::kOn);
    cache.set_on_wasted([this](uint64_t page, bool evicted) { prefetcher->on_wasted(page, evicted); });
  }
  static PrefetcherOptions options(PrefetchMode mode, uint64_t cache_pages = 4096) {
    PrefetcherOptions options;
    options.mode = mode;
    options.cache_pages = cache_pages;
    return options;
  }

  void arrive(PageRange range) {
    for (uint32_t i = 0; i < range.pages; ++i) cache.insert(range.first_page + i, Origin::kPrefetch);
    prefetcher->on_fetched(range, 100'000);
  }
  // Returns whether every page was there.
  bool read(uint64_t first, uint32_t pages) {
    Observation observation;
    observation.time_ns = time_ns += 1'000'000;
    observation.volume = VolumeId{volume};
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
  void write(uint64_t first, uint32_t pages) {
    cache.erase_range(first, pages);
    Observation observation;
    observation.first_page = first;
    observation.pages = pages;
    observation.write = true;
    std::vector<PageRange> none;
    prefetcher->on_access(observation, none);
    EXPECT_TRUE(none.empty());
  }
  PrefetchStatistics statistics() const { return prefetcher->statistics(); }
  void expect_conserved() const {
    const PrefetchCounts counts = statistics().total;
    EXPECT_EQ(counts.issued, counts.used + counts.wasted + counts.dropped + counts.waiting + counts.in_flight);
    EXPECT_EQ(counts.shadow_issued, counts.shadow_used + counts.shadow_wasted + counts.shadow_waiting);
    EXPECT_EQ(counts.issued, fetched_pages);
  }

  PageCache cache;
  std::unique_ptr<Prefetcher> prefetcher;
  std::vector<PageRange> ranges;
  uint64_t read_pages = 0, fetched_pages = 0, time_ns = 0, volume = 1;
  bool hold_back = false;
};

// Requests in an order that only their past tells.
std::vector<PageRange> random_requests(uint64_t seed, size_t count, uint64_t first_page = 0) {
  Random random(seed);
  std::vector<PageRange> requests;
  for (size_t i = 0; i < count; ++i) {
    requests.push_back({first_page + random.below(1u << 26), static_cast<uint32_t>(random.between(1, 4))});
  }
  return requests;
}

// Returns the share of the requests that found all of their pages.
double replay(Volume& volume, const std::vector<PageRange>& requests) {
  uint64_t hits = 0;
  for (const PageRange& request : requests) hits += volume.read(request.first_page, request.pages);
  return static_cast<double>(hits) / static_cast<double>(requests.size());
}

TEST(Prefetcher, StaysAheadOfASequentialReader) {
  Volume volume(Volume::options(PrefetchMode::kOn));
  uint64_t hits = 0;
  for (uint64_t i = 0; i < 5000; ++i) hits += volume.read(1000 + i * 4, 4);
  EXPECT_GE(hits, 4800u);
  volume.expect_conserved();
  EXPECT_GT(volume.statistics().precision(), 0.95);
  // What the cache saw is what the ledger says.
  EXPECT_EQ(volume.cache.statistics().prefetched_used, volume.statistics().total.used);
}

// A stream that skips some pages each time: where the next request begins is a guess, which is not a frugal one's.
TEST(Prefetcher, AFrugalOneGuessesLittleOfAStreamThatSkips) {
  PrefetcherOptions options = Volume::options(PrefetchMode::kOn, 8192);
  options.budget = PrefetchBudget::kFrugal;
  Volume volume(options);
  Random random(7);
  uint64_t page = 0;
  for (int i = 0; i < 50'000; ++i) volume.read(page += random.between(2, 17), 1);
  EXPECT_LT(volume.statistics().total.wasted * 20, volume.read_pages);
  volume.expect_conserved();
}

// Requests of 1 MiB too: one is worth nothing in part.
TEST(Prefetcher, FollowsAStreamOfLargeRequestsOnANewVolume) {
  for (const uint32_t pages : {32u, 128u, 256u}) {
    Volume volume(Volume::options(PrefetchMode::kOn, 16384));
    uint64_t hits = 0;
    for (uint64_t i = 0; i < 200; ++i) hits += volume.read(1000 + i * pages, pages);
    EXPECT_GE(hits, 180u) << pages;
    EXPECT_GT(volume.statistics().precision(), 0.95) << pages;
    volume.expect_conserved();
  }
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
  EXPECT_GE(volume.fetched_pages, 19000u);
}

TEST(Prefetcher, ReplaysARandomSequenceThatRecurs) {
  Volume volume(Volume::options(PrefetchMode::kOn, 512));
  const std::vector<PageRange> requests = random_requests(7, 2000);
  EXPECT_LT(replay(volume, requests), 0.05);
  EXPECT_GT(replay(volume, requests), 0.5);
  EXPECT_GT(replay(volume, requests), 0.8);
  volume.expect_conserved();
}

TEST(Prefetcher, ReplaysTheSequencesOfTwoVolumesThatAreInterleaved) {
  Volume volume(Volume::options(PrefetchMode::kOn, 512));
  const std::vector<PageRange> requests[2] = {random_requests(7, 1500), random_requests(8, 1500, uint64_t{1} << 40)};
  Random random(5);
  for (int pass = 0; pass < 3; ++pass) {
    size_t next[2] = {0, 0};
    uint64_t hits = 0;
    while (next[0] < 1500 || next[1] < 1500) {
      const size_t of = next[0] == 1500 ? 1 : next[1] == 1500 ? 0 : random.below(2);
      const PageRange& request = requests[of][next[of]++];
      volume.volume = 1 + of;
      hits += volume.read(request.first_page, request.pages);
    }
    if (pass == 1) EXPECT_GT(hits, 1500u);
    if (pass == 2) EXPECT_GT(hits, 2400u);
  }
  volume.expect_conserved();
}

TEST(Prefetcher, LearnsAfterAChangeWhatItDidNotKnowBefore) {
  Volume volume(Volume::options(PrefetchMode::kOn, 1024));
  // Long a reader of streams, then nothing worth a fetch, then another place and another kind of program.
  for (uint64_t i = 0; i < 20000; ++i) volume.read(i * 4, 4);
  Random random(4);
  for (int i = 0; i < 10000; ++i) volume.read(random.below(1u << 26), 1);
  const std::vector<PageRange> requests = random_requests(9, 2000, uint64_t{1} << 45);
  for (int pass = 0; pass < 3; ++pass) replay(volume, requests);
  EXPECT_GT(replay(volume, requests), 0.6);
  // And back.
  uint64_t hits = 0;
  for (uint64_t i = 0; i < 5000; ++i) hits += volume.read((uint64_t{1} << 30) + i * 4, 4);
  EXPECT_GT(hits, 4000u);
  volume.expect_conserved();
}

// In shadow a run is followed as far as it would be fetched, not by its first page only.
TEST(Prefetcher, ShadowFollowsWholeRuns) {
  Volume shadow(Volume::options(PrefetchMode::kShadow)), on(Volume::options(PrefetchMode::kOn));
  for (uint64_t i = 0; i < 3000; ++i) {
    shadow.read(i * 8, 8);
    on.read(i * 8, 8);
  }
  EXPECT_GT(shadow.statistics().total.shadow_used, 20'000u);
  EXPECT_GT(on.statistics().total.used, 20'000u);
}

TEST(Prefetcher, RandomTrafficCostsTwoPercentAtMost) {
  for (const uint64_t pages : {uint64_t{40960}, uint64_t{1} << 24}) {
    Volume volume(Volume::options(PrefetchMode::kOn));
    Random random(pages);
    for (int i = 0; i < 30000; ++i) volume.read(random.below(pages), 1);
    // Where a cache holds a tenth of all pages, what is fetched may well be read before it leaves.
    const uint64_t extra = pages == 40960 ? volume.statistics().total.wasted : volume.fetched_pages;
    EXPECT_LE(extra * 50, volume.read_pages) << pages;
    EXPECT_LE(volume.fetched_pages * 5, volume.read_pages) << pages;
    volume.expect_conserved();
  }
}

// Requests that come again soon, one by one; then many streams at once, of each of which the next request comes after
// all others: what is found out about the former must not hide the latter for ever, even where the former goes on
// beside.
TEST(Prefetcher, WhatIsUsedAtOnceDoesNotHideWhatIsUsedLater) {
  struct Case {
    uint32_t streams, pages, beside;
  };
  for (const auto& [streams, pages, beside] : {Case{64, 1, 0}, Case{40, 4, 0}, Case{64, 4, 0}, Case{40, 4, 20}}) {
    Volume volume(Volume::options(PrefetchMode::kOn, 65536));
    Random random(4);
    std::vector<uint64_t> job;
    for (int i = 0; i < 3000; ++i) job.push_back((uint64_t{1} << 41) + random.below(1 << 28));
    const auto forget = [&] {
      for (const uint64_t page : job) volume.cache.erase_range(page, 1);
    };
    for (int round = 0; round < 6; ++round) {
      for (const uint64_t page : job) volume.read(page, 1);
      forget();
    }
    std::vector<uint64_t> at;
    for (uint64_t i = 0; i < streams; ++i) at.push_back(i * 10'000'019);
    uint64_t hits = 0, asked = 0, goes_on = 0;
    for (uint64_t i = 0; i < 200'000; ++i) {
      uint64_t& next = at[i % streams];
      const bool hit = volume.read(next, pages);
      next += pages;
      if (i >= 100'000) hits += hit, ++asked;
      if (beside == 0 || i % beside != 0) continue;
      volume.read(job[goes_on++ % job.size()], 1);
      if (goes_on % job.size() == 0) forget();
    }
    EXPECT_GT(hits * 10, asked * 9) << streams << " streams of " << pages << " pages";
  }
}

// Any page may well be read before it leaves, but so would the one that it displaces: hardly anything is gained.
TEST(Prefetcher, WhereTheCacheHoldsAGoodPartOfRandomTrafficLittleIsFetched) {
  Volume volume(Volume::options(PrefetchMode::kOn));
  Random random(5);
  for (int i = 0; i < 100'000; ++i) volume.read(random.below(10'000), 1);
  EXPECT_LE(volume.statistics().total.wasted * 10, volume.read_pages);
  EXPECT_GE(volume.cache.payback()->stops(), 1u);
}

// Runs of requests, and away: returns the share of hits.
double read_runs(Volume& volume, Random& random, int runs, uint32_t requests, uint32_t pages) {
  uint64_t hits = 0;
  for (int i = 0; i < runs; ++i) {
    const uint64_t first = random.below(1u << 26);
    for (uint32_t j = 0; j < requests; ++j) hits += volume.read(first + uint64_t{j} * pages, pages);
  }
  return static_cast<double>(hits) / (static_cast<double>(runs) * requests);
}

// Some are read a thousand times as often as others, in no order: what is known of them is how often, not when. A
// prefetcher is right half of the time there, and each of its pages displaces one as good.
TEST(Prefetcher, RandomReadsOfPopularPagesAreLeftAloneOnceTheySpareNothing) {
  Volume volume(Volume::options(PrefetchMode::kOn, 2000));
  PageCache without(2000 * kPageBytes);
  Random random(9);
  uint64_t missed = 0, missed_without = 0;
  for (int i = 0; i < 200'000; ++i) {
    // About one over the rank.
    const auto rank = static_cast<uint64_t>(std::pow(20'000.0, random.fraction()));
    const uint64_t page = mix64(rank) % (1u << 20);
    missed += !volume.read(page, 1);
    if (without.find(page)) continue;
    ++missed_without;
    without.insert(page, Origin::kDemand);
  }
  EXPECT_LE(volume.statistics().total.wasted * 50, volume.read_pages);
  EXPECT_LE(missed, missed_without + volume.read_pages / 200);
  volume.expect_conserved();
  EXPECT_GE(volume.cache.payback()->stops(), 1u);
  // A stream is worth fetching all the same, once it is tried again.
  uint64_t hits = 0;
  for (uint64_t i = 0; i < 200'000; ++i) hits += volume.read((1u << 22) + i * 4, 4);
  EXPECT_GE(hits, 100'000u);
}

TEST(Prefetcher, StopsWhereNothingPaysAndStartsAgainWhereItWould) {
  Volume volume(Volume::options(PrefetchMode::kOn));
  Random random(2);
  for (int i = 0; i < 20000; ++i) volume.read(random.below(1u << 26), 8);
  const uint64_t before = volume.fetched_pages;
  for (int i = 0; i < 20000; ++i) volume.read(random.below(1u << 26), 8);
  // Stopped: nothing more is fetched, though the experts go on proposing in shadow.
  EXPECT_LE((volume.fetched_pages - before) * 200, 20000u * 8);
  EXPECT_GE(volume.statistics().stops, 1u);
  EXPECT_GT(volume.statistics().total.shadow_issued, 1000u);
  // Short runs now: reading ahead within each is worth it.
  read_runs(volume, random, 2000, 16, 2);
  EXPECT_GE(read_runs(volume, random, 1000, 16, 2), 0.75);
  EXPECT_GE(volume.statistics().starts, 1u);
  volume.expect_conserved();
}

// What came of the fetched is held against what is like it, and what is not fetched for that must not stay so for ever.
TEST(Prefetcher, WhatWasNoBetterThanWhatItDisplacesIsFetchedAgainOnceItIs) {
  PrefetcherOptions options = Volume::options(PrefetchMode::kOn);
  options.experts = {"log", "sequential", "stride", "footprint", "association", "delta"};  // near chooses by itself
  Volume volume(options);
  Random random(5);
  for (int i = 0; i < 100'000; ++i) volume.read(random.below(10'000), 1);
  LearnedState learned = volume.prefetcher->learned();
  for (size_t bin = Recalibration::kBins / 2; bin < Recalibration::kBins; ++bin) {
    learned.recalibration.common[bin] = {.samples = 2000, .bias = -0.9};
  }
  volume.prefetcher->restore(learned);
  EXPECT_LE(read_runs(volume, random, 1, 100, 4), 0.25);
  read_runs(volume, random, 400, 200, 4);
  EXPECT_GE(read_runs(volume, random, 20, 200, 4), 0.75);
}

// A bad past of what an expert chooses by a probability of its own must not speak against it for ever.
TEST(Prefetcher, WhatWasChosenInVainIsChosenAgainOnceItIsRead) {
  PrefetcherOptions options = Volume::options(PrefetchMode::kOn);
  options.experts = {"near"};
  Volume volume(options);
  Random random(5);
  // Four pages, and half of the time the four behind them, among reads that displacing a page costs much.
  for (int i = 0; i < 30'000; ++i) {
    for (int k = 0; k < 3; ++k) volume.read(random.below(10'000), 1);
    const uint64_t first = 20'000 + random.below(1u << 24) * 16;
    volume.read(first, 4);
    if (random.chance(0.5)) volume.read(first + 4, 4);
  }
  const uint64_t before = volume.fetched_pages;
  uint64_t hits = 0;
  for (int i = 0; i < 20'000; ++i) {
    const uint64_t first = (uint64_t{1} << 30) + static_cast<uint64_t>(i) * 1000;
    volume.read(first, 4);
    hits += volume.read(first + 4, 4);
  }
  EXPECT_GT(volume.fetched_pages, before);
  EXPECT_GE(hits, 15'000u);
}

// What the filter had judged and came to nothing says nothing of what is near to what is new.
TEST(Prefetcher, WhatOthersGuessedInVainIsNotHeldAgainstTheNear) {
  PrefetcherOptions options = Volume::options(PrefetchMode::kOn, 1024);
  options.experts = {"log", "near"};
  Volume volume(options);
  Random random(8);
  for (int i = 0; i < 250'000; ++i) {
    const uint64_t place = random.below(40'000);
    volume.read(place * 100, 1);
    volume.read((random.chance(0.22) ? place : random.below(40'000)) * 100 + 50, 1);
  }
  ASSERT_GT(volume.statistics().threshold, 0.8);
  // Four pages, and mostly the four behind them.
  uint64_t hits = 0, behind = 0;
  for (uint64_t i = 0; i < 6000; ++i) {
    const uint64_t first = (uint64_t{1} << 30) + i * 1000;
    volume.read(first, 4);
    if (!random.chance(0.65)) continue;
    ++behind;
    hits += volume.read(first + 4, 4);
  }
  EXPECT_GT(hits, behind * 3 / 4);
}

// Having stopped, it looks at a part of the requests only: which part must not hang on their rhythm.
TEST(Prefetcher, StartsAgainWhateverTheRhythm) {
  for (uint64_t phase = 0; phase < 8; ++phase) {
    Volume volume(Volume::options(PrefetchMode::kOn, 1024));
    Random random(2);
    for (uint64_t i = 0; i < 1600 + phase; ++i) volume.read(random.below(1u << 26), 4);
    read_runs(volume, random, 500, 8, 4);
    EXPECT_GE(read_runs(volume, random, 100, 8, 4), 0.4) << phase;
  }
}

// However bad it was, what is nearly sure is fetched again, be the requests small or large.
TEST(Prefetcher, ABadPastDoesNotStopItForEver) {
  for (const PrefetchBudget budget : {PrefetchBudget::kNormal, PrefetchBudget::kFrugal}) {
    PrefetcherOptions options = Volume::options(PrefetchMode::kOn);
    options.budget = budget;
    Volume volume(options);
    Random random(6);
    // Promises that are broken: long runs, then requests that look like the beginning of one.
    for (int round = 0; round < 25; ++round) {
      read_runs(volume, random, 20, 32, 4);
      read_runs(volume, random, 200, 1 + static_cast<uint32_t>(random.below(3)), 4);
    }
    read_runs(volume, random, 20, 200, 32);
    EXPECT_GE(read_runs(volume, random, 10, 200, 32), 0.75) << prefetch_budget_name(budget);
    volume.expect_conserved();
  }
}

TEST(Prefetcher, KeepsTheBudgetOfWaste) {
  uint64_t wasted[2];
  for (const PrefetchBudget budget : {PrefetchBudget::kNormal, PrefetchBudget::kFrugal}) {
    PrefetcherOptions options = Volume::options(PrefetchMode::kOn, 1024);
    options.budget = budget;
    Volume volume(options);
    Random random(4);
    for (int round = 0; round < 100; ++round) {
      // What paid a moment ago does not any more.
      if (round % 4 == 0) read_runs(volume, random, 10, 40, 4);
      for (int i = 0; i < 200; ++i) read_runs(volume, random, 1, static_cast<uint32_t>(random.between(1, 4)), 1);
    }
    const PrefetchStatistics statistics = volume.statistics();
    wasted[budget == PrefetchBudget::kFrugal] = statistics.total.wasted;
    // The first tokens come on top, and what is open was expected to cost what its probability said.
    const auto share = budget_settings(budget).waste_share_max;
    EXPECT_LE(static_cast<double>(statistics.total.wasted), share * static_cast<double>(volume.read_pages) + 1024);
    volume.expect_conserved();
  }
  EXPECT_LE(wasted[1], wasted[0]);
}

TEST(Prefetcher, WhatItStatesComesTrue) {
  Volume volume(Volume::options(PrefetchMode::kOn, 1024));
  Random random(12);
  for (int i = 0; i < 4000; ++i) read_runs(volume, random, 1, static_cast<uint32_t>(random.between(1, 12)), 2);
  const PrefetchStatistics statistics = volume.statistics();
  uint64_t pages = 0;
  for (const CalibrationBin& bin : statistics.reliability) pages += bin.pages;
  // Those that wait beyond the horizon are counted already.
  EXPECT_GE(pages, statistics.total.used + statistics.total.wasted);
  EXPECT_LE(pages, statistics.total.issued);
  EXPECT_LT(statistics.ece, 0.15);
  EXPECT_LE(statistics.brier, statistics.brier_base + 0.02);
}

TEST(Prefetcher, ShadowKeepsScoreAndFetchesNothing) {
  Volume volume(Volume::options(PrefetchMode::kShadow));
  for (uint64_t i = 0; i < 5000; ++i) volume.read(i * 4, 4);
  EXPECT_EQ(volume.fetched_pages, 0u);
  const PrefetchStatistics statistics = volume.statistics();
  EXPECT_GT(statistics.total.shadow_used, 3000u);
  EXPECT_GT(statistics.shadow_precision(), 0.8);
  EXPECT_EQ(statistics.total.issued, 0u);
  volume.expect_conserved();
  // Once it may, it fetches at once what it has learned in shadow.
  volume.prefetcher->set_mode(PrefetchMode::kOn);
  uint64_t hits = 0;
  for (uint64_t i = 5000; i < 5200; ++i) hits += volume.read(i * 4, 4);
  EXPECT_GE(hits, 150u);
}

TEST(Prefetcher, OffAndAnEmptyCacheDoNothing) {
  for (const PrefetchMode mode : {PrefetchMode::kOff, PrefetchMode::kOn}) {
    Volume volume(Volume::options(mode, mode == PrefetchMode::kOff ? 4096 : 0));
    for (uint64_t i = 0; i < 100; ++i) volume.read(i, 1);
    volume.prefetcher->hint({500, 100}, volume.ranges);
    EXPECT_TRUE(volume.ranges.empty());
    EXPECT_EQ(volume.fetched_pages, 0u);
    EXPECT_EQ(volume.statistics().total.shadow_issued, 0u);
  }
}

TEST(Prefetcher, PagesInFlightAreBoundedAndCountAsLateWhenAskedFor) {
  PrefetcherOptions options = Volume::options(PrefetchMode::kOn, 65536);
  options.in_flight_pages_max = 100;
  Volume volume(options);
  volume.hold_back = true;
  for (uint64_t i = 0; i < 40; ++i) {
    for (uint64_t stream = 0; stream < 30; ++stream) volume.read(stream * 100000 + i * 4, 4);
    EXPECT_LE(volume.statistics().total.in_flight, 100u);
  }
  const PrefetchStatistics statistics = volume.statistics();
  EXPECT_GT(statistics.total.late, 0u);
  EXPECT_GT(statistics.refused_in_flight, 0u);
  volume.expect_conserved();
}

TEST(Prefetcher, WhatIsDroppedMayBeFetchedAgain) {
  Volume volume(Volume::options(PrefetchMode::kOn));
  volume.hold_back = true;
  uint64_t again = 0;
  std::vector<uint8_t> fetched(20000, 0);
  for (uint64_t i = 0; i < 4000; ++i) {
    volume.read(i * 4, 4);
    for (const PageRange range : volume.ranges) {
      for (uint32_t i = 0; i < range.pages; ++i) again += fetched[range.first_page + i]++ != 0;
      volume.prefetcher->on_dropped(range);
    }
  }
  EXPECT_EQ(volume.statistics().total.in_flight, 0u);
  EXPECT_GT(again, 0u);
  volume.expect_conserved();
}

// Page 1001 cannot be fetched, by any way, until its time is over or it is written.
TEST(Prefetcher, WhatFailedIsLeftAloneForAWhileAndTheRestIsNot) {
  for (const bool write : {false, true}) {
    Volume volume(Volume::options(PrefetchMode::kOn, 256));
    uint64_t asked = 0, others = 0;
    const auto read_past_it = [&] {
      for (uint64_t first = 900; first < 1100; first += 4) {
        volume.hold_back = true;
        volume.read(first, 4);
        for (const PageRange range : volume.ranges) {
          for (uint64_t page = range.first_page; page < range.first_page + range.pages; ++page) {
            if (page == 1001) {
              ++asked;
              volume.prefetcher->on_dropped({page, 1});
              volume.prefetcher->on_failed({page, 1}, volume.time_ns);
            } else {
              others += page > 1001;
              volume.arrive({page, 1});
            }
          }
        }
      }
      volume.cache.erase_range(0, 2000);
    };
    while (asked == 0) read_past_it();
    others = 0;
    for (int i = 0; i < 5; ++i) read_past_it();
    EXPECT_EQ(asked, 1u);
    EXPECT_GT(others, 0u);
    std::vector<PageRange> hinted;
    volume.prefetcher->hint({1000, 3}, hinted);
    EXPECT_EQ(hinted, (std::vector<PageRange>{{1000, 3, Destination::kDriver, true}})) << "its client asks for it";
    for (const PageRange range : hinted) volume.prefetcher->on_dropped(range);
    write ? volume.write(1001, 1) : void(volume.time_ns += FailedFetches::kFirstNs);
    for (int i = 0; i < 5; ++i) read_past_it();
    EXPECT_EQ(asked, 2u);
  }
}

TEST(Prefetcher, ProposesNothingBeyondTheVolume) {
  PrefetcherOptions options = Volume::options(PrefetchMode::kOn);
  options.volume_pages = 4000;
  Volume volume(options);
  for (uint64_t i = 0; i < 1000; ++i) {
    volume.read(i * 4, 4);
    for (const PageRange range : volume.ranges) EXPECT_LE(range.first_page + range.pages, 4000u);
  }
  volume.ranges.clear();
  volume.prefetcher->hint({3990, 100}, volume.ranges);
  volume.prefetcher->hint({5000, 100}, volume.ranges);
  EXPECT_TRUE(volume.ranges.empty());  // the reader has been at those before the end
  // A volume that grows is followed into its new part.
  volume.prefetcher->set_volume_pages(8000);
  uint64_t hits = 0;
  for (uint64_t i = 1000; i < 2000; ++i) {
    hits += volume.read(i * 4, 4);
    for (const PageRange range : volume.ranges) EXPECT_LE(range.first_page + range.pages, 8000u);
  }
  EXPECT_GE(hits, 900u);
}

TEST(Prefetcher, AHintIsFetchedOnceAndKeptOutOfTheBudget) {
  Volume volume(Volume::options(PrefetchMode::kOn));
  volume.prefetcher->hint({300, 100}, volume.ranges);
  // Ranges end where a chunk does.
  EXPECT_EQ(volume.ranges, (std::vector<PageRange>{{300, 100, Destination::kDriver, true}}));
  const double tokens = volume.statistics().budget_tokens;
  std::vector<PageRange> again;
  volume.prefetcher->hint({300, 100}, again);
  EXPECT_TRUE(again.empty());
  volume.arrive({300, 50});
  volume.prefetcher->on_dropped({350, 50});
  for (uint64_t page = 300; page < 340; ++page) volume.read(page, 1);
  volume.cache.erase_range(340, 10);
  const PrefetchStatistics statistics = volume.statistics();
  const ExpertStatistics& hints = statistics.expert[statistics.experts - 1];
  EXPECT_EQ(hints.name, "hint");
  EXPECT_EQ(hints.counts.issued, 100u);
  EXPECT_EQ(hints.counts.used, 40u);
  EXPECT_EQ(hints.counts.wasted, 10u);
  EXPECT_EQ(hints.counts.dropped, 50u);
  EXPECT_GE(statistics.budget_tokens, tokens);
}

// Programs of 16 requests, half of which end early: where guesses are good, unused pages leave late, when newer ones
// have long taken their records. The cache knows what came of them.
TEST(Prefetcher, ThePrecisionThatIsToldIsThatOfTheCache) {
  Volume volume(Volume::options(PrefetchMode::kOn));
  Random random(5);
  for (int i = 0; i < 25'000; ++i) {
    const uint64_t program = random.below(2048);
    const uint64_t requests = random.chance(0.5) ? 16 : random.between(2, 9);
    for (uint64_t k = 0; k < requests; ++k) volume.read(mix64(program * 100 + k) % (1u << 30), 1);
  }
  PrefetchStatistics statistics = volume.statistics();
  const PageCacheStatistics& cached = volume.cache.statistics();
  EXPECT_GT(statistics.total.wasted, cached.prefetched_wasted * 11 / 10) << "else this shows nothing";
  statistics.ask_cache(volume.cache);
  EXPECT_EQ(statistics.total.wasted, cached.prefetched_wasted);
  EXPECT_EQ(statistics.total.used, cached.prefetched_used);
  EXPECT_EQ(statistics.total.issued,
            statistics.total.used + statistics.total.wasted + statistics.total.waiting + statistics.total.in_flight);
  EXPECT_NEAR(statistics.precision(),
              static_cast<double>(cached.prefetched_used) /
                  static_cast<double>(cached.prefetched_used + cached.prefetched_wasted),
              1e-9);
}

TEST(Prefetcher, AHintThatCrossesChunksIsCutThereAndBounded) {
  Volume volume(Volume::options(PrefetchMode::kOn, 65536));
  volume.prefetcher->hint({10, UINT32_MAX}, volume.ranges);
  uint64_t pages = 0;
  for (const PageRange range : volume.ranges) {
    EXPECT_EQ(range.first_page / kPagesPerChunk, (range.first_page + range.pages - 1) / kPagesPerChunk);
    EXPECT_EQ(range.first_page, 10 + pages);
    pages += range.pages;
  }
  EXPECT_EQ(pages, PrefetcherOptions{}.in_flight_pages_max);
}

TEST(Prefetcher, AStreamGoesOnBehindPagesThatWereCachedAlready) {
  Volume volume(Volume::options(PrefetchMode::kOn));
  uint64_t hits = 0;
  for (uint64_t page = 0; page < 3000; ++page) {
    if (page % 100 == 0) {
      for (uint64_t i = 50; i < 60; ++i) volume.cache.insert(page + i, Origin::kDemand);
    }
    hits += volume.read(page, 1);
  }
  EXPECT_GE(hits, 2700u);
}

TEST(Prefetcher, ConservesPagesWhateverHappens) {
  Volume volume(Volume::options(PrefetchMode::kOn, 256));
  Random random(21);
  std::vector<PageRange> pending;
  for (int i = 0; i < 20000; ++i) {
    const uint64_t first = random.chance(0.5) ? random.below(500) : static_cast<uint64_t>(i);
    if (random.chance(0.1)) {
      volume.write(first, static_cast<uint32_t>(random.between(1, 8)));
    } else {
      volume.hold_back = random.chance(0.5);
      volume.read(first, static_cast<uint32_t>(random.between(1, 8)));
      if (volume.hold_back) pending.insert(pending.end(), volume.ranges.begin(), volume.ranges.end());
    }
    if (i % 2000 == 0) volume.prefetcher->set_mode(i % 4000 == 0 ? PrefetchMode::kOn : PrefetchMode::kShadow);
    while (!pending.empty() && random.chance(0.6)) {
      std::swap(pending[random.below(pending.size())], pending.back());
      random.chance(0.7) ? volume.arrive(pending.back()) : volume.prefetcher->on_dropped(pending.back());
      pending.pop_back();
    }
    volume.expect_conserved();
  }
  const PrefetchCounts counts = volume.statistics().total;
  EXPECT_GT(counts.issued, 1000u);
  for (const PageRange range : pending) volume.arrive(range);
  EXPECT_EQ(volume.statistics().total.in_flight, 0u);
}

// Under the sanitizers this shows overflows too; without bounds it would take hours.
TEST(Prefetcher, AnyRequestEndsSoonAndStaysInsideTheVolume) {
  for (const uint64_t volume_pages : {uint64_t{1} << 40, UINT64_MAX}) {
    PrefetcherOptions options = Volume::options(PrefetchMode::kOn, 4096);
    options.volume_pages = volume_pages;
    // A cache that holds nothing: what is asked for is always missing.
    Prefetcher prefetcher(options, [](uint64_t) { return false; });
    Random random(31);
    const uint64_t bases[] = {0,         5000, uint64_t{1} << 40, uint64_t{1} << 52, kPageNumbers, uint64_t{1} << 63,
                              UINT64_MAX};
    uint64_t first = 0;
    for (int i = 0; i < 4000; ++i) {
      first = random.chance(0.6) ? first + random.below(12)
                                 : bases[random.below(std::size(bases))] + random.below(200) - 100;
      Observation observation;
      observation.time_ns = random.next();
      observation.first_page = first;
      observation.pages = random.chance(0.1) ? UINT32_MAX - static_cast<uint32_t>(random.below(3))
                                             : static_cast<uint32_t>(random.below(20));
      observation.write = random.chance(0.1);
      observation.missed_pages = observation.write ? 0 : observation.pages;
      std::vector<PageRange> ranges;
      prefetcher.on_access(observation, ranges);
      if (random.chance(0.05)) prefetcher.hint({first, observation.pages}, ranges);
      for (const PageRange range : ranges) {
        ASSERT_LT(range.first_page, volume_pages);
        ASSERT_LE(range.pages, volume_pages - range.first_page);
        ASSERT_LE(range.pages, kPagesPerChunk);
        random.chance(0.9) ? prefetcher.on_fetched(range, random.next()) : prefetcher.on_dropped(range);
      }
      if (random.chance(0.02)) prefetcher.on_first_use(first);
      if (random.chance(0.02)) prefetcher.on_wasted(first, random.chance(0.5));
    }
    const PrefetchCounts counts = prefetcher.statistics().total;
    EXPECT_EQ(counts.issued, counts.used + counts.wasted + counts.dropped + counts.waiting + counts.in_flight);
    EXPECT_EQ(counts.in_flight, 0u);
  }
}

}  // namespace
}  // namespace foreshard::policy
