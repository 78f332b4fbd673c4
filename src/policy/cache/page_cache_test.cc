// Shows that PageCache returns what was last stored and nothing else, keeps its byte bound, accounts for every
// prefetched page, and resists scans: against a plain map as model, under random operations.
#include "policy/cache/page_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "base/random.h"

namespace foreshard::policy {
namespace {

void fill(std::byte* page, uint64_t value) {
  ASSERT_NE(page, nullptr);
  std::memcpy(page, &value, 8);
  std::memcpy(page + kPageBytes - 8, &value, 8);
}

uint64_t content(const std::byte* page) {
  uint64_t front = 0, back = 0;
  std::memcpy(&front, page, 8);
  std::memcpy(&back, page + kPageBytes - 8, 8);
  return front == back ? front : ~uint64_t{0};
}

// The model knows each page's newest content and which pages were prefetched and not used since; the cache may
// have evicted any of them, but must say so of prefetched ones.
struct Model {
  explicit Model(uint64_t capacity_pages, uint64_t seed) : cache(capacity_pages * kPageBytes), random(seed) {
    cache.set_on_wasted([this](uint64_t key, bool) { wasted.insert(key); });
    cache.set_on_used([this](uint64_t key) { used.insert(key); });
  }

  void expect_wasted(bool expected, uint64_t key) {
    EXPECT_EQ(wasted.erase(key) == 1, expected) << key;
    unused.erase(key);
  }
  void settle_evictions() {
    for (const uint64_t key : wasted) {
      EXPECT_EQ(unused.erase(key), 1u) << key;
      EXPECT_FALSE(cache.contains(key));
    }
    wasted.clear();
  }
  void insert(uint64_t key) {
    const Origin origin = static_cast<Origin>(random.below(3));
    const bool there = cache.contains(key);
    const uint64_t value = origin != Origin::kWrite && there ? newest[key] : random.next() | 1;
    std::byte* page = cache.insert(key, origin);
    if (cache.capacity_bytes() == 0) {
      EXPECT_EQ(page, nullptr);
      return;
    }
    fill(page, value);
    newest[key] = value;
    if (there && origin == Origin::kWrite) expect_wasted(unused.contains(key), key);
    const bool first_use = there && origin == Origin::kDemand && unused.erase(key) == 1;
    EXPECT_EQ(used.erase(key) == 1, first_use) << key;
    settle_evictions();
    if (!there && origin == Origin::kPrefetch) unused.insert(key);
  }
  void find(uint64_t key) {
    const bool there = cache.contains(key);
    const PageCache::Hit hit = cache.find(key);
    EXPECT_EQ(static_cast<bool>(hit), there);
    if (!hit) return;
    EXPECT_EQ(content(hit.data), newest.at(key));
    EXPECT_EQ(hit.first_use, unused.erase(key) == 1) << key;
    EXPECT_TRUE(used.empty());
  }
  void erase_range(uint64_t first, uint64_t count) {
    const uint64_t before = cache.used_bytes() / kPageBytes;
    const uint64_t erased = cache.erase_range(first, count);
    EXPECT_EQ(cache.used_bytes() / kPageBytes + erased, before);
    for (uint64_t key = first; key < first + std::min<uint64_t>(count, 4096); ++key) {
      EXPECT_FALSE(cache.contains(key));
      newest.erase(key);
    }
    settle_evictions();
  }
  void step(uint64_t keys) {
    const uint64_t key = keys_base + random.below(keys);
    const uint64_t what = random.below(1000);
    if (what < 450) {
      insert(key);
    } else if (what < 900) {
      find(key);
    } else if (what < 950) {
      const bool there = cache.contains(key);
      EXPECT_EQ(cache.erase(key), there);
      EXPECT_FALSE(cache.contains(key));
      settle_evictions();
    } else if (what < 990) {
      std::byte* page = cache.overwrite(key);
      if (page == nullptr) return;
      expect_wasted(unused.contains(key), key);
      fill(page, newest[key] = random.next() | 1);
    } else if (what < 998) {
      const uint64_t huge = uint64_t{1} << 40;
      erase_range(key, random.chance(0.1) ? huge : random.below(40));
    } else {
      cache.set_capacity(random.below(300) * kPageBytes);
      settle_evictions();
    }
  }

