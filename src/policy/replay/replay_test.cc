// Shows that a replay scores as documented: by hand on small traces, against a model of its own on random ones, and by
// the sum of what became of every prefetched page.
#include "policy/replay/replay.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <set>

#include "base/random.h"
#include "policy/replay/prefetch_adapter.h"

namespace foreshard::policy {
namespace {

constexpr uint64_t kMs = 1'000'000;

TraceRequest at(uint64_t time_ns, uint64_t page, uint64_t pages = 1, TraceOp op = TraceOp::kRead) {
  TraceRequest request;
  request.time_ns = time_ns;
  request.offset = page * kPageBytes;
  request.size = pages * kPageBytes;
  request.op = op;
  return request;
}

// Fetches what the test has written down for the request's first page, takes as long as it says, and notes what it is
// told.
class Scripted : public ReplayPrefetch {
 public:
  std::function<void(uint64_t page)> work;
  std::map<uint64_t, PageRange>* script;
  std::vector<std::string>* told;
  Scripted(std::map<uint64_t, PageRange>* to_fetch, std::vector<std::string>* notes) : script(to_fetch), told(notes) {}
  void on_access(const Observation& observation, std::vector<PageRange>& to_fetch) override {
    work(observation.first_page);
    const auto found = script->find(observation.first_page);
    if (found != script->end()) to_fetch.push_back(found->second);
  }
  void on_fetched(PageRange range, uint64_t latency_ns) override {
    told->push_back("fetched " + std::to_string(range.first_page) + " after " + std::to_string(latency_ns));
  }
  void on_warmed(PageRange range) override { told->push_back("warmed " + std::to_string(range.first_page)); }
  void on_dropped(PageRange range) override { told->push_back("dropped " + std::to_string(range.first_page)); }
  void on_first_use(uint64_t page) override { told->push_back("used " + std::to_string(page)); }
  void on_wasted(uint64_t page, bool evicted) override { told->push_back("wasted " + std::to_string(page)); }
  PrefetchFacts facts() const override { return {}; }
};

struct Bench {
  explicit Bench(uint64_t cache_pages, std::map<uint64_t, PageRange> to_fetch = {}) : script(std::move(to_fetch)) {
    options.replacement = Replacement::kLru;
    options.cache_pages = cache_pages;
    options.latency = {.hit_ns = 10, .server_ram_ns = 1 * kMs, .server_disk_ns = 3 * kMs, .zone_ns = 2 * kMs};
  }
  ReplayResult run(const std::vector<TraceRequest>& trace) {
    Replay replay(options, [this] { return clock += 5; });
    if (!script.empty()) {
      auto prefetch = std::make_unique<Scripted>(&script, &told);
      prefetch->work = [this](uint64_t page) { clock += work_ns.contains(page) ? work_ns.at(page) : 0; };
      replay.set_prefetch(std::move(prefetch));
    }
    for (const TraceRequest& request : trace) replay.take(request);
    const ReplayResult result = replay.result();
    EXPECT_EQ(result.prefetched_pages, result.used_pages + result.wasted_pages + result.unused_pages);
    EXPECT_EQ(result.read_requests, result.read_hits + result.read_late + result.read_misses);
    return result;
  }
  ReplayOptions options;
  std::map<uint64_t, PageRange> script;
  std::map<uint64_t, uint64_t> work_ns;  // that a request for the page makes
  std::vector<std::string> told;
  uint64_t clock = 0;
};

TEST(Replay, RequestsAndPagesAreCountedApart) {
  Bench bench(4);
  // Misses two pages; hits one; one of its two is there; a write of two, one there; what was written is read.
  const ReplayResult result = bench.run(
      {at(0, 10, 2), at(1, 11), at(2, 11, 2), at(3, 12, 2, TraceOp::kWrite), at(4, 13), at(5, 0, 1, TraceOp::kOther)});
  EXPECT_EQ(result.read_requests, 4u);
  EXPECT_EQ(result.write_requests, 1u);
  EXPECT_EQ(result.other_requests, 1u);
  EXPECT_EQ(result.read_misses, 2u);
  EXPECT_EQ(result.read_hits, 2u);
  EXPECT_EQ(result.accessed_pages, 8u);
  EXPECT_EQ(result.missed_pages, 4u);
  EXPECT_DOUBLE_EQ(result.read_request_miss_ratio(), 0.5);
  EXPECT_DOUBLE_EQ(result.page_miss_ratio(), 0.5);
}

TEST(Replay, RequestsThatDoNotBeginOnAPageTouchAllThatTheyOverlap) {
  Bench bench(16);
  TraceRequest request = at(0, 0);
  request.offset = 4095;
  request.size = 2;
  EXPECT_EQ(bench.run({request}).accessed_pages, 2u);
  request.size = 1;
  EXPECT_EQ(bench.run({request}).accessed_pages, 1u);
}

TEST(Replay, VolumesShareNoPages) {
  Bench bench(16);
  TraceRequest other = at(1, 10);
  other.volume = 1;
  EXPECT_EQ(bench.run({at(0, 10), other, at(2, 10), other}).read_misses, 2u);
}

TEST(Replay, APrefetchThatIsOnItsWayIsLateAndWaitedFor) {
  // Two pages from a disk in another zone: five milliseconds. Asked for after one, after six, never.
  Bench bench(16, {{10, {20, 3}}});
  const ReplayResult result = bench.run({at(0, 10), at(1 * kMs, 20), at(6 * kMs, 21)});
  EXPECT_EQ(result.read_misses, 1u);
  EXPECT_EQ(result.read_late, 1u);
  EXPECT_EQ(result.read_hits, 1u);
  EXPECT_EQ(result.prefetched_pages, 3u);
  EXPECT_EQ(result.used_pages, 2u);
  EXPECT_EQ(result.late_pages, 1u);
  EXPECT_EQ(result.unused_pages, 1u);
  EXPECT_DOUBLE_EQ(result.in_time(), 0.5);
  // 5 ms, 4 ms, 0, and ten nanoseconds each.
  EXPECT_NEAR(result.read_latency.mean_ns(), 3.0 * kMs + 10, 1);
  EXPECT_EQ(bench.told, (std::vector<std::string>{"fetched 20 after 5000000", "used 21"}));
}

TEST(Replay, WhatIsLateIsAskedForOnce) {
  Bench bench(16, {{10, {20, 1}}});
  const ReplayResult result = bench.run({at(0, 10), at(1, 20), at(2, 20), at(6 * kMs, 20)});
  EXPECT_EQ(result.read_late, 2u);
  EXPECT_EQ(result.read_hits, 1u);
  EXPECT_EQ(result.used_pages, 1u);
  EXPECT_EQ(result.server_disk_pages, 2u);
}

TEST(Replay, AWriteOvertakesAPrefetch) {
  Bench bench(16, {{10, {20, 2}}});
  const ReplayResult result = bench.run({at(0, 10), at(1, 20, 1, TraceOp::kWrite), at(6 * kMs, 20), at(6 * kMs, 21)});
  EXPECT_EQ(result.read_misses, 1u);
  EXPECT_EQ(result.wasted_pages, 1u);
  EXPECT_EQ(result.used_pages, 1u);
  EXPECT_EQ(bench.told, (std::vector<std::string>{"dropped 20", "fetched 20 after 5000000", "used 21"}));
}

TEST(Replay, APrefetchThatIsPushedOutIsWasted) {
  Bench bench(2, {{10, {20, 1}}});
  const ReplayResult result = bench.run({at(0, 10), at(6 * kMs, 11), at(7 * kMs, 12), at(8 * kMs, 20)});
  EXPECT_EQ(result.wasted_pages, 1u);
  EXPECT_EQ(result.read_misses, 4u);
  EXPECT_EQ(bench.told, (std::vector<std::string>{"fetched 20 after 5000000", "wasted 20"}));
}

TEST(Replay, ThePagesOfTheRequestItselfAreNoPrefetch) {
  Bench bench(16, {{10, {10, 4}}});
  const ReplayResult result = bench.run({at(0, 10, 2)});
  EXPECT_EQ(result.read_misses, 1u);
  EXPECT_EQ(result.prefetched_pages, 2u);
}

TEST(Replay, TheServersRamShortensAMiss) {
  Bench bench(1);
  bench.options.server_cache_pages = 2;
  // From disk, disk; 10 is in the server's RAM; 12 pushes 11 out there.
  const ReplayResult result = bench.run({at(0, 10), at(1, 11), at(2, 10), at(3, 12), at(4, 11)});
  EXPECT_EQ(result.server_ram_pages, 1u);
  EXPECT_EQ(result.server_disk_pages, 4u);
  EXPECT_NEAR(result.read_latency.mean_ns(), (4 * 5.0 + 3.0) / 5 * kMs + 10, 1);
}

// It stays a miss of the driver's cache, and spares the disk: three milliseconds in place of five.
TEST(Replay, WhatGoesIntoTheServersRamShortensAMissAndNothingElse) {
  Bench bench(16, {{10, {.first_page = 20, .pages = 2, .destination = Destination::kServer}}});
  bench.options.server_cache_pages = 16;
  const ReplayResult result = bench.run({at(0, 10), at(1 * kMs, 20), at(2 * kMs, 30)});
  EXPECT_EQ(result.read_misses, 3u);
  EXPECT_EQ(result.prefetched_pages, 0u);
  EXPECT_EQ(result.warmed_pages, 2u);
  EXPECT_EQ(result.server_ram_pages, 1u);
  EXPECT_EQ(result.server_disk_pages, 2u);
  EXPECT_EQ(bench.told, std::vector<std::string>{"warmed 20"});
  EXPECT_NEAR(result.read_latency.mean_ns(), 13.0 * kMs / 3, 0.1 * kMs);
}

TEST(Replay, WithoutTimesNothingIsLate) {
  Bench bench(16, {{10, {20, 1}}});
  TraceRequest first = at(0, 10), second = at(0, 20);
  first.time_ns = second.time_ns = std::nullopt;
  EXPECT_EQ(bench.run({first, second}).read_hits, 1u);
}

TEST(Replay, TimesThatGoBackStandStill) {
  Bench bench(16, {{10, {20, 1}}});
  const ReplayResult result = bench.run({at(50 * kMs, 10), at(40 * kMs, 20), at(56 * kMs, 20)});
  EXPECT_EQ(result.read_late, 1u);
  EXPECT_EQ(result.read_hits, 1u);
}

TEST(Replay, OnlyMeasuredRequestsCountTheClock) {
  Bench bench(16, {{10, {20, 1}}});
  std::vector<TraceRequest> trace;
  for (uint64_t i = 0; i < 1600; ++i) trace.push_back(at(i * 10 * kMs, 100));
  const ReplayResult result = bench.run(trace);
  EXPECT_NEAR(static_cast<double>(result.predict_requests), 100, 40);
  // Between two readings lies one step of the clock, which is what reading it costs.
  EXPECT_EQ(result.predict_ns, 0u);
}

TEST(Replay, WorkIsCountedButNotWhatInterruptedIt) {
  Bench bench(16, {{10, {20, 1}}});
  bench.work_ns = {{100, 700}, {200, 5 * kMs}};
  std::vector<TraceRequest> trace;
  for (uint64_t i = 0; i < 3200; ++i) trace.push_back(at(i * 10 * kMs, i % 2 == 0 ? 100 : 200));
  const ReplayResult result = bench.run(trace);
  const uint64_t counted = result.predict_ns / 700;
  EXPECT_EQ(result.predict_ns, counted * 700);
  EXPECT_NEAR(static_cast<double>(counted), static_cast<double>(result.predict_requests) / 2, 40);
}

TEST(Replay, WorkIsToldForEachPageAndForEachRequest) {
  Bench bench(16, {{10, {20, 1}}});
  bench.work_ns = {{100, 800}};
  std::vector<TraceRequest> trace;
  for (uint64_t i = 0; i < 1600; ++i) trace.push_back(at(i * 10 * kMs, 100, 4));
  const ReplayResult result = bench.run(trace);
  EXPECT_EQ(result.predict_ns_per_request(), 800);
  EXPECT_EQ(result.predict_ns_per_access(), 200);
}

// Random requests through LRU, page by page, with a deque.
TEST(Replay, LruMissesWhatASimpleModelMisses) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Random random(seed);
    const uint64_t capacity = 1 + random.below(40);
    Bench bench(capacity);
    std::vector<TraceRequest> trace;
    std::deque<uint64_t> held;
    uint64_t missed = 0, accessed = 0, read_misses = 0;
    for (int i = 0; i < 1000; ++i) {
      const TraceOp op = random.chance(0.7) ? TraceOp::kRead : TraceOp::kWrite;
      trace.push_back(at(0, random.below(100), 1 + random.below(4), op));
      bool any = false;
      for (uint64_t n = 0; n < trace.back().size / kPageBytes; ++n) {
        const uint64_t page = trace.back().offset / kPageBytes + n;
        ++accessed;
        const auto found = std::find(held.begin(), held.end(), page);
        if (found != held.end()) {
          held.erase(found);
        } else {
          ++missed;
          any = true;
          if (held.size() == capacity) held.pop_back();
        }
        held.push_front(page);
      }
      read_misses += any && op == TraceOp::kRead;
    }
    const ReplayResult result = bench.run(trace);
    EXPECT_EQ(result.accessed_pages, accessed);
    EXPECT_EQ(result.missed_pages, missed);
    EXPECT_EQ(result.read_misses, read_misses);
  }
}

