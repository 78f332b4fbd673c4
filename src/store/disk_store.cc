#include "store/disk_store.h"

#include <algorithm>
#include <utility>

#include "base/buffer.h"
#include "base/log.h"
#include "base/planted.h"

namespace foreshard::store {

using runtime::Task;

namespace {

bool page_aligned(const void* address) { return reinterpret_cast<uintptr_t>(address) % kPageBytes == 0; }

void fill_zero(ByteSpan bytes) { std::memset(bytes.data(), 0, bytes.size()); }

}  // namespace

Result<runtime::Gate::Pass> DiskStore::enter() {
  if (fail_stop_.failed()) return fail(fail_stop_.error());
  std::optional<runtime::Gate::Pass> pass = calls_.enter();
  if (!pass) return fail(ErrorCode::kCancelled, "chunk store closed");
  return std::move(*pass);
}

Result<void> DiskStore::check_range(uint64_t first_page, uint64_t bytes) {
  if (bytes == 0 || bytes % kPageBytes != 0 || first_page >= kPagesPerChunk ||
      bytes / kPageBytes > kPagesPerChunk - first_page)
    return fail(ErrorCode::kInvalid, "range of pages of a chunk", first_page);
  return {};
}

// ---- read

Task<Result<PageMap>> DiskStore::read(ChunkKey key, uint32_t first_page, ByteSpan into) {
  CO_TRY_VOID(check_range(first_page, into.size()));
  CO_TRY(const runtime::Gate::Pass pass, enter());
  ++stats_.reads;
  const auto pages = static_cast<uint32_t>(into.size() / kPageBytes);
  const ChunkPin chunk = table_.pin(key);
  PageLock lock(chunk->locks, executor_, first_page, pages, PageAccess::kShared);
  co_await lock.granted();
  if (!chunk->loaded) {
    Result<void> loaded = co_await table_.load(*chunk);
    if (!loaded && loaded.error().code == ErrorCode::kCorrupt) loaded.error().id = first_page;
    if (!loaded) co_return fail(std::move(loaded.error()));
  }
  PageMap states;
  uint32_t data_begin = pages, data_end = 0;  // around all data pages
  for (uint32_t i = 0; i < pages; ++i) {
    const PageState state = chunk->map.get(first_page + i);
    states.set(i, state);
    if (state != PageState::kData) continue;
    data_begin = std::min(data_begin, i);
    data_end = i + 1;
  }
  if (data_begin >= data_end) {
    fill_zero(into);
    co_return states;
  }
  fill_zero(into.first(data_begin * kPageBytes));
  fill_zero(into.subspan(data_end * kPageBytes));
  const ByteSpan around = into.subspan(data_begin * kPageBytes, (data_end - data_begin) * kPageBytes);
  if (page_aligned(around.data())) {
    CO_TRY_VOID(co_await read_data(*chunk, first_page + data_begin, around));
  } else {
    Buffer aligned = Buffer::allocate(around.size());
    CO_TRY_VOID(co_await read_data(*chunk, first_page + data_begin, aligned.span()));
    std::memcpy(around.data(), aligned.data(), around.size());
  }
  co_return states;
}

// Reads pages of which at least the outer ones are data, compares, and fills the others with zeros.
Task<Result<void>> DiskStore::read_data(Chunk& chunk, uint32_t first_page, ByteSpan into) {
  if (!files_.has(chunk.slot)) co_return fail(ErrorCode::kCorrupt, "slot beyond the files", first_page);
  const Result<void> read = co_await files_.file_of(chunk.slot).read(files_.offset_of(chunk.slot, first_page), into);
  if (!read) co_return read;
  for (uint32_t i = 0; i < into.size() / kPageBytes; ++i) {
    const uint32_t page = first_page + i;
    const ByteSpan bytes = into.subspan(i * kPageBytes, kPageBytes);
    if (chunk.map.get(page) != PageState::kData) {
      fill_zero(bytes);
    } else if (page_checksum(chunk.identity(uuid_, page), bytes) != (*chunk.sums)[page]) {
      CO_TRY_VOID(co_await read_again(chunk, page, bytes));
    }
  }
  co_return Result<void>();
}

// A page that did not match is read once more: the fault may have been on the way. And a failing write-back may have
// cost a page that memory still has the checksum of, a moment before the store hears of it: not rot, but lost (R-EIO).
Task<Result<void>> DiskStore::read_again(Chunk& chunk, uint32_t page, ByteSpan into) {
  if (!fail_stop_.failed()) {
    CO_TRY_VOID(co_await files_.file_of(chunk.slot).read(files_.offset_of(chunk.slot, page), into));
  }
  if (fail_stop_.failed()) co_return fail(fail_stop_.error());
  if (page_checksum(chunk.identity(uuid_, page), into) == (*chunk.sums)[page]) co_return Result<void>();
  ++stats_.corrupt_pages;
  co_return fail(ErrorCode::kCorrupt, "page checksum", page);
}

// ---- write

Task<Result<void>> DiskStore::write(ChunkKey key, Version version, uint32_t first_page, ConstByteSpan data,
                                    const WriteGuard& guard) {
  CO_TRY_VOID(check_range(first_page, data.size()));
  CO_TRY(const runtime::Gate::Pass pass, enter());
  const auto pages = static_cast<uint32_t>(data.size() / kPageBytes);
  const ChunkPin chunk = table_.pin(key);
  PageLock lock(chunk->locks, executor_, first_page, pages, PageAccess::kExclusive);
  co_await lock.granted();
  if (!chunk->loaded) {
    CO_TRY_VOID(co_await table_.load(*chunk));
  }
  if (!chunk->in_changed) {
    CO_TRY_VOID(co_await make_room(*chunk));
  }
  if (!guard.admitted()) co_return fail(ErrorCode::kStaleSession, "chunk write");
  if (chunk->slot == kNoSlot) {
    CO_TRY_VOID(take_slot(*chunk));
  } else if (!files_.has(chunk->slot)) {  // the file was cut short: what it held is lost, new data are not to be
    CO_TRY_VOID(files_.make_room(chunk->slot, options_.free_bytes_min));
  }
  const PageSet range = PageSet::range(first_page, pages);
  if (!chunk->dirty.missing(range & chunk->exposed).empty()) {
    CO_TRY_VOID(co_await name_pages(*chunk, range));
  }
  if (!guard.admitted()) co_return fail(ErrorCode::kStaleSession, "chunk write");
  if (page_aligned(data.data())) co_return co_await write_data(*chunk, version, first_page, data);
  const Buffer aligned = Buffer::copy_of(data);
  co_return co_await write_data(*chunk, version, first_page, aligned.span());
}

// Waits until the chunk may join the changed ones.
Task<Result<void>> DiskStore::make_room(Chunk& chunk) {
  while (!chunk.in_changed && table_.changed().size() >= options_.changed_chunks_max) {
    if (fail_stop_.failed()) co_return fail(fail_stop_.error());
    due_.wake_all();
    co_await room_.wait();
  }
  co_return Result<void>();
}

Result<void> DiskStore::take_slot(Chunk& chunk) {
  const std::optional<uint64_t> slot = slots_.take(chunk.key.volume);
  if (!slot) return fail(ErrorCode::kNoSpace, "chunk store full");
  Result<void> room = files_.make_room(*slot, options_.free_bytes_min);
  if (!room) {
    slots_.release(*slot, chunk.key.volume);
    // Not a matter of space but of the process: writers try again, and a person may have to do something.
    if (room.error().code == ErrorCode::kUnavailable && !std::exchange(shortage_told_, true))
      LOG_WARN("chunk store {:016x}: writes to new places wait: {}", uuid_.value, room.error().message());
    return room;
  }
  shortage_told_ = false;
  chunk.slot = *slot;
  chunk.generation = superblock_->written().opens << 32 | ++generations_;
  chunk.sums = std::make_unique<PageSums>();
  table_.mark_changed(chunk);  // so that a slot that gets no data is given back
  return {};
}

// Until the durable dirty record names those of the pages that a crash could find torn under a checksum.
Task<Result<void>> DiskStore::name_pages(Chunk& chunk, PageSet pages) {
  for (;;) {
    const PageSet missing = chunk.dirty.missing(pages & chunk.exposed);
    if (missing.empty()) co_return Result<void>();
    // Of a store that has failed nobody makes room any more.
    if (fail_stop_.failed()) co_return fail(fail_stop_.error());
    if (!log_->has_room_for_writers()) {
      due_.wake_all();
      co_await room_.wait();
      continue;
    }
    checkpoint_.note_named(missing.count());
    chunk.dirty.name(missing);
    table_.mark_changed(chunk);
    CO_TRY_VOID(co_await checkpoint_.commit_names(chunk));
    if (fail_stop_.failed()) co_return fail(fail_stop_.error());
  }
}

// The lock is held, the pages are named, the caller is admitted: nothing is awaited before the submission.
Task<Result<void>> DiskStore::write_data(Chunk& chunk, Version version, uint32_t first_page, ConstByteSpan data) {
  const auto pages = static_cast<uint32_t>(data.size() / kPageBytes);
  const PageSet range = PageSet::range(first_page, pages);
  PageSums sums;
  for (uint32_t i = 0; i < pages; ++i)
    sums[i] = page_checksum(chunk.identity(uuid_, first_page + i), data.subspan(i * kPageBytes, kPageBytes));
  ++stats_.writes;
  chunk.in_flight |= range;
  runtime::File& file = files_.file_of(chunk.slot);
  Result<void> written = co_await file.write(files_.offset_of(chunk.slot, first_page), data);
  if (!written) {
    // What is on disk now is unknown: the pages stay in flight, so that no record takes them for written.
    Error error = co_await fail_stop_.raise(std::move(written.error()));
    co_return fail(std::move(error));
  }
  files_.note_write(chunk.slot);
  chunk.in_flight -= range;
  bool map_changed = false;
  for (uint32_t i = 0; i < pages; ++i) {
    (*chunk.sums)[first_page + i] = sums[i];
    map_changed |= chunk.map.get(first_page + i) != PageState::kData;
    chunk.map.set(first_page + i, PageState::kData);
  }
  chunk.version = std::max(chunk.version, version);
  ++chunk.changes;
  if (map_changed) ++chunk.map_changes;
  map_changed ? table_.mark_map_changed(chunk) : table_.mark_changed(chunk);
  if (checkpoint_due()) due_.wake_all();
  if (fail_stop_.failed()) co_return fail(fail_stop_.error());
  co_return Result<void>();
}

// ---- zero

Task<Result<void>> DiskStore::zero(ChunkKey key, Version version, uint32_t first_page, uint32_t pages,
                                   const WriteGuard& guard) {
  CO_TRY_VOID(check_range(first_page, pages * kPageBytes));
  CO_TRY(const runtime::Gate::Pass pass, enter());
  const ChunkPin chunk = table_.pin(key);
  PageLock lock(chunk->locks, executor_, first_page, pages, PageAccess::kExclusive);
  co_await lock.granted();
  if (!chunk->loaded) {
    CO_TRY_VOID(co_await table_.load(*chunk));
  }
  if (!chunk->in_changed) {
    CO_TRY_VOID(co_await make_room(*chunk));
  }
  if (!guard.admitted()) co_return fail(ErrorCode::kStaleSession, "chunk zero");
  if (PLANTED("trim as advice")) co_return Result<void>();
  ++stats_.writes;
  bool map_changed = false;
  for (uint32_t page = first_page; page < first_page + pages; ++page) {
    map_changed |= chunk->map.get(page) != PageState::kZero;
    chunk->map.set(page, PageState::kZero);
  }
  chunk->version = std::max(chunk->version, version);
  ++chunk->changes;
  if (map_changed) ++chunk->map_changes;
  map_changed ? table_.mark_map_changed(*chunk) : table_.mark_changed(*chunk);
  if (checkpoint_due()) due_.wake_all();
  co_return Result<void>();
}

// ---- the rest of the interface

Task<Result<void>> DiskStore::flush() {
  CO_TRY(const runtime::Gate::Pass pass, enter());
  ++stats_.flushes;
  co_return co_await checkpoint_.flush();
}

Task<Result<PageMap>> DiskStore::states(ChunkKey key) {
  CO_TRY(const runtime::Gate::Pass pass, enter());
  const ChunkPin chunk = table_.pin(key);
  PageLock lock(chunk->locks, executor_, 0, kPagesPerChunk, PageAccess::kShared);
  co_await lock.granted();
  CO_TRY_VOID(co_await table_.load(*chunk));
  co_return chunk->map;
}

Task<Result<Version>> DiskStore::version(ChunkKey key) {
  CO_TRY(const runtime::Gate::Pass pass, enter());
  const ChunkPin chunk = table_.pin(key);
  PageLock lock(chunk->locks, executor_, 0, kPagesPerChunk, PageAccess::kShared);
  co_await lock.granted();
  CO_TRY_VOID(co_await table_.load(*chunk));
  co_return chunk->version;
}

Task<Result<void>> DiskStore::erase(VolumeId volume, uint64_t first_chunk, uint64_t chunks) {
  constexpr size_t kKeysPerBatch = 256;
  CO_TRY(const runtime::Gate::Pass pass, enter());
  ChunkKey begin{volume, 0, first_chunk};
  ChunkKey end{volume, 0, first_chunk + chunks};
  if (end.chunk < first_chunk) end = ChunkKey{VolumeId{volume.value + 1}, 0, 0};
  for (;;) {
    CO_TRY(const std::vector<ChunkKey> keys, co_await table_.keys(begin, end, kKeysPerBatch));
    for (const ChunkKey& key : keys) {
      CO_TRY_VOID(co_await forget_chunk(key));
    }
    CO_TRY_VOID(co_await checkpoint_.flush());
    if (keys.size() < kKeysPerBatch) co_return Result<void>();
    begin = keys.back();
    if (++begin.layer == 0) ++begin.chunk;
    co_await executor_.yield();
  }
}

// In memory: the next flush takes it out of the index.
Task<Result<void>> DiskStore::forget_chunk(ChunkKey key) {
  const ChunkPin chunk = table_.pin(key);
  PageLock lock(chunk->locks, executor_, 0, kPagesPerChunk, PageAccess::kExclusive);
  co_await lock.granted();
  CO_TRY_VOID(co_await table_.load(*chunk));
  chunk->map = PageMap();
  chunk->version = Version();
  ++chunk->changes;
  ++chunk->map_changes;
  table_.mark_map_changed(*chunk);
  co_return Result<void>();
}

Task<Result<void>> DiskStore::put_notes(std::vector<Note> notes) {
  CO_TRY(const runtime::Gate::Pass pass, enter());
  index::Batch batch;
  for (Note& note : notes) {
    if (note.value) {
      batch.put(note_key(note.key), std::move(*note.value));
    } else {
      batch.erase(note_key(note.key));
    }
  }
  co_return co_await checkpoint_.commit_batch(std::move(batch));
}

Task<Result<std::vector<ChunkStore::Note>>> DiskStore::notes(std::string prefix) {
  constexpr size_t kNotesPerScan = 1024;
  CO_TRY(const runtime::Gate::Pass pass, enter());
  std::vector<Note> found;
  std::string begin = note_key(prefix);
  const std::string end = prefix_end(begin);
  for (;;) {
    CO_TRY(std::vector<index::KeyValue> part, co_await index_->scan(begin, end, kNotesPerScan, false));
    for (index::KeyValue& kv : part) found.push_back({kv.key.substr(1), std::move(kv.value)});
    if (part.size() < kNotesPerScan) co_return found;
    begin = part.back().key + '\0';
  }
}

Task<Result<void>> DiskStore::settle_incomplete() {
  CO_TRY(const runtime::Gate::Pass pass, enter());
  superblock_->next().incomplete = 0;
  co_return co_await superblock_->write();
}

StoreStats DiskStore::stats() const {
  StoreStats stats = stats_;
  stats.capacity_bytes = options_.capacity_bytes;
  stats.slots = slots_.slots_max();
  stats.slots_used = slots_.used_count();
  stats.checkpoints = checkpoint_.checkpoints();
  stats.dirty_chunks = table_.changed().size();
  return stats;
}

std::vector<VolumeUsage> DiskStore::usage() const {
  std::vector<VolumeUsage> usage;
  for (const auto& [volume, slots] : slots_.used_by())
    if (volume != SlotAllocator::kNoOwner) usage.push_back({volume, slots * kChunkBytes});
  return usage;
}

Task<Result<void>> DiskStore::close() {
  co_await calls_.close();
  if (closed_) co_return Result<void>();
  closed_ = stopping_ = true;
  wake_background();
  co_await background_.close();
  if (fail_stop_.failed()) co_return fail(fail_stop_.error());
  // The first pass carries everything, the second what only waited for locks to give back a slot.
  while (!table_.changed().empty()) {
    CO_TRY_VOID(co_await checkpoint_.run());
  }
  const Result<void> closed = co_await index_->close();
  if (!closed) {
    Error error = co_await fail_stop_.raise(closed.error());
    co_return fail(std::move(error));
  }
  superblock_->next().clean = 1;
  Result<void> marked = co_await superblock_->write();
  if (marked) co_return marked;
  Error error = co_await fail_stop_.raise(std::move(marked.error()));
  co_return fail(std::move(error));
}

// ---- background

bool DiskStore::checkpoint_due() const {
  return table_.changed().size() * 2 >= options_.changed_chunks_max ||
         checkpoint_.named_pages() >= options_.named_pages_max || log_->condense_due();
}

// Whether it is only the dirty log that has grown, and by many records of few chunks. Names are kept as long as they
// may be, since a page that has one is written over at no further cost.
bool DiskStore::condensing_is_enough() const {
  const size_t changed = table_.changed().size();
  return log_->condense_due() && log_->condensable_to(changed) && changed * 2 < options_.changed_chunks_max &&
         checkpoint_.named_pages() < options_.named_pages_max &&
         executor_.now_ns() < checkpointed_ns_ + options_.checkpoint_interval_ns;
}

Task<void> DiskStore::checkpoint_when_due() {
  const std::optional<runtime::Gate::Pass> pass = background_.enter();
  if (!pass) co_return;
  checkpointed_ns_ = executor_.now_ns();
  while (!stopping_ && !fail_stop_.failed()) {
    if (!checkpoint_due()) co_await due_.wait_until(checkpointed_ns_ + options_.checkpoint_interval_ns);
    if (stopping_ || fail_stop_.failed()) break;
    // A failure of either has closed the store.
    if (condensing_is_enough()) {
      (void)co_await checkpoint_.condense_names();
    } else {
      (void)co_await checkpoint_.run();
      checkpointed_ns_ = executor_.now_ns();
    }
    room_.wake_all();
  }
  room_.wake_all();
}

Task<void> DiskStore::prepare_slots() {
  const std::optional<runtime::Gate::Pass> pass = background_.enter();
  if (!pass) co_return;
  Buffer zeros = Buffer::zeroed(kChunkBytes);
  while (!stopping_ && !fail_stop_.failed()) {
    uint64_t& prepared = superblock_->next().prepared_slots;
    while (slots_.used(prepared)) ++prepared;
    // A store that is hardly used prepares little; the last free slot is left to writers.
    const uint64_t used = slots_.used_count();
    const bool ahead = used == 0 || prepared >= used + std::min(options_.prepared_slots, used / 2 + 2) ||
                       prepared >= slots_.slots_max() || used + 1 >= slots_.slots_max();
    const uint64_t slot = prepared;
    if (ahead || !files_.make_room(slot, options_.free_bytes_min)) {
      co_await due_.wait_until(executor_.now_ns() + 100'000'000);
      continue;
    }
    slots_.take(slot, SlotAllocator::kNoOwner);
    const uint64_t started_ns = executor_.now_ns();
    const Result<void> written = co_await files_.file_of(slot).write(files_.offset_of(slot, 0), zeros.span());
    slots_.release(slot, SlotAllocator::kNoOwner);
    if (!written) break;  // the disk will tell a writer soon enough
    ++superblock_->next().prepared_slots;
    co_await executor_.sleep_until(started_ns + kChunkBytes * 1'000'000'000 / options_.prepare_bytes_per_second);
  }
}

}  // namespace foreshard::store