  PageCache cache;
  Random random;
  uint64_t keys_base = 0;
  std::map<uint64_t, uint64_t> newest;
  std::set<uint64_t> unused, wasted, used;
};

// Whether it was there; now it is.
bool read(PageCache& cache, uint64_t key) {
  if (cache.find(key)) return true;
  cache.insert(key, Origin::kDemand);
  return false;
}

// Behind another cache: what is asked for once leaves what is asked for again where it is.
TEST(PageCache, FullItIsForPagesThatAreAskedForTwice) {
  PageCache cache(64 * kPageBytes);
  for (uint64_t key = 0; key < 64; ++key) {
    EXPECT_TRUE(cache.worth_inserting(key));  // there is room
    fill(cache.insert(key, Origin::kDemand), key);
  }
  for (uint64_t key = 1000; key < 1020; ++key) EXPECT_FALSE(cache.worth_inserting(key));
  EXPECT_TRUE(cache.worth_inserting(7));
  int remembered = 0;  // the newer of two in one place of its memory
  for (uint64_t key = 1000; key < 1020; ++key) remembered += cache.worth_inserting(key);
  EXPECT_GE(remembered, 10);
  for (uint64_t key = 5000; key < 9000; ++key) EXPECT_FALSE(cache.worth_inserting(key));
  EXPECT_FALSE(cache.worth_inserting(5000));  // so long ago that it would not have lasted
  EXPECT_EQ(cache.used_bytes(), cache.capacity_bytes());
  EXPECT_FALSE(PageCache(0).worth_inserting(1));
}

TEST(PageCache, BehavesAsItsModelUnderRandomOperations) {
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    Model model(seed % 3 == 0 ? 0 : 20 * seed, seed);
    model.keys_base = seed % 2 == 0 ? 0 : seed << 50;
    for (int i = 0; i < 8000; ++i) {
      model.step(600);
      ASSERT_LE(model.cache.used_bytes(), model.cache.capacity_bytes());
      if (i % 500 == 0) model.cache.check();
    }
    model.cache.check();
    ASSERT_EQ(model.cache.statistics().prefetched_waiting, model.unused.size());
    if (testing::Test::HasFailure()) FAIL() << "seed " << seed;
  }
}

// What a second tier behind it lives on: each page that had to go is told of once, whole, and with whether it was worth
// keeping; what is erased or was prefetched for nothing is not.
TEST(PageCache, TellsOfWhatItEvictsWithTheData) {
  PageCache cache(10 * kPageBytes);
  std::map<uint64_t, bool> evicted;
  cache.set_on_evicted([&](uint64_t key, const std::byte* data, bool used_again) {
    EXPECT_EQ(content(data), key + 1);
    EXPECT_TRUE(evicted.emplace(key, used_again).second) << key;
  });
  for (uint64_t key = 0; key < 9; ++key) fill(cache.insert(key, Origin::kDemand), key + 1);
  fill(cache.insert(9, Origin::kPrefetch), 10);
  for (uint64_t key = 0; key < 3; ++key) EXPECT_TRUE(cache.find(key));
  cache.erase(8);
  EXPECT_TRUE(evicted.empty());
  cache.set_capacity(0);
  const std::map<uint64_t, bool> expected = {{0, true},  {1, true},  {2, true},  {3, false},
                                             {4, false}, {5, false}, {6, false}, {7, false}};
  EXPECT_EQ(evicted, expected);
}

TEST(PageCache, AZeroCapacityNeverStores) {
  PageCache cache(4095);
  EXPECT_EQ(cache.insert(1, Origin::kDemand), nullptr);
  EXPECT_FALSE(cache.contains(1));
  EXPECT_FALSE(cache.find(1));
  EXPECT_EQ(cache.overwrite(1), nullptr);
  EXPECT_FALSE(cache.erase(1));
  EXPECT_EQ(cache.erase_range(0, UINT64_MAX), 0u);
  EXPECT_EQ(cache.statistics().misses, 1u);
}

TEST(PageCache, OnePageOfCapacityHoldsTheLastOne) {
  PageCache cache(kPageBytes);
  for (uint64_t key = 0; key < 10; ++key) {
    fill(cache.insert(key, static_cast<Origin>(key % 3)), key);
    EXPECT_EQ(content(cache.peek(key)), key);
    EXPECT_EQ(cache.used_bytes(), kPageBytes);
  }
  cache.check();
}

// A working set that is used again and again survives a scan ten times as long as the cache, which would leave an
// LRU cache with nothing of it.
TEST(PageCache, AScanLeavesTheWorkingSetAlone) {
  PageCache cache(1000 * kPageBytes);
  for (int round = 0; round < 3; ++round) {
    for (uint64_t key = 0; key < 500; ++key) {
      read(cache, key);
    }
  }
  for (uint64_t key = 100000; key < 110000; ++key) {
    read(cache, key);
  }
  uint64_t left = 0;
  for (uint64_t key = 0; key < 500; ++key) left += cache.contains(key);
  EXPECT_GE(left, 450u);
}

// Without room of their own, pages that are written once would push out what is read before it is read again.
TEST(PageCache, WhatIsWrittenAndNeverReadLeavesTheRoomToWhatIsRead) {
  PageCache cache(1000 * kPageBytes);
  uint64_t hits = 0, written = 1u << 20;
  for (int round = 0; round < 40; ++round) {
    hits = 0;
    for (uint64_t key = 0; key < 700; ++key) {
      hits += read(cache, key);
      for (int i = 0; i < 2; ++i) cache.insert(written++, Origin::kWrite);
    }
  }
  EXPECT_GE(hits, 650u);
  cache.check();
}

TEST(PageCache, WhatIsReadSoonAfterItWasWrittenGetsRoom) {
  PageCache cache(1000 * kPageBytes);
  constexpr uint64_t kLater = 450;  // written pages begin with a tenth, and what is free of the third that nothing uses
  uint64_t hits = 0;
  for (uint64_t key = kLater; key < 60000; ++key) {
    cache.insert(key, Origin::kWrite);
    for (uint64_t once = 0; once < 2; ++once) cache.insert((2 * key + once) | uint64_t{1} << 40, Origin::kDemand);
    // Now and then sooner than that, as times of reading spread.
    const bool hit = read(cache, key - (key % 4 == 0 ? kLater / 8 * (1 + key / 4 % 8) : kLater));
    hits += hit && key >= 50000;
  }
  EXPECT_GE(hits, 7000u);
  cache.check();
}

TEST(PageCache, WhatIsPrefetchedTooEarlyGetsRoom) {
  for (const uint64_t ahead : {700, 800}) {
    PageCache cache(1000 * kPageBytes);
    uint64_t used = 0;
    for (uint64_t key = ahead; key < 40000; ++key) {
      cache.insert(key, Origin::kPrefetch);
      cache.insert(key | uint64_t{1} << 40, Origin::kDemand);
      if (cache.find(key - ahead).first_use) {
        used += key >= 30000;
      } else {
        cache.insert(key - ahead, Origin::kDemand);
      }
    }
    EXPECT_GE(used, 9000u) << ahead;
    cache.check();
  }
}

// What was fetched ahead in vain, and again just before its use, need have been fetched once only.
TEST(PageCache, WhatIsPrefetchedTwiceForWantOfRoomGetsRoom) {
  PageCache cache(1000 * kPageBytes);
  constexpr uint64_t kAhead = 740, kAgain = 10;
  uint64_t twice = 0;
  for (uint64_t key = kAhead; key < 60000; ++key) {
    cache.insert(key, Origin::kPrefetch);
    if (!cache.contains(key - kAhead + kAgain)) {
      cache.insert(key - kAhead + kAgain, Origin::kPrefetch);
      twice += key >= 50000;
    }
    read(cache, key - kAhead);
    cache.insert(key | uint64_t{1} << 40, Origin::kDemand);
  }
  EXPECT_LE(twice, 500u);
  cache.check();
}

// Pushed to the minimum by what is read, prefetched pages find room again when they would be used.
TEST(PageCache, AKindThatHadNoUseForRoomGetsItBack) {
  PageCache cache(1000 * kPageBytes);
  Random random(3);
  for (int i = 0; i < 200'000; ++i) {
    const uint64_t key = random.below(1 + random.below(3000));
    read(cache, key);
    cache.insert((uint64_t{1} << 50) + static_cast<uint64_t>(i), Origin::kPrefetch);
  }
  constexpr uint64_t kAhead = 250;
  uint64_t used = 0;
  for (uint64_t key = uint64_t{1} << 51; key < (uint64_t{1} << 51) + 40'000; ++key) {
    cache.insert(key, Origin::kPrefetch);
    used += cache.find(key - kAhead).first_use && key >= (uint64_t{1} << 51) + 30'000;
    if (!cache.contains(key - kAhead)) cache.insert(key - kAhead, Origin::kDemand);
    cache.insert(key | uint64_t{1} << 40, Origin::kDemand);
  }
  EXPECT_GE(used, 9000u);
}

// Large requests that come again later than the small queue lasts go into the main one as a whole: one page less, and
// they are missed.
TEST(PageCache, RequestsOfManyPagesComeBackWhole) {
  constexpr uint64_t kRequests = 20, kPages = 32;
  PageCache cache(1000 * kPageBytes);
  uint64_t whole = 0, once = uint64_t{1} << 40;
  for (int round = 0; round < 5; ++round) {
    for (uint64_t request = 0; request < kRequests; ++request) {
      uint64_t hits = 0;
      for (uint64_t page = 0; page < kPages; ++page) hits += read(cache, request * 1000 + page);
      whole += round >= 2 && hits == kPages;
      for (uint64_t i = 0; i < kPages; ++i) read(cache, once++);
    }
  }
  EXPECT_GE(whole, 3 * kRequests - 2);
  cache.check();
}

// What does not fit is not all thrown away, as LRU would.
TEST(PageCache, OfALoopLargerThanItMuchStays) {
  PageCache cache(1000 * kPageBytes);
  uint64_t hits = 0;
  for (int round = 0; round < 60; ++round) {
    for (uint64_t key = 0; key < 1200; ++key) {
      const bool hit = read(cache, key * 2);
      hits += hit && round >= 50;
    }
  }
  EXPECT_GE(hits, 10u * 1200 * 4 / 10);
}

// In a server's cache: pages that were refused and then let in must not take the room of those that were warmed.
TEST(PageCache, WhatWasRefusedAsksForNoRoom) {
  PageCache cache(1000 * kPageBytes);
  uint64_t used = 0, next = uint64_t{1} << 40;
  for (uint64_t step = 300; step < 30'000; ++step) {
    cache.insert(step, Origin::kPrefetch);
    used += cache.find(step - 300).first_use && step >= 20'000;
    for (uint64_t i = 0; i < 4; ++i) {
      for (const uint64_t key : {next, next - 20}) {
        if (!cache.find(key) && cache.worth_inserting(key)) cache.insert(key, Origin::kDemand);
      }
      ++next;
    }
  }
  EXPECT_GE(used, 9500u);
  cache.check();
}

TEST(PageCache, MadeSmallerItKeepsWhatIsUsed) {
  PageCache cache(1000 * kPageBytes);
  for (int round = 0; round < 3; ++round) {
    for (uint64_t key = 0; key < 100; ++key) {
      read(cache, key);
    }
  }
  for (uint64_t key = 1000; key < 1100; ++key) cache.insert(key, Origin::kWrite);
  for (uint64_t key = 2000; key < 2800; ++key) cache.insert(key, Origin::kPrefetch);
  cache.set_capacity(300 * kPageBytes);
  cache.check();
  uint64_t left = 0;
  for (uint64_t key = 0; key < 100; ++key) left += cache.contains(key);
  EXPECT_GE(left, 75u);
  EXPECT_LE(cache.statistics().prefetched_waiting, 200u);
}

// To begin with they leave it a third; more where it is missed.
TEST(PageCache, PrefetchedPagesThatNobodyUsesGiveWayToTheWorkingSet) {
  PageCache cache(1000 * kPageBytes);
  uint64_t wasted = 0, prefetched = 0, hits = 0;
  cache.set_on_wasted([&](uint64_t, bool) { ++wasted; });
  const auto round = [&] {
    hits = 0;
    for (uint64_t key = 0; key < 400; ++key) {
      hits += read(cache, key);
      for (int i = 0; i < 4; ++i) cache.insert(100000 + prefetched++, Origin::kPrefetch);
    }
  };
  for (int i = 0; i < 20; ++i) round();
  EXPECT_GE(hits, 390u);
  EXPECT_EQ(wasted + cache.statistics().prefetched_waiting, prefetched);
}

TEST(PageCache, TheSameCallsLeaveTheSamePages) {
  const auto run = [] {
    PageCache cache(200 * kPageBytes);
    Random random(7);
    for (int i = 0; i < 20000; ++i) {
      const uint64_t key = random.below(500) * random.below(3);
      if (!cache.find(key)) cache.insert(key, static_cast<Origin>(random.below(3)));
    }
    std::vector<bool> present;
    for (uint64_t key = 0; key < 1000; ++key) present.push_back(cache.contains(key));
    return present;
  };
  EXPECT_EQ(run(), run());
}

TEST(PageCache, GrowingKeepsEveryPage) {
  PageCache cache(100 * kPageBytes);
  for (uint64_t key = 0; key < 100; ++key) fill(cache.insert(key, Origin::kDemand), key + 1);
  cache.set_capacity(1000 * kPageBytes);
  for (uint64_t key = 0; key < 100; ++key) EXPECT_EQ(content(cache.find(key).data), key + 1);
  for (uint64_t key = 100; key < 1000; ++key) fill(cache.insert(key, Origin::kDemand), key + 1);
  cache.check();
  EXPECT_EQ(cache.used_bytes(), 1000 * kPageBytes);
  cache.set_capacity(10 * kPageBytes);
  cache.check();
  uint64_t left = 0;
  for (uint64_t key = 0; key < 1000; ++key) {
    if (!cache.contains(key)) continue;
    EXPECT_EQ(content(cache.peek(key)), key + 1);
    ++left;
  }
  EXPECT_EQ(left, 10u);
}

TEST(PageCache, StaysWithinItsStatedMetadata) {
  // 5/3 entries and the two spare ones, a slot, two ghosts and an eighth of a counter.
  const double bytes = 5.0 / 3 * 16 + 16 + Ghosts::kBytesPerPage + 0.5;
  EXPECT_LE(bytes + 1, static_cast<double>(PageCache::kMetadataBytesPerPage));
}

}  // namespace
}  // namespace foreshard::policy
