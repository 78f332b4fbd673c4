// DiskStore: the chunk store on a disk (design.md section 6, docs/internals/chunk-store.md). Pages are
// overwritten in place in slots of one chunk; the index knows for each chunk its slot, page map and checksums.
//
// Owner: the server. Ends by close() in good order. Destruction without close is a crash, allowed only once
// the executor's tasks have been destroyed. Invariants:
//   - what the index shows as data was on disk before (R-SLOT), and is this chunk's, never a former owner's;
//   - a page that differs from its checksum is named by a durable dirty record, or it is rot (R-TORN);
//   - after a failed write, sync or index call nothing is served any more (R-EIO).
#pragma once

#include <memory>

#include "index/index.h"
#include "store/checkpoint.h"
#include "store/chunk_store.h"

namespace foreshard::store {

struct DiskStoreOptions {
  uint64_t capacity_bytes = 0;                   // that slots may take
  uint64_t slot_file_bytes = uint64_t{1} << 40;  // of a new store
  uint64_t growth_bytes = 64u << 20;             // by which slot files grow
  uint64_t free_bytes_min = 256u << 20;          // left on the disk for the index: deletes always work
  uint64_t chunk_cache_bytes = 64u << 20;        // of records of chunks that nobody uses
  uint64_t changed_chunks_max = 16384;           // beyond it writes to other chunks wait for a checkpoint
  uint64_t named_pages_max = 262144;             // a checkpoint starts: what a recovery reads is bounded
  uint64_t dirty_log_bytes = 32u << 20;          // of a new store; condensed when a quarter is used
  uint64_t checkpoint_interval_ns = 300'000'000'000;
  uint64_t prepared_slots = 0;  // at most: free slots written with zeros ahead of use
  uint64_t prepare_bytes_per_second = 64u << 20;
  uint64_t scrub_bytes_per_second = 32u << 20;  // 0: no limit
};

class DiskStore : public ChunkStore {
 public:
  // Opens the store in the disk's folder, or formats one there when there is none. kUnsupported: a newer format.
  // The disk and runtime outlive the store.
  static runtime::Task<Result<std::unique_ptr<ChunkStore>>> open(runtime::Runtime& runtime, runtime::Disk& disk,
                                                                 index::OpenIndex open_index, DiskStoreOptions options);
  ~DiskStore() override = default;

  StoreUuid uuid() const override { return uuid_; }
  uint64_t loss() const override { return superblock_->next().loss; }
  bool incomplete() const override { return superblock_->next().incomplete != 0; }
  runtime::Task<Result<void>> settle_incomplete() override;
  runtime::Task<Result<PageMap>> read(ChunkKey key, uint32_t first_page, ByteSpan into) override;
  runtime::Task<Result<void>> write(ChunkKey key, Version version, uint32_t first_page, ConstByteSpan data,
                                    const WriteGuard& guard) override;
  runtime::Task<Result<void>> zero(ChunkKey key, Version version, uint32_t first_page, uint32_t pages,
                                   const WriteGuard& guard) override;
  runtime::Task<Result<void>> flush() override;
  runtime::Task<Result<PageMap>> states(ChunkKey key) override;
  runtime::Task<Result<Version>> version(ChunkKey key) override;
  runtime::Task<Result<void>> erase(VolumeId volume, uint64_t first_chunk, uint64_t chunks) override;
  runtime::Task<Result<void>> put_notes(std::vector<Note> notes) override;
  runtime::Task<Result<std::vector<Note>>> notes(std::string prefix) override;
  runtime::Task<Result<ScrubPart>> scrub(ChunkKey begin, ChunkKey end, uint64_t bytes_per_second,
                                         runtime::Signal* stop) override;
  std::vector<VolumeUsage> usage() const override;
  StoreStats stats() const override;
  bool failed() const override { return fail_stop_.failed(); }
  runtime::Task<Result<void>> close() override;

 private:
  // What is open when the store is made.
  struct Parts {
    std::unique_ptr<SuperblockFile> superblock;
    std::unique_ptr<index::Index> index;
    std::unique_ptr<DirtyLog> log;
    bool was_clean = false;
  };
  DiskStore(runtime::Runtime& runtime, runtime::Disk& disk, Parts parts, DiskStoreOptions options);

  // ---- opening (disk_store_open.cc)
  static runtime::Task<Result<Parts>> open_parts(runtime::Runtime& runtime, runtime::Disk& disk,
                                                 index::OpenIndex open_index, DiskStoreOptions options);
  runtime::Task<Result<void>> start();
  runtime::Task<Result<void>> find_slots();
  runtime::Task<Result<void>> recover();
  runtime::Task<Result<void>> recover_slot(std::span<const DirtyLog::Found> records);
  runtime::Task<Result<void>> accept_as_found(Chunk& chunk, PageSet pages);

  // ---- calls
  Result<runtime::Gate::Pass> enter();
  static Result<void> check_range(uint64_t first_page, uint64_t bytes);
  runtime::Task<Result<void>> make_room(Chunk& chunk);
  Result<void> take_slot(Chunk& chunk);
  runtime::Task<Result<void>> name_pages(Chunk& chunk, PageSet pages);
  runtime::Task<Result<void>> read_data(Chunk& chunk, uint32_t first_page, ByteSpan into);
  runtime::Task<Result<void>> read_again(Chunk& chunk, uint32_t page, ByteSpan into);
  runtime::Task<Result<void>> write_data(Chunk& chunk, Version version, uint32_t first_page, ConstByteSpan data);
  runtime::Task<Result<void>> forget_chunk(ChunkKey key);

  // ---- scrubbing (disk_store_scrub.cc)
  static constexpr uint32_t kScrubPages = 32;  // at a time
  runtime::Task<Result<void>> scrub_chunk(ChunkKey key, ByteSpan buffer, uint64_t bytes_per_second,
                                          runtime::Signal* stop, ScrubPart& part);
  runtime::Task<void> pause_until(runtime::Signal* stop, uint64_t deadline_ns);
  runtime::Task<Result<uint64_t>> scrub_pages(Chunk& chunk, uint32_t first, ByteSpan buffer,
                                              std::vector<PageFault>& faults);

  // ---- background
  runtime::Task<void> checkpoint_when_due();
  runtime::Task<void> prepare_slots();
  bool checkpoint_due() const;
  bool condensing_is_enough() const;
  void wake_background() {
    due_.wake_all();
    room_.wake_all();
  }

  runtime::Runtime& runtime_;
  runtime::Executor& executor_;
  const DiskStoreOptions options_;
  const StoreUuid uuid_;
  std::unique_ptr<SuperblockFile> superblock_;
  std::unique_ptr<index::Index> index_;
  std::unique_ptr<DirtyLog> log_;
  const bool was_clean_;
  FailStop fail_stop_;
  SlotFiles files_;
  SlotAllocator slots_;
  ChunkTable table_;
  Checkpoint checkpoint_;
  runtime::Gate calls_;       // calls of the interface inside
  runtime::Gate background_;  // loops inside
  runtime::WaitQueue due_;    // the checkpoint loop waits here
  runtime::WaitQueue room_;   // writers wait here for a checkpoint to end
  bool stopping_ = false;     // the loops are to end
  bool closed_ = false;
  uint64_t checkpointed_ns_ = 0;  // when the last checkpoint ended
  uint64_t generations_ = 0;  // drawn since the open
  bool shortage_told_ = false;  // that this process lacks what a new slot needs
  StoreStats stats_;
};

}  // namespace foreshard::store
