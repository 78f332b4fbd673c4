#include "sim/workload.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/buffer.h"

namespace foreshard::sim {

using runtime::Task;
using volume::Extent;
using volume::ZeroMode;

Workload::Workload(runtime::Runtime& runtime, volume::BlockDevice& device, VolumeModel& model, uint64_t driver,
                   Random random, WorkloadOptions options)
    : runtime_(runtime), device_(device), model_(model), driver_(driver), random_(random), options_(options),
      more_(runtime.executor()) {
  make_hot_spots();
}

void Workload::make_hot_spots() {
  const uint64_t size = model_.size_bytes();
  if (options_.hammer) {
    hot_ = {2 * kPageBytes, options_.volumelet_bytes};
    return;
  }
  // The same for every driver of a volume, so that one sees what another wrote.
  Random spots(size ^ options_.volumelet_bytes);
  for (int i = 0; i < 4; ++i) {
    const uint64_t volumelets = size / options_.volumelet_bytes;
    if (volumelets > 1) hot_.push_back((1 + spots.below(volumelets - 1)) * options_.volumelet_bytes);
    hot_.push_back(spots.below(size / kChunkBytes) * kChunkBytes);
    hot_.push_back(spots.below(size / kPageBytes) * kPageBytes);
  }
  hot_.push_back(0);
  hot_.push_back(size);
}

void Workload::start() {
  started_ = true;
  running_ += options_.clients;
  for (uint32_t i = 0; i < options_.clients; ++i) runtime_.executor().spawn(client(random_.fork()));
}

Workload::Range Workload::pick(Random& random, uint64_t& sequential) {
  const uint64_t size = size_bytes();
  Range range;
  const uint64_t kind = random.below(100);
  range.bytes = kind % 3 == 0 ? (1 + random.below(16)) * kSectorBytes : (1 + random.below(4)) * kPageBytes;
  if (random.chance(0.1)) range.bytes = (1 + random.below(options_.bytes_max / kSectorBytes)) * kSectorBytes;
  if (options_.hammer && kind < 90) {
    range.bytes = random.chance(0.3) ? kSectorBytes * (1 + random.below(12)) : kPageBytes;
    range.offset = hot_[random.below(hot_.size())] - kPageBytes + random.below(2) * kPageBytes;
  } else if (kind < 60) {
    const uint64_t around = (1 + random.below(24)) * (random.chance(0.7) ? kPageBytes : kSectorBytes);
    const uint64_t spot = hot_[random.below(hot_.size())];
    range.offset = spot > around ? spot - around : 0;
  } else if (kind < 75) {
    range.bytes = 16 * kPageBytes;
    range.offset = sequential;
    sequential = (sequential + range.bytes) % size;
  } else {
    range.offset = random.below(size / kPageBytes) * kPageBytes;
    if (random.chance(0.2)) range.offset += random.below(8) * kSectorBytes;
  }
  range.offset = std::min(range.offset, size - kSectorBytes);
  range.bytes = std::min(range.bytes, size - range.offset);
  return range;
}

// Whole chunks and more, so that stores give slots back.
Workload::Range Workload::pick_large(Random& random) {
  const uint64_t chunks = size_bytes() / kChunkBytes;
  const uint64_t first = random.below(chunks);
  const uint64_t count = 1 + random.below(std::min<uint64_t>(3, chunks - first));
  return {first * kChunkBytes, count * kChunkBytes};
}

Task<void> Workload::client(Random random) {
  const Running running(&running_);
  uint64_t sequential = random.below(size_bytes() / kPageBytes) * kPageBytes;
  while (!stopping_ && begun_ < options_.operations && !model_.violation()) {
    if (begun_ >= limit_) {
      co_await more_.wait();
      continue;
    }
    ++begun_;
    const Range range = pick(random, sequential);
    const auto result = co_await operate(random, range);
    if (!result) {
      if (result.error().code == ErrorCode::kFenced) fenced_ = true;
      co_return;
    }
    ++done_;
    if (random.chance(0.3)) co_await runtime_.executor().sleep_for(random.below(options_.think_ns_max));
  }
}

// An error that was to be expected is none. Those of a device that has ended are passed on; others are violations.
Result<void> Workload::judge(const Result<void>& result, Range range, uint64_t begun_ns) {
  if (result || expected(result.error().code, range, begun_ns)) return {};
  const ErrorCode code = result.error().code;
  if (code != ErrorCode::kFenced && code != ErrorCode::kCancelled) {
    model_.violate(fmt::format("a request on {} bytes at {} failed: {}", range.bytes, range.offset,
                               result.error().message()));
  }
  return result;
}

Task<Result<void>> Workload::operate(Random& random, Range range) {
  const bool durable = random.chance(options_.durable_chance);
  if (random.chance(options_.flush_chance)) return flush();
  const uint64_t kind = random.below(100);
  if (!options_.hammer && random.chance(options_.large_chance)) {
    const Range large = pick_large(random);
    return kind < 50 ? discard(large, durable) : zero(large, ZeroMode::kMayUnmap, durable);
  }
  if (kind < 40) return read(range);
  if (kind < 80) return write(range, durable);
  if (kind < 86) return zero(range, random.chance(0.5) ? ZeroMode::kMayUnmap : ZeroMode::kKeepAllocated, durable);
  if (kind < 93) return discard(range, durable);
  if (kind < 97) return status(range);
  device_.prefetch(range.offset, range.bytes);
  return read(range);
}

Task<Result<void>> Workload::read(Range range) {
  Buffer buffer = Buffer::allocate(range.bytes);
  const uint64_t begun_ns = clock_ns();
  const VolumeModel::Pending pending = model_.begin_read(driver_, range.offset, range.bytes);
  const auto result = co_await device_.read(range.offset, buffer.span());
  if (result)
    model_.end_read(pending, buffer.span());
  else
    model_.forget(pending);
  co_return judge(result, range, begun_ns);
}

// A request that was given up, in time or when its device ended, may still happen; any other error is the end of it.
void Workload::end_change(const VolumeModel::Pending& pending, const Result<void>& result, bool durable) {
  const auto given_up = [](ErrorCode code) {
    return code == ErrorCode::kFenced || code == ErrorCode::kCancelled || code == ErrorCode::kTimeout;
  };
  if (result || given_up(result.error().code))
    model_.end_write(pending, result.has_value(), durable);
  else
    model_.refuse_write(pending);
}

Task<Result<void>> Workload::write(Range range, bool durable) {
  Buffer buffer = Buffer::allocate(range.bytes);
  const uint64_t begun_ns = clock_ns();
  const VolumeModel::Pending pending = model_.begin_write(driver_, range.offset, range.bytes, VolumeModel::Kind::kData);
  model_.fill(pending, buffer.span());
  const auto result = co_await device_.write(range.offset, buffer.span(), durable);
  end_change(pending, result, durable);
  co_return judge(result, range, begun_ns);
}

Task<Result<void>> Workload::zero(Range range, ZeroMode mode, bool durable) {
  const uint64_t begun_ns = clock_ns();
  const VolumeModel::Pending pending = model_.begin_write(driver_, range.offset, range.bytes, VolumeModel::Kind::kZero);
  const auto result = co_await device_.zero(range.offset, range.bytes, mode, durable);
  end_change(pending, result, durable);
  co_return judge(result, range, begun_ns);
}

// Zeroes the whole pages inside and leaves the edges alone.
Task<Result<void>> Workload::discard(Range range, bool durable) {
  const uint64_t begun_ns = clock_ns();
  const uint64_t first = (range.offset + kPageBytes - 1) / kPageBytes * kPageBytes;
  const uint64_t end = std::max(first, (range.offset + range.bytes) / kPageBytes * kPageBytes);
  if (end == first) {
    const auto nothing = co_await device_.discard(range.offset, range.bytes, durable);
    co_return judge(nothing, range, begun_ns);
  }
  const VolumeModel::Pending pending = model_.begin_write(driver_, first, end - first, VolumeModel::Kind::kZero);
  const auto result = co_await device_.discard(range.offset, range.bytes, durable);
  end_change(pending, result, durable);
  co_return judge(result, range, begun_ns);
}

Task<Result<void>> Workload::flush() {
  const uint64_t begun_ns = clock_ns();
  const VolumeModel::Pending pending = model_.begin_flush(driver_);
  const auto result = co_await device_.flush();
  model_.end_flush(pending, result.has_value());
  co_return judge(result, {}, begun_ns);
}

Task<Result<void>> Workload::status(Range range) {
  const uint64_t begun_ns = clock_ns();
  const VolumeModel::Pending pending = model_.begin_read(driver_, range.offset, range.bytes);
  const auto extents = co_await device_.block_status(range.offset, range.bytes, 64);
  if (!extents) {
    model_.forget(pending);
    co_return judge(fail(extents.error()), range, begun_ns);
  }
  uint64_t at = range.offset;
  for (const Extent& extent : *extents) {
    const bool sound = extent.bytes > 0 && extent.bytes % kSectorBytes == 0 && at < range.offset + range.bytes;
    if (!sound || (extent.hole && !extent.zero)) {
      model_.violate(fmt::format("block status: an extent of {} bytes at {}, hole {}, zero {}", extent.bytes, at,
                                 extent.hole, extent.zero));
      break;
    }
    const uint64_t end = std::min(at + extent.bytes, range.offset + range.bytes);
    if (extent.zero) model_.end_read_zero(pending, at, end - at);
    at = end;
  }
  if (extents->empty()) model_.violate("block status: no extent");
  model_.forget(pending);
  co_return Result<void>();
}

Task<Result<void>> Workload::read_all() {
  constexpr uint64_t kPartBytes = 1u << 20;
  unreadable_.clear();
  const uint64_t size = size_bytes();
  for (uint64_t offset = 0; offset < size; offset += kPartBytes) {
    const Range range{offset, std::min(kPartBytes, size - offset)};
    Buffer buffer = Buffer::allocate(range.bytes);
    const VolumeModel::Pending pending = model_.begin_read(driver_, range.offset, range.bytes);
    const auto whole = co_await device_.read(range.offset, buffer.span());
    if (whole) {
      model_.end_read(pending, buffer.span());
      continue;
    }
    model_.forget(pending);
    CO_TRY_VOID(judge(whole, range, clock_ns()));
    CO_TRY_VOID(co_await read_by_pages(range));
  }
  co_return Result<void>();
}

// All that is not rotten.
Task<Result<void>> Workload::read_by_pages(Range range) {
  Buffer buffer = Buffer::allocate(kPageBytes);
  for (uint64_t offset = range.offset; offset < range.offset + range.bytes; offset += kPageBytes) {
    const Range page{offset, std::min(kPageBytes, range.offset + range.bytes - offset)};
    const VolumeModel::Pending pending = model_.begin_read(driver_, page.offset, page.bytes);
    const auto done = co_await device_.read(page.offset, buffer.subspan(0, page.bytes));
    if (done) {
      model_.end_read(pending, buffer.subspan(0, page.bytes));
      continue;
    }
    model_.forget(pending);
    CO_TRY_VOID(judge(done, page, clock_ns()));
    unreadable_.insert(offset / kPageBytes);
  }
  co_return Result<void>();
}

}  // namespace foreshard::sim
