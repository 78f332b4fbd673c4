// Checkpoint: carries what changed in memory into the index, always in the order of R-CKPT and R-SLOT: take a
// snapshot of chunk records, sync the slot files, then put the records in one synced batch. So a record never
// shows a page as data before its bytes are on disk, nor frees a slot before its owner has durably let go.
//
//   flush       carries only chunks whose page map changed since their last record; over pure overwrites it
//               is one sync of the slot files, since the dirty records already name what may mismatch.
//   checkpoint  carries all changed chunks and voids the dirty records that they needed.
//
// Owner: DiskStore. Batches are composed at the moment they are handed to the index, which applies them in
// that order; one snapshot is on its way at a time. Any failure ends in FailStop.
#pragma once

#include <vector>

#include "store/chunk_table.h"
#include "store/dirty_log.h"
#include "store/fail_stop.h"
#include "store/slot_allocator.h"
#include "store/slot_files.h"

namespace foreshard::store {

class Checkpoint {
 public:
  Checkpoint(runtime::Executor& executor, index::Index& index, DirtyLog& log, ChunkTable& table, SlotFiles& files,
             SlotAllocator& slots, SuperblockFile& superblock, FailStop& fail_stop)
      : index_(index),
        log_(log),
        table_(table),
        files_(files),
        slots_(slots),
        superblock_(superblock),
        fail_stop_(fail_stop),
        committing_(executor),
        flush_ended_(executor),
        names_ended_(executor) {}

  // Everything changed before the call is durable after it. Calls at the same time share the work.
  runtime::Task<Result<void>> flush();
  // Every chunk that is on the changed list now is carried over once.
  runtime::Task<Result<void>> run();
  // Says all names anew, a record a chunk, so that the log need not keep the many records that grew them.
  runtime::Task<Result<void>> condense_names();
  // Makes the names of the chunk's dirty pages durable. Calls at the same time go in one append.
  runtime::Task<Result<void>> commit_names(Chunk& chunk);
  // A batch of other records, synced; notes its sequence in the superblock.
  runtime::Task<Result<void>> commit_batch(index::Batch batch);

  // Pages named since the last checkpoint began: what a recovery would read.
  uint64_t named_pages() const { return named_pages_; }
  void note_named(uint64_t pages) { named_pages_ += pages; }
  uint64_t flushes() const { return flushes_; }
  uint64_t checkpoints() const { return checkpoints_; }

 private:
  // A chunk's record on its way to the index.
  struct Snapshot {
    ChunkPin chunk;
    std::string value;  // empty: there is nothing to record
    PageSet data;
    uint64_t changes = 0, map_changes = 0;
    uint64_t slot = kNoSlot;
    uint64_t released = kNoSlot;
  };
  enum class Names : uint8_t { kKeep, kDrop };

  runtime::Task<Result<void>> flush_now();
  runtime::Task<Result<void>> carry(std::list<Chunk*>& list, Names names);
  Snapshot take_snapshot(Chunk& chunk, Names names);
  runtime::Task<Result<void>> commit(std::vector<Snapshot>& snapshots);
  index::Batch compose(std::vector<Snapshot>& snapshots);
  runtime::Task<Result<void>> name_what_is_in_flight(const std::vector<Snapshot>& snapshots);
  runtime::Task<Result<void>> commit_names();
  runtime::Task<Result<void>> commit_waiting_names();
  std::vector<Chunk*> take_naming(bool all);
  void settle(std::vector<Snapshot>& snapshots);
  runtime::Task<Result<void>> sync_files();
  runtime::Task<Result<void>> write_batch(index::Batch batch);

  static constexpr size_t kChunksPerBatch = 512;

  index::Index& index_;
  DirtyLog& log_;
  ChunkTable& table_;
  SlotFiles& files_;
  SlotAllocator& slots_;
  SuperblockFile& superblock_;
  FailStop& fail_stop_;
  runtime::Mutex committing_;
  runtime::WaitQueue flush_ended_;
  uint64_t flushes_asked_ = 0, flushes_covered_ = 0;
  bool flushing_ = false;
  std::vector<Chunk*> naming_;  // wait for their names to be durable; pinned by the callers
  runtime::WaitQueue names_ended_;
  uint64_t names_asked_ = 0, names_covered_ = 0;
  bool names_on_their_way_ = false;
  bool condense_ = false;  // the next append is to say all names
  uint64_t named_pages_ = 0;
  uint64_t flushes_ = 0, checkpoints_ = 0;
};

}  // namespace foreshard::store