// What random prefetches do to random requests adds up, with both caches.
TEST(Replay, EveryPrefetchedPageHasOneEnd) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Random random(seed);
    std::map<uint64_t, PageRange> script;
    for (uint64_t page = 0; page < 100; ++page) {
      if (random.chance(0.5)) script[page] = {random.below(120), 1 + static_cast<uint32_t>(random.below(8))};
    }
    Bench bench(1 + random.below(60), script);
    bench.options.replacement = random.chance(0.5) ? Replacement::kLru : Replacement::kDefault;
    bench.options.server_cache_pages = random.below(100);
    std::vector<TraceRequest> trace;
    uint64_t now = 0;
    for (int i = 0; i < 2000; ++i) {
      now += random.below(3 * kMs);
      trace.push_back(
          at(now, random.below(100), 1 + random.below(4), random.chance(0.7) ? TraceOp::kRead : TraceOp::kWrite));
    }
    const ReplayResult result = bench.run(trace);
    const auto count = [&bench](const char* what) {
      return static_cast<uint64_t>(std::count_if(bench.told.begin(), bench.told.end(),
                                                 [what](const std::string& note) { return note.starts_with(what); }));
    };
    EXPECT_EQ(result.used_pages - result.late_pages, count("used"));
    EXPECT_LE(count("wasted"), result.wasted_pages);
    EXPECT_EQ(result.server_ram_pages + result.server_disk_pages, result.prefetched_pages + result.read_missed_pages);
  }
}

