// The scrubber of a DiskStore: reads what is stored, compares, reports; it mends nothing (R-REPAIR).
#include <algorithm>

#include "base/buffer.h"
#include "store/disk_store.h"

namespace foreshard::store {

using runtime::Task;

Task<Result<ScrubPart>> DiskStore::scrub(ChunkKey begin, ChunkKey end, uint64_t bytes_per_second,
                                         runtime::Signal* stop) {
  constexpr size_t kChunksPerCall = 256;
  constexpr uint64_t kBytesPerCall = 8u << 20;
  CO_TRY(const runtime::Gate::Pass pass, enter());
  if (bytes_per_second == 0) bytes_per_second = options_.scrub_bytes_per_second;
  ScrubPart part;
  Buffer buffer = Buffer::allocate(kScrubPages * kPageBytes);
  CO_TRY(const std::vector<ChunkKey> keys, co_await table_.keys(begin, end, kChunksPerCall));
  for (const ChunkKey& key : keys) {
    if (part.bytes >= kBytesPerCall) {
      part.next = key;
      co_return part;
    }
    CO_TRY_VOID(co_await scrub_chunk(key, buffer.span(), bytes_per_second, stop, part));
  }
  if (keys.size() == kChunksPerCall) {
    part.next = keys.back();
    if (++part.next->layer == 0) ++part.next->chunk;
  }
  co_return part;
}

Task<void> DiskStore::pause_until(runtime::Signal* stop, uint64_t deadline_ns) {
  if (stop == nullptr) {
    co_await executor_.sleep_until(deadline_ns);
  } else {
    (void)co_await stop->wait_until(deadline_ns);
  }
}

// In parts, so that writers never wait long for a lock.
Task<Result<void>> DiskStore::scrub_chunk(ChunkKey key, ByteSpan buffer, uint64_t bytes_per_second,
                                          runtime::Signal* stop, ScrubPart& part) {
  const ChunkPin chunk = table_.pin(key);
  bool counted = false;
  for (uint32_t first = 0; first < kPagesPerChunk; first += kScrubPages) {
    if (fail_stop_.failed()) co_return fail(fail_stop_.error());
    if ((stop != nullptr && stop->is_set()) || calls_.closed())
      co_return fail(ErrorCode::kCancelled, "scrub", std::string("stopped"));
    const uint64_t started_ns = executor_.now_ns();
    uint64_t bytes = 0;
    {
      PageLock lock(chunk->locks, executor_, first, kScrubPages, PageAccess::kShared);
      co_await lock.granted();
      const Result<void> loaded = co_await table_.load(*chunk);
      if (!loaded) {
        if (loaded.error().code != ErrorCode::kCorrupt) co_return loaded;
        part.faults.push_back({key, 0, kPagesPerChunk});
        co_return Result<void>();
      }
      if (chunk->slot != kNoSlot && !chunk->map.any_data()) table_.mark_changed(*chunk);  // gives the slot back
      CO_TRY(bytes, co_await scrub_pages(*chunk, first, buffer, part.faults));
    }
    if (bytes == 0) continue;
    part.bytes += bytes;
    if (!std::exchange(counted, true)) ++part.slots;
    if (bytes_per_second != 0) {
      co_await pause_until(stop, started_ns + bytes * 1'000'000'000 / bytes_per_second);
    } else {
      co_await executor_.yield();
    }
  }
  co_return Result<void>();
}

// Compares the data pages from `first` on, as many as the buffer holds; the bytes read. The pages are locked.
Task<Result<uint64_t>> DiskStore::scrub_pages(Chunk& chunk, uint32_t first, ByteSpan buffer,
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
    faults.push_back({chunk.key, page, 1});
  }
  co_return part.size();
}

}  // namespace foreshard::store
