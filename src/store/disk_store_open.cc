// How a DiskStore opens: superblock, index, what was lost, which slots are used, which pages a crash has torn.
#include <algorithm>

#include "base/buffer.h"
#include "base/log.h"
#include "base/planted.h"
#include "store/disk_store.h"

namespace foreshard::store {

using runtime::Task;

namespace {

constexpr size_t kRecordsPerScan = 256;

Task<Result<void>> format_if_missing(runtime::Runtime& runtime, runtime::Disk& disk, const DiskStoreOptions& options) {
  CO_TRY(const bool exists, disk.exists(SuperblockFile::kPath));
  if (exists) co_return Result<void>();
  CO_TRY(const bool has_slots, disk.exists("slots/0"));
  if (has_slots)
    co_return fail(ErrorCode::kCorrupt, "chunk store",
                   std::string("there are slots but no superblock: restore it, or remove the folder to start empty"));
  Superblock first;
  first.uuid = runtime.random().next() | 1;
  first.loss = 1;
  first.clean = 1;
  first.slot_file_bytes = options.slot_file_bytes;
  co_return co_await SuperblockFile::format(disk, first);
}

}  // namespace

Task<Result<std::unique_ptr<ChunkStore>>> DiskStore::open(runtime::Runtime& runtime, runtime::Disk& disk,
                                                          index::OpenIndex open_index, DiskStoreOptions options) {
  if (options.slot_file_bytes == 0 || options.slot_file_bytes % kChunkBytes != 0 || options.growth_bytes == 0 ||
      options.growth_bytes % kChunkBytes != 0 || options.changed_chunks_max == 0)
    co_return fail(ErrorCode::kInvalid, "chunk store options");
  CO_TRY_VOID(co_await format_if_missing(runtime, disk, options));
  CO_TRY(std::unique_ptr<SuperblockFile> superblock, co_await SuperblockFile::open(runtime.executor(), disk));
  CO_TRY(std::unique_ptr<index::Index> index, co_await open_index(runtime, disk, "index"));
  std::unique_ptr<DiskStore> store(new DiskStore(runtime, disk, std::move(superblock), std::move(index), options));
  Result<void> started = co_await store->start();
  if (!started) co_return fail(std::move(started.error()));
  co_return std::unique_ptr<ChunkStore>(std::move(store));
}

DiskStore::DiskStore(runtime::Runtime& runtime, runtime::Disk& disk, std::unique_ptr<SuperblockFile> superblock,
                     std::unique_ptr<index::Index> index, DiskStoreOptions options)
    : runtime_(runtime),
      executor_(runtime.executor()),
      options_(options),
      uuid_{superblock->written().uuid},
      superblock_(std::move(superblock)),
      index_(std::move(index)),
      fail_stop_(*superblock_, [this] { wake_background(); }),
      files_(executor_, disk, superblock_->written().slot_file_bytes, options.growth_bytes),
      slots_(options.capacity_bytes / kChunkBytes),
      table_(executor_, *index_, options.chunk_cache_bytes),
      checkpoint_(executor_, *index_, table_, files_, slots_, *superblock_, fail_stop_),
      calls_(executor_),
      background_(executor_),
      due_(executor_),
      room_(executor_) {}

Task<Result<void>> DiskStore::start() {
  CO_TRY_VOID(co_await announce_open());
  CO_TRY_VOID(files_.open());
  CO_TRY_VOID(co_await find_slots());
  CO_TRY_VOID(co_await recover());
  executor_.spawn(checkpoint_when_due());
  if (options_.prepared_slots != 0) executor_.spawn(prepare_slots());
  co_return Result<void>();
}

// Before anything is served it is durable that the store is open, and whether something may have been forgotten.
Task<Result<void>> DiskStore::announce_open() {
  const Superblock& found = superblock_->written();
  const bool opened_short = index_->opened_sequence() < found.index_sequence && !PLANTED("WAL tail dropped");
  Superblock& next = superblock_->next();
  // When one copy is lost the other may lack its newest step, so the counters take two.
  const uint64_t step = superblock_->one_copy_lost() ? 2 : 1;
  if (found.clean == 0 || opened_short || superblock_->one_copy_lost()) next.loss += step;
  if (opened_short) {
    LOG_WARN("chunk store {:016x}: the index ends at {}, {} had been made durable: what it hosts is incomplete",
             found.uuid, index_->opened_sequence(), found.index_sequence);
    next.incomplete = 1;
  }
  next.opens += step;
  next.clean = 0;
  next.index_sequence = index_->opened_sequence();
  co_return co_await superblock_->write();
}

Task<Result<void>> DiskStore::find_slots() {
  std::string begin = "s";
  const std::string end = prefix_end(begin);
  for (;;) {
    CO_TRY(const std::vector<index::KeyValue> part, co_await index_->scan(begin, end, 4 * kRecordsPerScan, false));
    for (const index::KeyValue& kv : part) {
      const std::optional<uint64_t> slot = parse_slot_key(kv.key, 's');
      if (!slot) co_return fail(ErrorCode::kCorrupt, "index key of a slot", kv.key.size());
      slots_.take(*slot);
    }
    if (part.size() < 4 * kRecordsPerScan) co_return Result<void>();
    begin = part.back().key + '\0';
  }
}

// R-TORN: pages named by dirty records may differ from their checksums; no others may. They are taken as found.
Task<Result<void>> DiskStore::recover() {
  // What an earlier process wrote may be readable and yet not durable: it must not change after it was summed.
  CO_TRY_VOID(co_await files_.sync());
  std::string begin = "d";
  const std::string end = prefix_end(begin);
  for (;;) {
    CO_TRY(const std::vector<index::KeyValue> part, co_await index_->scan(begin, end, kRecordsPerScan, false));
    for (const index::KeyValue& kv : part) {
      const std::optional<uint64_t> slot = parse_slot_key(kv.key, 'd');
      Result<DirtyRecord> record = parse_dirty(kv.key, kv.value);
      if (!slot || !record) {
        LOG_WARN("chunk store: dirty record of slot {} is unreadable, its pages may show as corrupt", slot.value_or(0));
        continue;
      }
      CO_TRY_VOID(co_await recover_slot(*slot, *record));
    }
    if (!table_.changed().empty()) {
      CO_TRY_VOID(co_await checkpoint_.run());
    }
    if (part.size() < kRecordsPerScan) co_return Result<void>();
    begin = part.back().key + '\0';
  }
}

Task<Result<void>> DiskStore::recover_slot(uint64_t slot, DirtyRecord record) {
  const ChunkPin chunk = table_.pin(ChunkKey{VolumeId{record.volume}, record.layer, record.chunk});
  const Result<void> loaded = co_await table_.load(*chunk);
  if (!loaded) {
    if (loaded.error().code != ErrorCode::kCorrupt) co_return loaded;
    LOG_WARN("chunk store: chunk {} of volume {}: {}", record.chunk, record.volume, loaded.error().message());
    co_return Result<void>();
  }
  if (chunk->slot != slot || chunk->generation != record.generation) {
    index::Batch batch;  // of a slot that its chunk never durably had
    batch.erase(dirty_key(slot));
    co_return co_await checkpoint_.commit_batch(std::move(batch));
  }
  PageSet pages{record.pages};
  chunk->dirty.name(pages);
  chunk->dirty.committed(chunk->dirty.compose());
  chunk->dirty_in_index = true;
  table_.mark_changed(*chunk);
  pages &= chunk->data_pages();
  if (PLANTED("recompute whole chunk")) pages = chunk->data_pages();
  co_return co_await accept_as_found(*chunk, pages);
}

Task<Result<void>> DiskStore::accept_as_found(Chunk& chunk, PageSet pages) {
  if (!files_.has(chunk.slot)) co_return Result<void>();
  Buffer buffer = Buffer::allocate(kPageBytes);
  runtime::File& file = files_.file_of(chunk.slot);
  for (uint32_t page = 0; page < kPagesPerChunk; ++page) {
    if (!pages.contains(page)) continue;
    const Result<void> read = co_await file.read(files_.offset_of(chunk.slot, page), buffer.span());
    if (!read) {
      LOG_WARN("chunk store: slot {} page {}: {}", chunk.slot, page, read.error().message());
      continue;
    }
    const uint32_t sum = page_checksum(chunk.identity(uuid_, page), buffer.span());
    if (sum == (*chunk.sums)[page]) continue;
    (*chunk.sums)[page] = sum;
    ++chunk.changes;
    ++stats_.accepted_pages;
  }
  co_return Result<void>();
}

}  // namespace foreshard::store