// Eight streams in no order, a request of one every 10 us, and a fetch takes 160: it must look two requests of each
// stream ahead at least, and learn that what is that far ahead is read though it is rarely fetched from so far at
// first.
TEST(Replay, InterleavedStreamsAreReadFarEnoughAhead) {
  constexpr uint32_t kStreams = 8, kPages = 32;
  ReplayOptions options;
  options.cache_pages = 32'000;
  Replay replay(options, [] { return uint64_t{0}; });
  PrefetchChoice choice;
  choice.cache_pages = options.cache_pages;
  replay.set_prefetch(make_prefetch_adapter(choice, replay.view()));
  Random random(4);
  struct Stream {
    uint64_t page = 0;
    uint64_t left = 0;
  };
  std::vector<Stream> streams(kStreams);
  for (uint64_t i = 0; i < 8000; ++i) {
    Stream& stream = streams[random.below(kStreams)];
    if (stream.left-- == 0) stream = {random.below(1u << 22) * kPages, random.below(400)};
    replay.take(at(i * 10'000, stream.page, kPages));
    stream.page += kPages;
  }
  const ReplayResult result = replay.result();
  EXPECT_LT(result.read_request_miss_ratio(), 0.03);
  EXPECT_LT(result.late_ratio(), 0.2);
}

}  // namespace
}  // namespace foreshard::policy
