// How a DiskStore opens: superblock, index, what was lost, which slots are used, which pages a crash has torn.
#include <algorithm>
#include <span>

#include "base/buffer.h"
#include "base/log.h"
#include "base/planted.h"
#include "store/disk_store.h"

namespace foreshard::store {

using runtime::Task;

namespace {

constexpr size_t kRecordsPerScan = 1024;

Task<Result<void>> format_if_missing(runtime::Runtime& runtime, runtime::Disk& disk, const DiskStoreOptions& options) {
  CO_TRY(const bool exists, disk.exists(SuperblockFile::kPath));
  if (exists) co_return Result<void>();
  // Both are made after the superblock.
  CO_TRY(const bool has_slots, disk.exists("slots/0"));
  CO_TRY(const bool has_dirty_log, disk.exists(DirtyLog::kPath));
  if (has_slots || has_dirty_log)
    co_return fail(ErrorCode::kCorrupt, "chunk store",
                   std::string("there are data but no superblock: restore it, or remove the folder to start empty"));
  Superblock first;
  first.uuid = runtime.random().next() | 1;
  first.loss = 1;
  first.clean = 1;
  first.slot_file_bytes = options.slot_file_bytes;
  co_return co_await SuperblockFile::format(disk, first);
}

// A process that was killed may still have writes under way; nothing is read before they have ended.
Task<Result<void>> wait_for_files(runtime::Executor& executor, runtime::Disk& disk) {
  constexpr uint64_t kPatienceNs = 10'000'000'000;
  constexpr uint64_t kPauseNs = 5'000'000;
  std::vector<std::string> paths{SuperblockFile::kPath, DirtyLog::kPath};
  CO_TRY(const bool has_slots, disk.exists("slots"));
  if (has_slots) {
    CO_TRY(const std::vector<std::string> names, disk.list("slots"));
    for (const std::string& name : names) paths.push_back("slots/" + name);
  }
  const uint64_t deadline_ns = executor.now_ns() + kPatienceNs;
  for (const std::string& path : paths) {
    for (;;) {
      const Result<std::unique_ptr<runtime::File>> file = disk.open(path, runtime::Disk::Open::kExisting);
      if (file || file.error().code != ErrorCode::kBusy) break;
      if (executor.now_ns() >= deadline_ns) co_return fail(file.error());
      co_await executor.sleep_for(kPauseNs);
    }
  }
  co_return Result<void>();
}

// Before anything is served it is durable that the store is open, and whether something may have been forgotten.
Task<Result<void>> announce_open(SuperblockFile& superblock, const index::Index& index) {
  const Superblock& found = superblock.written();
  const bool opened_short = index.opened_sequence() < found.index_sequence && !PLANTED("WAL tail dropped");
  Superblock& next = superblock.next();
  // When one copy is lost the other may lack its newest step, so the counters take two.
  const uint64_t step = superblock.one_copy_lost() ? 2 : 1;
  if (found.clean == 0 || opened_short || superblock.one_copy_lost()) next.loss += step;
  if (opened_short) {
    LOG_WARN("chunk store {:016x}: the index ends at {}, {} had been made durable: what it hosts is incomplete",
             found.uuid, index.opened_sequence(), found.index_sequence);
    next.incomplete = 1;
  }
  next.opens += step;
  next.clean = 0;
  next.index_sequence = index.opened_sequence();
  co_return co_await superblock.write();
}

}  // namespace

Task<Result<std::unique_ptr<ChunkStore>>> DiskStore::open(runtime::Runtime& runtime, runtime::Disk& disk,
                                                          index::OpenIndex open_index, DiskStoreOptions options) {
  if (options.slot_file_bytes == 0 || options.slot_file_bytes % kChunkBytes != 0 || options.growth_bytes == 0 ||
      options.growth_bytes % kChunkBytes != 0 || options.changed_chunks_max == 0)
    co_return fail(ErrorCode::kInvalid, "chunk store options");
  CO_TRY(Parts parts, co_await open_parts(runtime, disk, std::move(open_index), options));
  std::unique_ptr<DiskStore> store(new DiskStore(runtime, disk, std::move(parts), options));
  Result<void> started = co_await store->start();
  if (!started) co_return fail(std::move(started.error()));
  co_return std::unique_ptr<ChunkStore>(std::move(store));
}

Task<Result<DiskStore::Parts>> DiskStore::open_parts(runtime::Runtime& runtime, runtime::Disk& disk,
                                                     index::OpenIndex open_index, DiskStoreOptions options) {
  Parts parts;
  CO_TRY_VOID(co_await wait_for_files(runtime.executor(), disk));
  CO_TRY_VOID(co_await format_if_missing(runtime, disk, options));
  CO_TRY_VOID(co_await wait_for_files(runtime.executor(), disk));  // the kernel may still hold what was just written
  CO_TRY(parts.superblock, co_await SuperblockFile::open(runtime.executor(), disk));
  parts.was_clean = parts.superblock->written().clean != 0 && !parts.superblock->one_copy_lost();
  CO_TRY(parts.index, co_await open_index(runtime, disk, "index"));
  CO_TRY_VOID(disk.sync_folder(""));  // so that the index's folder itself survives
  CO_TRY_VOID(co_await announce_open(*parts.superblock, *parts.index));
  const Superblock& superblock = parts.superblock->written();
  CO_TRY(parts.log,
         co_await DirtyLog::open(disk, StoreUuid{superblock.uuid}, superblock.opens, options.dirty_log_bytes));
  co_return parts;
}

DiskStore::DiskStore(runtime::Runtime& runtime, runtime::Disk& disk, Parts parts, DiskStoreOptions options)
    : runtime_(runtime),
      executor_(runtime.executor()),
      options_(options),
      uuid_{parts.superblock->written().uuid},
      superblock_(std::move(parts.superblock)),
      index_(std::move(parts.index)),
      log_(std::move(parts.log)),
      was_clean_(parts.was_clean),
      fail_stop_(*superblock_, [this] { wake_background(); }),
      files_(executor_, disk, superblock_->written().slot_file_bytes, options.growth_bytes),
      slots_(options.capacity_bytes / kChunkBytes),
      table_(executor_, *index_, options.chunk_cache_bytes),
      checkpoint_(executor_, *index_, *log_, table_, files_, slots_, *superblock_, fail_stop_),
      calls_(executor_),
      background_(executor_),
      due_(executor_),
      room_(executor_) {}

Task<Result<void>> DiskStore::start() {
  CO_TRY_VOID(files_.open());
  CO_TRY_VOID(co_await find_slots());
  CO_TRY_VOID(co_await recover());
  executor_.spawn(checkpoint_when_due());
  if (options_.prepared_slots != 0) executor_.spawn(prepare_slots());
  co_return Result<void>();
}

Task<Result<void>> DiskStore::find_slots() {
  std::string begin = "s";
  const std::string end = prefix_end(begin);
  for (;;) {
    CO_TRY(const std::vector<index::KeyValue> part, co_await index_->scan(begin, end, kRecordsPerScan, false));
    for (const index::KeyValue& kv : part) {
      const std::optional<uint64_t> slot = parse_slot_key(kv.key);
      if (!slot) co_return fail(ErrorCode::kCorrupt, "index key of a slot", kv.key.size());
      // Whose a slot is counts for the usage only: the chunks' records say what they hold.
      const Result<SlotRecord> record = parse_slot(kv.key, kv.value);
      if (!record && record.error().code == ErrorCode::kUnsupported) co_return fail(record.error());
      if (!record) LOG_WARN("chunk store: slot {}: {}", *slot, record.error().message());
      slots_.take(*slot, record ? VolumeId{record->volume} : SlotAllocator::kNoOwner);
    }
    if (part.size() < kRecordsPerScan) co_return Result<void>();
    begin = part.back().key + '\0';
  }
}

// R-TORN: pages named by dirty records may differ from their checksums; no others may. They are taken as found.
Task<Result<void>> DiskStore::recover() {
  // What an earlier process wrote may be readable and yet not durable: it must not change after it was summed.
  CO_TRY_VOID(co_await files_.sync());
  if (was_clean_) co_return Result<void>();
  CO_TRY(const std::vector<DirtyLog::Found> found, co_await log_->read_all());
  std::span<const DirtyLog::Found> rest(found);
  while (!rest.empty()) {
    const auto same = [&rest](const DirtyLog::Found& record) {
      return record.entry.slot == rest[0].entry.slot && record.entry.generation == rest[0].entry.generation;
    };
    const auto end = std::find_if_not(rest.begin(), rest.end(), same);
    const auto count = static_cast<size_t>(end - rest.begin());
    CO_TRY_VOID(co_await recover_slot(rest.first(count)));
    rest = rest.subspan(count);
    if (rest.empty() || table_.changed().size() >= options_.changed_chunks_max) {
      CO_TRY_VOID(co_await checkpoint_.run());
    }
  }
  co_return Result<void>();
}

// The records are of one slot and generation.
Task<Result<void>> DiskStore::recover_slot(std::span<const DirtyLog::Found> records) {
  const DirtyEntry& entry = records[0].entry;
  const ChunkPin chunk = table_.pin(ChunkKey{VolumeId{entry.volume}, entry.layer, entry.chunk});
  const Result<void> loaded = co_await table_.load(*chunk);
  if (!loaded) {
    if (loaded.error().code != ErrorCode::kCorrupt) co_return loaded;
    LOG_WARN("chunk store: chunk {} of volume {}: {}", entry.chunk, entry.volume, loaded.error().message());
    co_return Result<void>();
  }
  if (chunk->slot != entry.slot || chunk->generation != entry.generation) co_return Result<void>();
  PageSet pages;
  for (const DirtyLog::Found& record : records) {
    if (record.sequence < chunk->names_from) continue;
    pages |= PageSet{record.entry.pages};
    // The checkpoint of this recovery voids it, also when it names nothing that is data now: the page may become data
    // again, and rot, under a record that must not excuse that.
    table_.mark_changed(*chunk);
  }
  pages &= chunk->data_pages();
  if (pages.empty()) co_return Result<void>();
  // They stay named until that checkpoint.
  chunk->dirty.name(pages);
  chunk->dirty.committed(chunk->dirty.compose());
  if (PLANTED("recompute whole chunk")) pages = chunk->data_pages();
  co_return co_await accept_as_found(*chunk, pages);
}

Task<Result<void>> DiskStore::accept_as_found(Chunk& chunk, PageSet pages) {
  constexpr uint32_t kWindowPages = 32;  // what one read may span
  if (!files_.has(chunk.slot)) co_return Result<void>();
  Buffer buffer = Buffer::allocate(kWindowPages * kPageBytes);
  runtime::File& file = files_.file_of(chunk.slot);
  for (uint32_t window = 0; window < kPagesPerChunk; window += kWindowPages) {
    uint32_t first = window, end = window + kWindowPages;
    while (first < end && !pages.contains(first)) ++first;
    while (end > first && !pages.contains(end - 1)) --end;
    if (first == end) continue;
    const ByteSpan around = buffer.subspan(0, (end - first) * kPageBytes);
    const Result<void> read = co_await file.read(files_.offset_of(chunk.slot, first), around);
    for (uint32_t page = first; page < end; ++page) {
      if (!pages.contains(page)) continue;
      const ByteSpan bytes = around.subspan((page - first) * kPageBytes, kPageBytes);
      if (!read) {  // one of them; the others are not lost for it
        const Result<void> alone = co_await file.read(files_.offset_of(chunk.slot, page), bytes);
        if (!alone) {
          LOG_WARN("chunk store: slot {} page {}: {}", chunk.slot, page, alone.error().message());
          continue;
        }
      }
      const uint32_t sum = page_checksum(chunk.identity(uuid_, page), bytes);
      if (sum == (*chunk.sums)[page]) continue;
      (*chunk.sums)[page] = sum;
      ++chunk.changes;
      ++stats_.accepted_pages;
    }
  }
  co_return Result<void>();
}

}  // namespace foreshard::store
