#include "volume/flash_cache.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include <fmt/format.h>

#include "base/crc32c.h"
#include "base/log.h"
#include "base/units.h"
#include "volume/flash_file.h"
#include "volume/join.h"

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

Task<Result<std::unique_ptr<FlashCache>>> FlashCache::open(runtime::Runtime& runtime, std::string path,
                                                           uint64_t file_bytes, uint64_t write_bytes_per_second) {
  CO_TRY_VOID(check_sizes(file_bytes, write_bytes_per_second));
  CO_TRY(std::unique_ptr<runtime::File> file, co_await open_flash_file(runtime, path, file_bytes));
  const auto segments = static_cast<uint32_t>(file_bytes / kSegmentBytes - 1);
  co_return std::unique_ptr<FlashCache>(
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
      gate_(runtime.executor()) {
  open_.data = Buffer::allocate(kSegmentBytes);
  writing_.data = Buffer::allocate(kSegmentBytes);
  open_segment(0);
}

Task<void> FlashCache::close() { co_await gate_.close(); }

uint64_t FlashCache::memory_bytes() const {
  return uint64_t{segments_} * kSegmentPages * FlashIndex::kBytesPerSlot + 2 * kSegmentBytes;
}

FlashStatistics FlashCache::statistics() const {
  FlashStatistics now = counts_;
  now.used_bytes = index_.size() * kPageBytes;
  now.bytes_max = uint64_t{segments_} * kSegmentBytes;
  now.memory_bytes = memory_bytes();
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
  if (counts_.failed || contains(page)) return;
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
  std::optional<runtime::Gate::Pass> pass = gate_.enter();
  if (!pass) return;
  begin_write();
  runtime_.executor().spawn(write_segments(std::move(*pass)));
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

Task<void> FlashCache::write_segments(runtime::Gate::Pass pass) {
  for (;;) {
    const uint64_t offset = offset_of(writing_.number * kSegmentPages);
    const Result<void> written = co_await file_->write(offset, writing_.data.span());
    writing_.number = FlashIndex::kNone;
    if (!written) {
      counts_.failed = true;
      index_.clear();
      LOG_WARN("cache file {}: it is used no more until the next attach: {}", path_, written.error().message());
      co_return;
    }
    counts_.written_bytes += kSegmentBytes;
    if (open_.pages < kSegmentPages) co_return;
    begin_write();
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

Task<uint64_t> FlashCache::read(uint64_t first_page, ByteSpan into) {
  std::vector<Run> runs;
  const uint64_t end = first_page + into.size() / kPageBytes;
  for (uint64_t page = first_page; page < end;) {
    const uint32_t slot = index_.find(page);
    if (slot == FlashIndex::kNone) break;
    const std::byte* const data = in_memory(slot);
    const bool joins = !runs.empty() && (data == nullptr) == (runs.back().whole == 0) &&
                       slot == runs.back().first_slot + runs.back().pages;
    if (!joins && runs.size() == kRunsMax) break;
    const ByteSpan place = into.subspan((page - first_page) * kPageBytes, kPageBytes);
    if (!joins) runs.push_back({page, slot, 0, place});
    Run& run = runs.back();
    ++run.pages;
    run.into = {run.into.data(), run.pages * kPageBytes};
    if (data != nullptr) {
      std::memcpy(place.data(), data, kPageBytes);
      ++run.whole;
    }
    ++page;
  }
  Join join(runtime_.executor());
  for (Run& run : runs) {
    if (run.whole == 0) join.add(read_run(run));
  }
  const Result<void> all = co_await join.wait();
  uint64_t whole = 0;
  for (const Run& run : runs) {
    whole += run.whole;
    if (!all || run.whole < run.pages) break;
  }
  counts_.hits += whole;
  co_return whole;
}

// Through a buffer of its own: a client's memory need not be aligned, and gets nothing that is damaged.
Task<Result<void>> FlashCache::read_run(Run& run) {
  Buffer data = Buffer::allocate(uint64_t{run.pages} * kPageBytes);
  const Result<void> got = co_await file_->read(offset_of(run.first_slot), data.span());
  if (!got) {
    ++counts_.read_errors;
    tell("it cannot be read", got.error());
  }
  bool leading = true;
  for (uint32_t i = 0; i < run.pages; ++i) {
    const uint64_t page = run.first_page + i;
    const uint32_t slot = run.first_slot + i;
    const ConstByteSpan found = data.subspan(uint64_t{i} * kPageBytes, kPageBytes);
    // It may have made room while it was read, or the file may have failed.
    bool good = index_.find(page) == slot;
    if (good && (!got || checksum_of(page, found) != index_.checksum(slot))) {
      good = false;
      index_.erase(page);
      if (got) {
        ++counts_.mismatches;
        tell("a page is not as it was written", Error{ErrorCode::kCorrupt, "page", page, {}});
      }
    }
    leading = leading && good;
    if (!leading) continue;
    std::memcpy(run.into.data() + uint64_t{i} * kPageBytes, found.data(), kPageBytes);
    ++run.whole;
  }
  co_return Result<void>();
}

// The first time only: a bad disk has much of it, and the counters go on.
void FlashCache::tell(const char* what, const Error& error) {
  if (std::exchange(told_, true)) return;
  LOG_WARN("cache file {}: {}, servers are asked instead: {}", path_, what, error.message());
}

}  // namespace foreshard::volume
