// predict_bench: what the page cache and the watching of accesses cost, in ns of one core.
//   hit:  look one cached page up, and show the request to the prefetcher (off, shadow, on)
//   miss: requests of a kind, with and without experts, filter and ledger
// Prints the fastest of 9 runs of each, and the median: what else the machine does can only add.
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/random.h"
#include "policy/cache/page_cache.h"
#include "policy/prefetch/prefetcher.h"

using namespace foreshard;
using namespace foreshard::policy;

namespace {

constexpr int kRuns = 9;
constexpr uint64_t kOperations = 2'000'000;

// CPU time, since other work on the machine should not count.
double cpu_ns() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

struct Cost {
  double least_ns = 0, median_ns = 0;
};

template <class Body>
Cost cost_of(uint64_t operations, Body body) {
  std::vector<double> runs;
  for (int run = 0; run < kRuns; ++run) {
    const double start_ns = cpu_ns();
    body();
    runs.push_back((cpu_ns() - start_ns) / static_cast<double>(operations));
  }
  std::sort(runs.begin(), runs.end());
  return {runs[0], runs[kRuns / 2]};
}

std::vector<uint64_t> random_pages(uint64_t bound) {
  Random random(1);
  std::vector<uint64_t> pages(kOperations);
  for (uint64_t& page : pages) page = random.below(bound);
  return pages;
}

uint64_t sink = 0;

void hits(uint64_t cache_pages) {
  PageCache cache(cache_pages * kPageBytes);
  for (uint64_t page = 0; page < cache_pages; ++page) std::memset(cache.insert(page, Origin::kDemand), 1, 8);
  const std::vector<uint64_t> pages = random_pages(cache_pages);
  const Cost base = cost_of(kOperations, [&] {
    for (const uint64_t page : pages) sink += cache.find(page).first_use;
  });
  fmt::print("{:>9} pages: find {:.1f} ({:.1f})", cache_pages, base.least_ns, base.median_ns);
  for (const PrefetchMode mode : {PrefetchMode::kOff, PrefetchMode::kShadow, PrefetchMode::kOn}) {
    PrefetcherOptions options;
    options.mode = mode;
    options.cache_pages = cache_pages;
    Prefetcher prefetcher(
        options, [&](uint64_t page) { return cache.contains(page); }, [&](uint64_t page) { cache.expect(page); });
    std::vector<PageRange> ranges;
    cache.watch_prefetching(mode == PrefetchMode::kOn);
    const Cost with = cost_of(kOperations, [&] {
      for (const uint64_t page : pages) {
        const PageCache::Hit hit = cache.find(page);
        Observation observation;
        observation.first_page = page;
        observation.pages = 1;
        observation.missed_pages = hit ? 0 : 1;
        observation.hit_prefetched = hit.first_use;
        prefetcher.on_access(observation, ranges);
      }
    });
    fmt::print(", observed in mode {} {:+.1f} ({:+.1f})", prefetch_mode_name(mode), with.least_ns - base.least_ns,
               with.median_ns - base.median_ns);
  }
  fmt::print("\n");
}

// Fetched pages are there at once, and are used when they are truly asked for; the oldest leave unused.
template <class NextPage>
void misses(const char* what, NextPage next_page) {
  constexpr uint64_t kCachePages = 65536;
  PageCache cache(kCachePages * kPageBytes);
  PrefetcherOptions options;
  options.cache_pages = kCachePages;
  Prefetcher prefetcher(
      options, [&cache](uint64_t page) { return cache.contains(page); },
      [&cache](uint64_t page) { cache.expect(page); }, [&cache] { return cache.prefetching_pays(); });
  cache.set_on_wasted([&prefetcher](uint64_t page, bool evicted) { prefetcher.on_wasted(page, evicted); });
  std::vector<PageRange> ranges;
  constexpr uint64_t kMisses = 500'000;
  uint64_t fetched = 0;
  const auto run = [&](bool observed) {
    cache.watch_prefetching(observed);
    for (uint64_t i = 0; i < kMisses; ++i) {
      Observation observation;
      observation.first_page = next_page(i);
      observation.pages = 1;
      const PageCache::Hit hit = cache.find(observation.first_page);
      observation.missed_pages = hit ? 0 : 1;
      observation.hit_prefetched = hit.first_use;
      if (!hit) cache.insert(observation.first_page, Origin::kDemand);
      if (!observed) continue;
      if (hit.first_use) prefetcher.on_first_use(observation.first_page);
      ranges.clear();
      prefetcher.on_access(observation, ranges);
      for (const PageRange range : ranges) {
        fetched += range.pages;
        for (uint32_t page = 0; page < range.pages; ++page) cache.insert(range.first_page + page, Origin::kPrefetch);
        prefetcher.on_fetched(range, 100'000);
      }
    }
  };
  const Cost without = cost_of(kMisses, [&] { run(false); });
  const Cost with = cost_of(kMisses, [&] { run(true); });
  fmt::print("{:<24} {:.0f} ns ({:.0f}), without prediction {:.0f} ns ({:.0f}), {:.2f} pages fetched each\n", what,
             with.least_ns, with.median_ns, without.least_ns, without.median_ns,
             static_cast<double>(fetched) / (kMisses * kRuns));
}

}  // namespace

int main() {
  fmt::print("hit, ns, the fastest run (the median):\n");
  for (const uint64_t pages : {uint64_t{8192}, uint64_t{65536}, uint64_t{262144}}) hits(pages);
  fmt::print("miss:\n");
  Random random(2);
  misses("random over 1 TiB", [&](uint64_t) { return random.below(1u << 28); });
  misses("16 sequential streams", [&](uint64_t i) { return (i % 16) * 100'000'000 + i / 16; });
  misses("16 strides", [&](uint64_t i) { return (i % 16) * 1'000'000'000 + i / 16 * (100 + i % 16); });
  return sink == UINT64_MAX ? 1 : 0;
}
