#include "store/memory_store.h"

namespace foreshard::store {

using runtime::Task;

Result<void> MemoryStore::admit(const WriteGuard* guard, uint32_t first_page, uint64_t pages) const {
  if (closed_) return fail(ErrorCode::kCancelled, "store closed");
  if (pages == 0 || first_page + pages > kPagesPerChunk)
    return fail(ErrorCode::kInvalid, "pages of a chunk", first_page);
  if (guard != nullptr && !guard->admitted()) return fail(ErrorCode::kStaleSession, "store write");
  return {};
}

Task<Result<PageMap>> MemoryStore::read(ChunkKey key, uint32_t first_page, ByteSpan into) {
  if (into.size() % kPageBytes != 0) co_return fail(ErrorCode::kInvalid, "read of part of a page");
  const auto pages = into.size() / kPageBytes;
  CO_TRY_VOID(admit(nullptr, first_page, pages));
  ++stats_.reads;
  PageMap states;
  const auto it = chunks_.find(key);
  for (uint32_t i = 0; i < pages; ++i) {
    const ByteSpan target = into.subspan(i * kPageBytes, kPageBytes);
    const PageState state = it == chunks_.end() ? PageState::kInherit : it->second.map.get(first_page + i);
    states.set(i, state);
    if (state == PageState::kData) {
      std::memcpy(target.data(), it->second.pages[first_page + i].data(), kPageBytes);
    } else {
      std::memset(target.data(), 0, kPageBytes);
    }
  }
  co_return states;
}

Task<Result<void>> MemoryStore::write(ChunkKey key, Version version, uint32_t first_page, ConstByteSpan data,
                                      const WriteGuard& guard) {
  if (data.size() % kPageBytes != 0) co_return fail(ErrorCode::kInvalid, "write of part of a page");
  const auto pages = data.size() / kPageBytes;
  CO_TRY_VOID(admit(&guard, first_page, pages));
  const auto it = chunks_.find(key);
  if (it == chunks_.end() || !it->second.map.any_data()) {
    if ((stats_.slots_used + 1) * kChunkBytes > capacity_bytes_) co_return fail(ErrorCode::kNoSpace, "store write");
    ++stats_.slots_used;
  }
  ++stats_.writes;
  Chunk& chunk = chunks_[key];
  chunk.version = std::max(chunk.version, version);
  for (uint32_t i = 0; i < pages; ++i) {
    chunk.map.set(first_page + i, PageState::kData);
    chunk.pages[first_page + i] = Buffer::copy_of(data.subspan(i * kPageBytes, kPageBytes));
  }
  co_return Result<void>();
}

Task<Result<void>> MemoryStore::zero(ChunkKey key, Version version, uint32_t first_page, uint32_t pages,
                                     const WriteGuard& guard) {
  CO_TRY_VOID(admit(&guard, first_page, pages));
  Chunk& chunk = chunks_[key];
  const bool had_data = chunk.map.any_data();
  chunk.version = std::max(chunk.version, version);
  for (uint32_t page = first_page; page < first_page + pages; ++page) {
    chunk.map.set(page, PageState::kZero);
    chunk.pages[page] = Buffer();
  }
  if (had_data && !chunk.map.any_data()) --stats_.slots_used;
  co_return Result<void>();
}

Task<Result<void>> MemoryStore::flush() {
  if (closed_) co_return fail(ErrorCode::kCancelled, "store closed");
  ++stats_.flushes;
  co_return Result<void>();
}

Task<Result<PageMap>> MemoryStore::states(ChunkKey key) {
  if (closed_) co_return fail(ErrorCode::kCancelled, "store closed");
  const auto it = chunks_.find(key);
  co_return it == chunks_.end() ? PageMap() : it->second.map;
}

Task<Result<Version>> MemoryStore::version(ChunkKey key) {
  if (closed_) co_return fail(ErrorCode::kCancelled, "store closed");
  const auto it = chunks_.find(key);
  co_return it == chunks_.end() ? Version() : it->second.version;
}

Task<Result<void>> MemoryStore::erase(VolumeId volume, uint64_t first_chunk, uint64_t chunks) {
  if (closed_) co_return fail(ErrorCode::kCancelled, "store closed");
  for (auto it = chunks_.lower_bound(ChunkKey{volume, 0, 0}); it != chunks_.end() && it->first.volume == volume;) {
    const bool inside = it->first.chunk >= first_chunk && it->first.chunk - first_chunk < chunks;
    if (inside && it->second.map.any_data()) --stats_.slots_used;
    it = inside ? chunks_.erase(it) : std::next(it);
  }
  co_return Result<void>();
}

Task<Result<void>> MemoryStore::put_notes(std::vector<Note> notes) {
  if (closed_) co_return fail(ErrorCode::kCancelled, "store closed");
  for (Note& note : notes) {
    if (note.value) {
      notes_[note.key] = std::move(*note.value);
    } else {
      notes_.erase(note.key);
    }
  }
  co_return Result<void>();
}

Task<Result<std::vector<ChunkStore::Note>>> MemoryStore::notes(std::string prefix) {
  if (closed_) co_return fail(ErrorCode::kCancelled, "store closed");
  std::vector<Note> found;
  for (auto it = notes_.lower_bound(prefix); it != notes_.end() && it->first.starts_with(prefix); ++it)
    found.push_back({it->first, it->second});
  co_return found;
}

Task<Result<ScrubPart>> MemoryStore::scrub(ChunkKey begin, ChunkKey end, uint64_t bytes_per_second,
                                           runtime::Signal* stop) {
  if (closed_) co_return fail(ErrorCode::kCancelled, "store closed");
  co_return ScrubPart();
}

std::vector<VolumeUsage> MemoryStore::usage() const {
  std::vector<VolumeUsage> usage;
  for (const auto& [key, chunk] : chunks_) {
    if (!chunk.map.any_data()) continue;
    if (usage.empty() || usage.back().volume != key.volume) usage.push_back({key.volume, 0});
    usage.back().bytes += kChunkBytes;
  }
  return usage;
}

StoreStats MemoryStore::stats() const {
  StoreStats stats = stats_;
  stats.capacity_bytes = capacity_bytes_;
  stats.slots = capacity_bytes_ / kChunkBytes;
  return stats;
}

Task<Result<void>> MemoryStore::settle_incomplete() { co_return Result<void>(); }

Task<Result<void>> MemoryStore::close() {
  closed_ = true;
  co_return Result<void>();
}

}  // namespace foreshard::store
