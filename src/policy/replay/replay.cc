#include "policy/replay/replay.h"

#include <algorithm>
#include <utility>

#include "base/random.h"

namespace foreshard::policy {
namespace {

static_assert(kTraceVolumeBytesMax / kPageBytes <= uint64_t{1} << kVolumePagesLog2);
static_assert(uint64_t{kTraceVolumesMax} << kVolumePagesLog2 <= kPageNumbers);

// One request of this many is measured, chosen at random so that no period of the trace shows.
constexpr uint64_t kMeasuredOneOf = 16;

}  // namespace

RequestPages pages_of(const TraceRequest& request) {
  const uint64_t first = request.offset / kPageBytes;
  const uint64_t last = (request.offset + std::max<uint64_t>(request.size, 1) - 1) / kPageBytes;
  return {(uint64_t{request.volume} << kVolumePagesLog2) + first, static_cast<uint32_t>(last - first + 1)};
}

Replay::Replay(const ReplayOptions& options, WorkClock work_clock)
    : options_(options),
      work_clock_(std::move(work_clock)),
      clock_cost_ns_(clock_cost()),
      cache_(make_replay_cache(options.replacement, options.cache_pages)),
      server_cache_(options.server_cache_pages) {
  cache_->set_on_wasted([this](uint64_t page, bool evicted) {
    ++result_.wasted_pages;
    if (prefetch_ != nullptr) timed([&] { prefetch_->on_wasted(page, evicted); });
  });
}

ReplayPrefetch::View Replay::view() const {
  return {[this](uint64_t page) { return cache_->contains(page); },
          [this](uint64_t page) { return flying_.contains(page); }, [this](uint64_t page) { cache_->expect(page); },
          [this] { return cache_->prefetching_pays(); }};
}

// What two readings of the clock in a row tell, least: to be taken off what is measured between two.
uint64_t Replay::clock_cost() const {
  uint64_t least = UINT64_MAX;
  for (int i = 0; i < 32; ++i) {
    const uint64_t before = work_clock_();
    least = std::min(least, work_clock_() - before);
  }
  return least;
}

// Times that go back, as merged traces have them, stand still.
void Replay::advance_time(const TraceRequest& request) {
  if (!request.time_ns) {
    now_ns_ += options_.interval_ns;
    return;
  }
  if (!begin_ns_) begin_ns_ = *request.time_ns;
  if (*request.time_ns > *begin_ns_) now_ns_ = std::max(now_ns_, *request.time_ns - *begin_ns_);
}

void Replay::take(const TraceRequest& request) {
  if (request.op == TraceOp::kOther) {
    ++result_.other_requests;
    return;
  }
  measured_ = prefetch_ != nullptr && mix64(result_.requests()) % kMeasuredOneOf == 0;
  advance_time(request);
  deliver();
  const RequestPages pages = pages_of(request);
  result_.predict_requests += measured_;
  result_.predict_pages += measured_ ? pages.count : 0;
  Observation observation;
  observation.time_ns = now_ns_;
  observation.vm = VmId{request.process};
  observation.volume = VolumeId{uint64_t{request.volume} + 1};
  observation.first_page = pages.first;
  observation.pages = pages.count;
  observation.write = request.op == TraceOp::kWrite;
  result_.accessed_pages += pages.count;
  if (observation.write) {
    write(observation);
  } else {
    read(observation);
  }
  if (prefetch_ != nullptr) observe(observation);
}

// The page comes from the server's RAM or from its disk, and is in its RAM afterwards.
uint64_t Replay::server_read_ns(uint64_t page) {
  const bool in_ram = server_cache_.find(page).found;
  if (!in_ram) server_cache_.insert(page, Origin::kDemand);
  ++(in_ram ? result_.server_ram_pages : result_.server_disk_pages);
  return (in_ram ? options_.latency.server_ram_ns : options_.latency.server_disk_ns) + options_.latency.zone_ns;
}

void Replay::read(Observation& observation) {
  ++result_.read_requests;
  result_.read_pages += observation.pages;
  bool missing = false;
  uint64_t wait_ns = 0;
  for (uint64_t page = observation.first_page; page < observation.first_page + observation.pages; ++page) {
    const ReplayCache::Hit hit = cache_->find(page);
    if (hit.first_use) {
      ++result_.used_pages;
      observation.hit_prefetched = true;
      timed([&] { prefetch_->on_first_use(page); });
    }
    if (hit.found) continue;
    ++observation.missed_pages;
    if (const auto flight = flying_.find(page); flight != flying_.end()) {
      wait_ns = std::max(wait_ns, flight->second.arrives_ns - now_ns_);
      if (std::exchange(flight->second.demanded, true)) continue;
      ++result_.used_pages;
      ++result_.late_pages;
      continue;
    }
    missing = true;
    ++result_.missed_pages;
    ++result_.read_missed_pages;
    // The pages of a request are asked for side by side.
    const uint64_t disk_pages = result_.server_disk_pages;
    const uint64_t read_ns = server_read_ns(page);
    if (prefetch_ != nullptr) {
      const uint64_t disk_ns = result_.server_disk_pages > disk_pages ? options_.latency.disk_alone_ns() : 0;
      timed([&] { prefetch_->on_read(read_ns, disk_ns); });
    }
    wait_ns = std::max(wait_ns, read_ns);
    cache_->insert(page, Origin::kDemand);
  }
  observation.outstanding_pages = observation.missed_pages;
  ++(missing ? result_.read_misses : observation.missed_pages > 0 ? result_.read_late : result_.read_hits);
  result_.read_latency.add(options_.latency.hit_ns + wait_ns);
}

void Replay::write(Observation& observation) {
  ++result_.write_requests;
  for (uint64_t page = observation.first_page; page < observation.first_page + observation.pages; ++page) {
    // What is on its way is older than the write, and will not be kept.
    if (const auto flight = flying_.find(page); flight != flying_.end()) {
      if (!flight->second.demanded) ++result_.wasted_pages;
      flying_.erase(flight);
      prefetch_->on_dropped({page, 1});
    }
    result_.missed_pages += !cache_->contains(page);
    cache_->insert(page, Origin::kWrite);
    server_cache_.insert(page, Origin::kWrite);
  }
}

void Replay::observe(const Observation& observation) {
  to_fetch_.clear();
  timed([&] { prefetch_->on_access(observation, to_fetch_); });
  for (const PageRange range : to_fetch_) {
    if (range.destination == Destination::kServer) {
      warm(range);
    } else {
      start_fetch(range);
    }
  }
  deliver();
}

// The server's disk is taken to be fast enough: it is there before the next request.
void Replay::warm(PageRange range) {
  for (uint64_t page = range.first_page; page < range.first_page + range.pages; ++page)
    if (!server_cache_.find(page).found) server_cache_.insert(page, Origin::kPrefetch);
  result_.warmed_pages += range.pages;
  prefetch_->on_warmed(range);
}

void Replay::start_fetch(PageRange range) {
  const uint64_t number = ++fetch_number_;
  uint64_t latency_ns = 0;
  for (uint64_t page = range.first_page; page < range.first_page + range.pages; ++page) {
    if (cache_->contains(page) || flying_.contains(page)) continue;
    ++result_.prefetched_pages;
    latency_ns = std::max(latency_ns, server_read_ns(page));
    flying_[page] = {number, 0, false};
  }
  for (uint64_t page = range.first_page; page < range.first_page + range.pages; ++page) {
    const auto flight = flying_.find(page);
    if (flight != flying_.end() && flight->second.fetch == number) flight->second.arrives_ns = now_ns_ + latency_ns;
  }
  fetches_.emplace(now_ns_ + latency_ns, Fetch{range, number, latency_ns});
}

// What has arrived by now goes into the cache.
void Replay::deliver() {
  while (!fetches_.empty() && fetches_.begin()->first <= now_ns_) {
    const Fetch fetch = fetches_.begin()->second;
    fetches_.erase(fetches_.begin());
    for (uint64_t page = fetch.range.first_page; page < fetch.range.first_page + fetch.range.pages; ++page) {
      const auto flight = flying_.find(page);
      if (flight == flying_.end() || flight->second.fetch != fetch.number) continue;
      const bool demanded = flight->second.demanded;
      flying_.erase(flight);
      cache_->insert(page, Origin::kPrefetch);
      if (demanded) (void)cache_->find(page);  // the reader, who has waited for it and been counted
    }
    timed([&] { prefetch_->on_fetched(fetch.range, fetch.latency_ns); });
  }
}

ReplayResult Replay::result() const {
  ReplayResult result = result_;
  result.unused_pages = result.prefetched_pages - result.used_pages - result.wasted_pages;
  if (prefetch_ != nullptr) result.facts = prefetch_->facts();
  return result;
}

}  // namespace foreshard::policy
