// Shows that what an expert proposes after its request was answered is worth as much as what others propose at once: it
// is fetched when it proves right, stays unfetched when it does not, keeps to the mode, and leaves out what is there.
#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/random.h"
#include "policy/cache/page_cache.h"
#include "policy/prefetch/prefetcher.h"

namespace foreshard::policy {
namespace {

class Silent final : public Predictor {
 public:
  std::string_view name() const override { return "late"; }
  void observe(const Observation& observation, std::vector<Candidate>& candidates) override {}
  uint64_t memory_bytes_max() const override { return 0; }
};

// A volume whose only expert answers when it is told to.
struct Volume {
  explicit Volume(PrefetchMode mode) : cache(1024 * kPageBytes) {
    PrefetcherOptions options;
    options.mode = mode;
    options.cache_pages = 1024;
    options.experts = {"stride"};
    prefetcher = std::make_unique<Prefetcher>(options, [this](uint64_t page) { return cache.contains(page); });
    cache.set_on_wasted([this](uint64_t page, bool evicted) { prefetcher->on_wasted(page, evicted); });
    late = prefetcher->add_expert(std::make_unique<Silent>());
  }
  bool read(uint64_t page) {
    seen = {};
    seen.first_page = page;
    seen.pages = 1;
    const PageCache::Hit hit = cache.find(page);
    if (!hit) {
      seen.missed_pages = 1;
      cache.insert(page, Origin::kDemand);
    } else if (hit.first_use) {
      seen.hit_prefetched = true;
      prefetcher->on_first_use(page);
    }
    std::vector<PageRange> ranges;
    prefetcher->on_access(seen, ranges);
    fetch(ranges);
    return static_cast<bool>(hit);
  }
  void propose(uint64_t page) {
    Candidate candidate;
    candidate.first_page = page;
    candidate.pages = 1;
    candidate.confidence = 1;
    std::vector<PageRange> ranges;
    prefetcher->on_candidates(seen, late, {&candidate, 1}, ranges);
    fetch(ranges);
  }
  void fetch(const std::vector<PageRange>& ranges) {
    for (const PageRange range : ranges) {
      fetched += range.pages;
      for (uint32_t i = 0; i < range.pages; ++i) cache.insert(range.first_page + i, Origin::kPrefetch);
      prefetcher->on_fetched(range, 100'000);
    }
  }
  ExpertStatistics of_late() const { return prefetcher->statistics().expert[late]; }

  PageCache cache;
  std::unique_ptr<Prefetcher> prefetcher;
  uint8_t late = 0;
  Observation seen;
  uint64_t fetched = 0;
};

// What is read, and what is proposed behind each read: the next one, or another.
uint64_t walk(Volume& volume, bool right, size_t reads) {
  Random random(1);
  uint64_t hits = 0, page = random.below(1u << 26);
  for (size_t i = 0; i < reads; ++i) {
    hits += volume.read(page);
    page = random.below(1u << 26);
    volume.propose(right ? page : random.below(1u << 26));
  }
  return hits;
}

TEST(LateCandidates, AreFetchedWhenTheyProveRight) {
  Volume volume(PrefetchMode::kOn);
  EXPECT_GT(walk(volume, true, 4000), 3500u);
  const ExpertStatistics late = volume.of_late();
  EXPECT_EQ(late.name, "late");
  EXPECT_TRUE(late.active);
  EXPECT_GT(late.counts.used, 3500u);
  EXPECT_EQ(late.counts.issued, volume.fetched);
}

TEST(LateCandidates, AreNotWhenTheyProveWrong) {
  Volume volume(PrefetchMode::kOn);
  walk(volume, false, 8000);
  const uint64_t learned = volume.fetched;
  EXPECT_LT(learned, 800u);
  EXPECT_EQ(walk(volume, false, 4000), 0u);
  EXPECT_GT(volume.of_late().counts.shadow_issued, 1000u) << "they are followed still";
}

TEST(LateCandidates, KeepToTheMode) {
  Volume off(PrefetchMode::kOff), shadow(PrefetchMode::kShadow);
  EXPECT_EQ(walk(off, true, 1000), 0u);
  EXPECT_EQ(off.of_late().counts.shadow_issued, 0u);
  EXPECT_EQ(walk(shadow, true, 1000), 0u);
  EXPECT_GT(shadow.of_late().counts.shadow_used, 800u);
  EXPECT_EQ(off.fetched + shadow.fetched, 0u);
}

TEST(LateCandidates, WhatIsThereIsLeftOutAndNonsenseDoesNoHarm) {
  Volume volume(PrefetchMode::kOn);
  walk(volume, true, 1000);
  const uint64_t before = volume.fetched;
  volume.read(77);
  for (int i = 0; i < 100; ++i) volume.propose(77);
  EXPECT_EQ(volume.fetched, before);
  std::vector<PageRange> ranges;
  std::vector<Candidate> many(10'000);
  Random random(2);
  for (Candidate& candidate : many) {
    candidate.first_page = random.next();
    candidate.pages = static_cast<uint32_t>(random.next());
    candidate.expert = 200;
  }
  volume.prefetcher->on_candidates(volume.seen, volume.late, many, ranges);
  volume.prefetcher->on_candidates(volume.seen, volume.late, {}, ranges);
  EXPECT_LE(ranges.size(), 128u);
}

}  // namespace
}  // namespace foreshard::policy
