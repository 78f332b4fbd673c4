// Replay: runs a trace through a page cache and a way of prefetching in virtual time, and keeps score. The same objects
// as in the driver, fed one request after the other, so that a trace of any length passes through.
//
// The score (what counts as what is the whole point, docs/internals/replay.md): all pages of a request are looked up,
// then prefetch fires, never inside a request. A read request misses if a page of it is neither in the cache nor on its
// way; it is late if none is missing but one is still on its way; else it hits. Writes go into the cache and never
// miss. Pages are counted apart, reads and writes alike. A prefetched page is used if a read finds it in the cache or
// still on its way; one that left the cache, was overwritten, or was there unused in the end is wasted.
//
// Owner: who reads the trace. Pure: times are the trace's, the clock that measures the work is injected and decides
// nothing.
//
// Invariant: prefetched = used on time + used late + wasted + waiting + in flight, in pages.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "policy/cache/lru_cache.h"
#include "policy/replay/latency_histogram.h"
#include "policy/replay/replay_cache.h"
#include "policy/replay/replay_prefetch.h"
#include "policy/trace/trace_reader.h"

namespace foreshard::policy {

// What a request waits for.
struct LatencyModel {
  uint64_t hit_ns = 5'000;            // a page in the driver's cache
  uint64_t server_ram_ns = 60'000;    // one that the server holds in RAM, with the way there in the own zone
  uint64_t server_disk_ns = 160'000;  // one that it reads from its disk
  uint64_t zone_ns = 0;               // the way to another zone, on top
  // Of a read from disk, what the RAM would have spared.
  uint64_t disk_alone_ns() const { return server_disk_ns - std::min(server_disk_ns, server_ram_ns); }
};

struct ReplayOptions {
  Replacement replacement = Replacement::kDefault;
  uint64_t cache_pages = 0;
  uint64_t server_cache_pages = 0;  // of the server's RAM, by LRU
  LatencyModel latency;
  // From one request to the next where a trace has no times: long enough that nothing is late.
  uint64_t interval_ns = 1'000'000'000;
};

struct ReplayResult {
  uint64_t read_requests = 0, write_requests = 0, other_requests = 0;
  uint64_t read_hits = 0, read_late = 0, read_misses = 0;  // requests
  uint64_t accessed_pages = 0, missed_pages = 0;           // of reads and writes
  uint64_t read_pages = 0, read_missed_pages = 0;
  uint64_t prefetched_pages = 0, used_pages = 0, late_pages = 0, wasted_pages = 0;  // late ones are used ones
  uint64_t unused_pages = 0;  // waiting in the cache or on their way in the end
  uint64_t server_ram_pages = 0, server_disk_pages = 0;
  uint64_t warmed_pages = 0;                      // read into the server's RAM ahead of demand
  uint64_t predict_ns = 0, predict_requests = 0, predict_pages = 0;  // work that was measured, and for how many
  LatencyHistogram read_latency;
  PrefetchFacts facts;

  uint64_t requests() const { return read_requests + write_requests; }
  double read_request_miss_ratio() const { return ratio(read_misses, read_requests); }
  double late_ratio() const { return ratio(read_late, read_requests); }
  double page_miss_ratio() const { return ratio(missed_pages, accessed_pages); }
  double precision() const { return ratio(used_pages, prefetched_pages); }
  double in_time() const { return ratio(used_pages - late_pages, used_pages); }
  double predict_ns_per_access() const { return ratio(predict_ns, predict_pages); }  // of a page, as in page_miss_ratio
  double predict_ns_per_request() const { return ratio(predict_ns, predict_requests); }
  static double ratio(uint64_t part, uint64_t whole) {
    return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
  }
};

inline constexpr uint32_t kVolumePagesLog2 = 40;  // volumes and files lie this far apart in the keys

// The pages that a request touches, under keys of their own for each volume or file.
struct RequestPages {
  uint64_t first = 0;
  uint32_t count = 0;
};
RequestPages pages_of(const TraceRequest& request);

class Replay {
 public:
  // Steady, in ns, and cheap to read: around a call of a few microseconds, a system call would cost as much again, and
  // more where it empties the processor's tables of addresses.
  using WorkClock = std::function<uint64_t()>;
  Replay(const ReplayOptions& options, WorkClock work_clock);
  // Before the first request; none means no prefetching.
  void set_prefetch(std::unique_ptr<ReplayPrefetch> prefetch) { prefetch_ = std::move(prefetch); }
  ReplayPrefetch::View view() const;

  void take(const TraceRequest& request);
  ReplayResult result() const;

 private:
  struct Fetch {
    PageRange range;
    uint64_t number = 0;
    uint64_t latency_ns = 0;
  };
  struct Flight {
    uint64_t fetch = 0;
    uint64_t arrives_ns = 0;
    bool demanded = false;
  };

  void advance_time(const TraceRequest& request);
  void deliver();
  void read(Observation& observation);
  void write(Observation& observation);
  void observe(const Observation& observation);
  void start_fetch(PageRange range);
  void warm(PageRange range);
  uint64_t server_read_ns(uint64_t page);
  uint64_t clock_cost() const;
  // Others had the processor in the meantime: no call takes so long by itself.
  static constexpr uint64_t kInterruptedNs = 2'000'000;
  // Runs a call of prefetch_, and counts its time where this request is one that is measured.
  template <class Call>
  void timed(Call call) {
    if (!measured_) return call();
    const uint64_t before = work_clock_();
    call();
    const uint64_t spent = work_clock_() - before;
    if (spent < kInterruptedNs) result_.predict_ns += spent - std::min(spent, clock_cost_ns_);
  }

  const ReplayOptions options_;
  const WorkClock work_clock_;
  const uint64_t clock_cost_ns_;
  std::unique_ptr<ReplayCache> cache_;
  LruCache server_cache_;
  std::unique_ptr<ReplayPrefetch> prefetch_;
  ReplayResult result_;
  bool measured_ = false;
  uint64_t now_ns_ = 0;
  std::optional<uint64_t> begin_ns_;             // of the first request with a time
  std::multimap<uint64_t, Fetch> fetches_;       // by time of arrival, equals in the order of issue
  std::unordered_map<uint64_t, Flight> flying_;  // by page; only looked up
  uint64_t fetch_number_ = 0;
  std::vector<PageRange> to_fetch_;
};

}  // namespace foreshard::policy
