// The scrubber of a DiskStore: reads what is stored, compares, reports; it mends nothing (R-REPAIR).
#include <algorithm>

#include "base/buffer.h"
#include "store/disk_store.h"

namespace foreshard::store {

using runtime::Task;

Task<Result<std::vector<PageFault>>> DiskStore::scrub() {
  constexpr size_t kKeysPerScan = 256;
  constexpr size_t kFaultsMax = 4096;
  CO_TRY(const runtime::Gate::Pass pass, enter());
  std::vector<PageFault> faults;
  Buffer buffer = Buffer::allocate(kScrubPages * kPageBytes);
  ChunkKey begin;
  const ChunkKey end{VolumeId{UINT64_MAX}, UINT32_MAX, UINT64_MAX};
  while (!calls_.closed() && faults.size() < kFaultsMax) {
    CO_TRY(const std::vector<ChunkKey> keys, co_await table_.keys(begin, end, kKeysPerScan));
    for (const ChunkKey& key : keys) {
      if (calls_.closed() || faults.size() >= kFaultsMax) break;
      CO_TRY_VOID(co_await scrub_chunk(key, buffer.span(), faults));
    }
    if (keys.size() < kKeysPerScan) break;
    begin = keys.back();
    if (++begin.layer == 0) ++begin.chunk;
  }
  co_return faults;
}

// In parts, so that writers never wait long for a lock.
Task<Result<void>> DiskStore::scrub_chunk(ChunkKey key, ByteSpan buffer, std::vector<PageFault>& faults) {
  const ChunkPin chunk = table_.pin(key);
  for (uint32_t first = 0; first < kPagesPerChunk; first += kScrubPages) {
    if (fail_stop_.failed()) co_return fail(fail_stop_.error());
    const uint64_t started_ns = executor_.now_ns();
    uint64_t bytes = 0;
    {
      PageLock lock(chunk->locks, executor_, first, kScrubPages, PageAccess::kShared);
      co_await lock.granted();
      const Result<void> loaded = co_await table_.load(*chunk);
      if (!loaded) {
        if (loaded.error().code != ErrorCode::kCorrupt) co_return loaded;
        faults.push_back({key, 0});
        co_return Result<void>();
      }
      if (chunk->slot != kNoSlot && !chunk->map.any_data()) table_.mark_changed(*chunk);  // gives the slot back
      CO_TRY(bytes, co_await scrub_part(*chunk, first, buffer, faults));
    }
    if (bytes == 0) continue;
    if (options_.scrub_bytes_per_second != 0) {
      co_await executor_.sleep_until(started_ns + bytes * 1'000'000'000 / options_.scrub_bytes_per_second);
    } else {
      co_await executor_.yield();
    }
  }
  co_return Result<void>();
}

// Compares the data pages from `first` on, as many as the buffer holds; the bytes read. The pages are locked.
Task<Result<uint64_t>> DiskStore::scrub_part(Chunk& chunk, uint32_t first, ByteSpan buffer,
                                             std::vector<PageFault>& faults) {
  const auto pages = static_cast<uint32_t>(buffer.size() / kPageBytes);
  uint32_t begin = pages, end = 0;
  for (uint32_t i = 0; i < pages; ++i) {
    if (chunk.map.get(first + i) != PageState::kData) continue;
    begin = std::min(begin, i);
    end = i + 1;
  }
  if (begin >= end) co_return uint64_t{0};
  const ByteSpan part = buffer.subspan(begin * kPageBytes, (end - begin) * kPageBytes);
  Result<void> read = fail(ErrorCode::kCorrupt, "slot beyond the files", chunk.slot);
  if (files_.has(chunk.slot)) {
    runtime::File& file = files_.file_of(chunk.slot);
    read = co_await file.read(files_.offset_of(chunk.slot, first + begin), part);
  }
  for (uint32_t i = begin; i < end; ++i) {
    const uint32_t page = first + i;
    if (chunk.map.get(page) != PageState::kData) continue;
    const ByteSpan bytes = buffer.subspan(i * kPageBytes, kPageBytes);
    Result<void> alone = read;
    if (!read && files_.has(chunk.slot))  // which of the pages is it?
      alone = co_await files_.file_of(chunk.slot).read(files_.offset_of(chunk.slot, page), bytes);
    if (alone && page_checksum(chunk.identity(uuid_, page), bytes) == (*chunk.sums)[page]) continue;
    if (fail_stop_.failed()) co_return fail(fail_stop_.error());
    ++stats_.corrupt_pages;
    faults.push_back({chunk.key, page});
  }
  co_return part.size();
}

}  // namespace foreshard::store
