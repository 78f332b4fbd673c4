// trace_replay: replays an access trace (src/policy/trace/access_trace.h) through the page cache and the prefetcher
// and prints the read-request miss ratio and the precision of prefetching.
//
// All pages of a request are looked up before prefetch may fire, and a prefetch within a request counts for nothing.
// A request misses if any of its pages does; writes are put into the cache and never miss. Prefetched pages arrive at
// once. Precision = prefetched pages found before they left / prefetched pages that were found or left.
//
//   trace_replay [--cache-share 0.05] [--mode off|shadow|on] [--precision-min P] [--waste W] [FILE]
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <unordered_set>
#include <vector>

#include "base/bytes.h"
#include "policy/cache/page_cache.h"
#include "policy/prefetch/prefetcher.h"
#include "policy/trace/access_trace.h"

using namespace foreshard;
using namespace foreshard::policy;

namespace {

constexpr uint64_t kVolumePagesLog2 = 44;  // volumes lie this far apart in the keys

struct Request {
  uint64_t first_page;
  uint32_t pages;
  bool write;
};

struct Trace {
  std::vector<Request> requests;
  std::map<std::string, uint64_t, std::less<>> volumes;
  uint64_t unique_pages = 0;
};

bool load(FILE* file, Trace& trace) {
  std::unordered_set<uint64_t> seen;
  AccessTraceParser parser([&](const AccessRow& row) {
    const auto volume = trace.volumes.try_emplace(std::string(row.volume), trace.volumes.size()).first->second;
    const uint64_t first = row.offset / kPageBytes, last = (row.offset + row.size - 1) / kPageBytes;
    const uint64_t base = volume << kVolumePagesLog2;
    for (uint64_t page = first; page <= last; ++page) seen.insert(base + page);
    trace.requests.push_back({base + first, static_cast<uint32_t>(last - first + 1), row.op == AccessOp::kWrite});
  });
  std::vector<char> block(1 << 20);
  while (const size_t bytes = std::fread(block.data(), 1, block.size(), file)) {
    const Result<void> fed = parser.feed({block.data(), bytes});
    if (!fed) return fmt::print(stderr, "{}\n", fed.error().message()), false;
  }
  const Result<void> finished = parser.finish();
  if (!finished) return fmt::print(stderr, "{}\n", finished.error().message()), false;
  trace.unique_pages = seen.size();
  return true;
}

struct Score {
  uint64_t reads = 0, missed = 0;
};

Score replay(const Trace& trace, PageCache& cache, Prefetcher& prefetcher) {
  Score score;
  cache.set_on_wasted([&](uint64_t key) { prefetcher.on_evicted_unused(key); });
  std::vector<PageRange> to_fetch;
  std::vector<uint64_t> missing;
  for (const Request& request : trace.requests) {
    Observation observation;
    observation.first_page = request.first_page;
    observation.pages = request.pages;
    observation.write = request.write;
    missing.clear();
    for (uint64_t page = request.first_page; page < request.first_page + request.pages; ++page) {
      if (request.write) {
        cache.insert(page, Origin::kWrite);
        continue;
      }
      const PageCache::Hit hit = cache.find(page);
      if (!hit) missing.push_back(page);
      if (hit.first_use) {
        observation.hit_prefetched = true;
        prefetcher.on_first_use(page);
      }
    }
    for (const uint64_t page : missing) cache.insert(page, Origin::kDemand);
    observation.missed_pages = static_cast<uint32_t>(missing.size());
    score.reads += !request.write;
    score.missed += !missing.empty();
    to_fetch.clear();
    prefetcher.on_access(observation, to_fetch);
    for (const PageRange range : to_fetch) {
      for (uint64_t page = range.first_page; page < range.first_page + range.pages; ++page) {
        cache.insert(page, Origin::kPrefetch);
      }
      prefetcher.on_fetched(range);
    }
  }
  return score;
}

void print(const Trace& trace, const Score& score, const PageCache& cache, const Prefetcher& prefetcher) {
  const PrefetchStatistics statistics = prefetcher.statistics();
  const PageCacheStatistics& pages = cache.statistics();
  const double precision = pages.prefetched_used + pages.prefetched_wasted == 0
                               ? 0
                               : static_cast<double>(pages.prefetched_used) /
                                     static_cast<double>(pages.prefetched_used + pages.prefetched_wasted);
  fmt::print("requests {} reads {} unique_pages {} cache_pages {} volumes {}\n", trace.requests.size(), score.reads,
             trace.unique_pages, cache.capacity_bytes() / kPageBytes, trace.volumes.size());
  fmt::print("miss_ratio {:.4f} precision {:.4f} prefetched {} used {} wasted {} waiting {} read_pages {}\n",
             score.reads == 0 ? 0 : static_cast<double>(score.missed) / static_cast<double>(score.reads), precision,
             pages.prefetched, pages.prefetched_used, pages.prefetched_wasted, pages.prefetched_waiting,
             statistics.read_pages);
  fmt::print("refused: budget {} in_flight {}; gates: stops {} starts {}; budget tokens {:.0f}\n",
             statistics.refused_budget, statistics.refused_in_flight, statistics.stops, statistics.starts,
             statistics.budget_tokens);
  for (uint32_t i = 0; i < statistics.experts; ++i) {
    const ExpertStatistics& expert = statistics.expert[i];
    fmt::print("  {:<12} {} issued {} used {} wasted {} | shadow issued {} used {} wasted {}\n", expert.name,
               expert.active ? "active " : "stopped", expert.counts.issued, expert.counts.used, expert.counts.wasted,
               expert.counts.shadow_issued, expert.counts.shadow_used, expert.counts.shadow_wasted);
  }
}

}  // namespace

int main(int argc, char** argv) {
  double cache_share = 0.05;
  PrefetcherOptions options;
  const char* path = nullptr;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    if (flag == "--cache-share") {
      cache_share = std::atof(value), ++i;
    } else if (flag == "--mode") {
      options.mode = std::strcmp(value, "off") == 0      ? PrefetchMode::kOff
                     : std::strcmp(value, "shadow") == 0 ? PrefetchMode::kShadow
                                                         : PrefetchMode::kOn;
      ++i;
    } else if (flag == "--precision-min") {
      options.precision_min = std::atof(value), ++i;
    } else if (flag == "--waste") {
      options.waste_share_max = std::atof(value), ++i;
    } else {
      path = argv[i];
    }
  }
  FILE* file = path == nullptr ? stdin : std::fopen(path, "r");
  if (file == nullptr) return std::perror(path), 1;
  Trace trace;
  if (!load(file, trace)) return 1;
  const auto cache_pages = static_cast<uint64_t>(cache_share * static_cast<double>(trace.unique_pages));
  PageCache cache(cache_pages * kPageBytes);
  options.cache_pages = cache_pages;
  Prefetcher prefetcher(options, [&](uint64_t page) { return cache.contains(page); });
  const Score score = replay(trace, cache, prefetcher);
  print(trace, score, cache, prefetcher);
  return 0;
}
