#include "volume/flash_cache.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include <fmt/format.h>

#include "base/crc32c.h"
#include "base/log.h"
#include "base/units.h"
#include "volume/flash_file.h"

namespace foreshard::volume {
namespace {

using runtime::Task;

constexpr uint32_t kSegmentPages = FlashCache::kSegmentBytes / kPageBytes;
constexpr size_t kRunsMax = 64;  // read at once for one reader

// The first segment's place is the header's.
uint64_t offset_of(uint32_t slot) { return FlashCache::kSegmentBytes + uint64_t{slot} * kPageBytes; }

uint32_t checksum_of(uint64_t page, ConstByteSpan data) {
  return crc32c(data, crc32c({reinterpret_cast<const std::byte*>(&page), sizeof page}));
}

Result<void> check_sizes(uint64_t file_bytes, uint64_t write_bytes_per_second) {
  if (file_bytes < FlashCache::kFileBytesMin || file_bytes > FlashCache::kFileBytesMax) {
    return fail(ErrorCode::kInvalid, "cache file",
                fmt::format("a size of {} (--cache-file-size) is not between {} and {}", format_size(file_bytes),
                            format_size(FlashCache::kFileBytesMin), format_size(FlashCache::kFileBytesMax)));
  }
  if (write_bytes_per_second < FlashCache::kWriteRateMin) {
    return fail(ErrorCode::kInvalid, "cache file",
                fmt::format("{} a second (--cache-file-writes) are less than {}", format_size(write_bytes_per_second),
                            format_size(FlashCache::kWriteRateMin)));
  }
  return {};
}

}  // namespace

Task<Result<std::shared_ptr<FlashCache>>> FlashCache::open(runtime::Runtime& runtime, std::string path,
                                                           uint64_t file_bytes, uint64_t write_bytes_per_second) {
  CO_TRY_VOID(check_sizes(file_bytes, write_bytes_per_second));
  CO_TRY(std::unique_ptr<runtime::File> file, co_await open_flash_file(runtime, path, file_bytes));
  const auto segments = static_cast<uint32_t>(file_bytes / kSegmentBytes - 1);
  co_return std::shared_ptr<FlashCache>(
      new FlashCache(runtime, std::move(path), std::move(file), segments, write_bytes_per_second));
}

FlashCache::FlashCache(runtime::Runtime& runtime, std::string path, std::unique_ptr<runtime::File> file,
                       uint32_t segments, uint64_t write_bytes_per_second)
    : runtime_(runtime),
      path_(std::move(path)),
      file_(std::move(file)),
      segments_(segments),
      index_(segments * kSegmentPages),
      budget_bytes_max_(static_cast<double>(write_bytes_per_second)),
      budget_bytes_(budget_bytes_max_),
      budget_time_ns_(runtime.now_ns()),
      turns_(runtime.executor()),
      written_(runtime.executor()) {
  open_.data = Buffer::allocate(kSegmentBytes);
  writing_.data = Buffer::allocate(kSegmentBytes);
  open_segment(0);
}

Task<void> FlashCache::close() {
  closed_ = true;
  const uint64_t deadline_ns = runtime_.now_ns() + kCloseWaitNs;
  while (writing_.number != FlashIndex::kNone) {
    if (co_await written_.wait_until(deadline_ns)) continue;
    write_left_ = true;
    LOG_WARN("cache file {}: a write does not end, it is left to itself", path_);
    co_return;
  }
}

uint64_t FlashCache::memory_bytes() const {
  return uint64_t{segments_} * kSegmentPages * FlashIndex::kBytesPerSlot + 2 * kSegmentBytes;
}

FlashStatistics FlashCache::statistics() const {
  FlashStatistics now = counts_;
  now.used_bytes = index_.size() * kPageBytes;
  now.bytes_max = uint64_t{segments_} * kSegmentBytes;
  now.memory_bytes = memory_bytes();
  now.under_way = reads_;
  now.hangs = given_up_ != 0 || write_left_;
  return now;
}

bool FlashCache::look_up(uint64_t page) {
  const bool there = contains(page);
  if (!there) ++counts_.misses;
  return there;
}

// ---- in

bool FlashCache::affordable(bool used_again) {
  const uint64_t now_ns = runtime_.now_ns();
  const double seconds = static_cast<double>(now_ns - budget_time_ns_) * 1e-9;
  budget_time_ns_ = now_ns;
  budget_bytes_ = std::min(budget_bytes_max_, budget_bytes_ + seconds * budget_bytes_max_);
  return used_again ? budget_bytes_ >= kPageBytes : budget_bytes_ > budget_bytes_max_ / 2;
}

void FlashCache::put(uint64_t page, ConstByteSpan data, bool used_again) {
  if (counts_.failed || closed_ || index_.find(page) != FlashIndex::kNone) return;
  if (!affordable(used_again)) {
    ++counts_.skipped;
    return;
  }
  if (open_.pages == kSegmentPages) {
    ++counts_.dropped;
    return;
  }
  std::memcpy(open_.data.data() + uint64_t{open_.pages} * kPageBytes, data.data(), kPageBytes);
  index_.insert(page, open_.number * kSegmentPages + open_.pages, checksum_of(page, data));
  ++open_.pages;
  ++counts_.put;
  budget_bytes_ -= kPageBytes;
  if (open_.pages < kSegmentPages || writing_.number != FlashIndex::kNone) return;
  begin_write();
  runtime_.executor().spawn(write_segments(shared_from_this()));
}

void FlashCache::open_segment(uint32_t number) {
  open_.number = number;
  open_.pages = 0;
  index_.erase_slots(number * kSegmentPages, kSegmentPages);
}

void FlashCache::begin_write() {
  std::swap(open_, writing_);
  open_segment((writing_.number + 1) % segments_);
}

Task<void> FlashCache::write_segments(std::shared_ptr<FlashCache> self) {
  FlashCache& cache = *self;
  for (;;) {
    const uint64_t offset = offset_of(cache.writing_.number * kSegmentPages);
    const Result<void> written = co_await cache.file_->write(offset, cache.writing_.data.span());
    cache.writing_.number = FlashIndex::kNone;
    cache.written_.wake_all();
    if (!written) {
      cache.counts_.failed = true;
      cache.index_.clear();
      LOG_WARN("cache file {}: it is used no more until the next attach: {}", cache.path_, written.error().message());
      co_return;
    }
    cache.counts_.written_bytes += kSegmentBytes;
    if (cache.closed_ || cache.open_.pages < kSegmentPages) co_return;
    cache.begin_write();
  }
}

// ---- out

const std::byte* FlashCache::in_memory(uint32_t slot) const {
  const uint32_t segment = slot / kSegmentPages;
  const uint64_t offset = uint64_t{slot % kSegmentPages} * kPageBytes;
  if (segment == open_.number) return open_.data.data() + offset;
  if (segment == writing_.number) return writing_.data.data() + offset;
  return nullptr;
}

// Pages that are in memory are copied at once.
void FlashCache::gather_runs(uint64_t first_page, ByteSpan into, std::vector<Run>& runs) {
  const uint64_t end = first_page + into.size() / kPageBytes;
  for (uint64_t page = first_page; page < end && contains(page); ++page) {
    const uint32_t slot = index_.find(page);
    const std::byte* const data = in_memory(slot);
    const bool joins = !runs.empty() && runs.back().in_memory == (data != nullptr) &&
                       slot == runs.back().first_slot + runs.back().pages && runs.back().pages < kRunPagesMax;
    if (!joins && runs.size() == kRunsMax) return;
    const ByteSpan place = into.subspan((page - first_page) * kPageBytes, kPageBytes);
    if (!joins) {
      runs.emplace_back();
      runs.back().first_page = page;
      runs.back().first_slot = slot;
      runs.back().into = place;
      runs.back().in_memory = data != nullptr;
    }
    Run& run = runs.back();
    ++run.pages;
    run.into = {run.into.data(), run.pages * kPageBytes};
    if (data != nullptr) std::memcpy(place.data(), data, kPageBytes);
  }
}

Task<uint64_t> FlashCache::read(uint64_t first_page, ByteSpan into) {
  const auto reading = std::make_shared<Reading>(weak_from_this(), runtime_.executor());
  gather_runs(first_page, into, reading->runs);
  const uint64_t deadline_ns = runtime_.now_ns() + kPatienceNs;
  const bool all_asked = co_await start_runs(reading, deadline_ns);
  while (reading->under_way != 0 && co_await reading->ended.wait_until(deadline_ns)) {
  }
  if (reading->under_way != 0 || !all_asked) {
    reading->given_up = true;
    ++given_up_;
    ++counts_.overdue;
    tell(kSlow, Error{ErrorCode::kTimeout, "page", first_page, {}});
    if (reading->under_way == 0) runtime_.executor().spawn(rest(reading->cache, runtime_.executor()));
  }
  uint64_t whole = 0;
  bool leading = true;
  for (const Run& run : reading->runs) {
    uint32_t good = run.in_memory ? run.pages : 0;
    if (run.ended) {
      good = check(run);
      if (leading) std::memcpy(run.into.data(), run.data.data(), uint64_t{good} * kPageBytes);
    }
    if (leading) whole += good;
    leading = leading && good == run.pages;
  }
  counts_.hits += whole;
  co_return whole;
}

// Whether the turn of all came in time; the rest is left out.
Task<bool> FlashCache::start_runs(std::shared_ptr<Reading> reading, uint64_t deadline_ns) {
  for (size_t i = 0; i < reading->runs.size(); ++i) {
    Run& run = reading->runs[i];
    if (run.in_memory) continue;
    if (reads_ < kReadsMax) {
      ++reads_;
    } else {
      const bool has_turn = co_await turns_.wait_until(deadline_ns);
      if (!has_turn) co_return false;
    }
    run.data = Buffer::allocate(uint64_t{run.pages} * kPageBytes);
    ++reading->under_way;
    runtime_.executor().spawn(read_run(file_, reading, i));
  }
  co_return true;
}

void FlashCache::end_turn() {
  if (turns_.empty()) {
    --reads_;
  } else {
    turns_.wake_one();
  }
}

Task<void> FlashCache::read_run(std::shared_ptr<runtime::File> file, std::shared_ptr<Reading> reading, size_t number) {
  Run& run = reading->runs[number];
  run.got = co_await file->read(offset_of(run.first_slot), run.data.span());
  run.ended = true;
  --reading->under_way;
  const std::shared_ptr<FlashCache> cache = reading->cache.lock();
  if (cache != nullptr) cache->end_turn();
  if (!reading->given_up) {
    if (reading->under_way == 0) reading->ended.wake_all();
    co_return;
  }
  if (cache == nullptr) co_return;
  cache->check(run);
  runtime::Executor& executor = cache->runtime_.executor();
  if (reading->under_way == 0) executor.spawn(rest(reading->cache, executor));
}

// What was slow once is so again soon.
Task<void> FlashCache::rest(std::weak_ptr<FlashCache> cache, runtime::Executor& executor) {
  co_await executor.sleep_for(kRestNs);
  if (const std::shared_ptr<FlashCache> rested = cache.lock()) --rested->given_up_;
}

// What the file gave: how many leading pages are as they were put. What is not is forgotten.
uint32_t FlashCache::check(const Run& run) {
  if (!run.got) {
    ++counts_.read_errors;
    tell(kUnreadable, run.got.error());
  }
  uint32_t good = 0;
  for (uint32_t i = 0; i < run.pages; ++i) {
    const uint64_t page = run.first_page + i;
    const uint32_t slot = run.first_slot + i;
    // It may have made room while it was read, or the file may have failed.
    if (index_.find(page) != slot) continue;
    if (run.got && checksum_of(page, run.data.subspan(uint64_t{i} * kPageBytes, kPageBytes)) == index_.checksum(slot)) {
      good += good == i;
      continue;
    }
    index_.erase(page);
    if (!run.got) continue;
    ++counts_.mismatches;
    tell(kDamaged, Error{ErrorCode::kCorrupt, "page", page, {}});
  }
  return good;
}

// The first time only: a bad disk has much of it, and the counters go on.
void FlashCache::tell(Trouble what, const Error& error) {
  constexpr std::array<const char*, kTroubles> kSays = {"it cannot be read", "a page is not as it was written",
                                                        "a read takes too long"};
  if (std::exchange(told_[what], true)) return;
  LOG_WARN("cache file {}: {}, servers are asked instead: {}", path_, kSays[what], error.message());
}

}  // namespace foreshard::volume
