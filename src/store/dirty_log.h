// DirtyLog: the durable dirty records (R-DIRTY, R-TORN): which pages may differ from their checksums after a
// crash. A ring of pages in a file of its own, written with zeros when it is made, so that a record costs one
// write and one sync of blocks that are there already, and no other thread.
//
// A record counts for a chunk when it names the chunk's present slot and generation and its sequence is not
// below the `names_from` of the chunk's record in the index: a checkpoint voids what it makes up for by raising
// that, in the same batch as the checksums. Sequences grow over all openings of the store.
//
// Owner: DiskStore. One append at a time. Invariant: what may still count is not overwritten.
#pragma once

#include <memory>
#include <vector>

#include "runtime/io.h"
#include "store/format.h"

namespace foreshard::store {

class DirtyLog {
 public:
  static constexpr const char* kPath = "dirty";
  static constexpr uint64_t kPagesMin = 16;

  // Makes the file, of `bytes`, when it is missing. `opens` has never been used before for this store.
  static runtime::Task<Result<std::unique_ptr<DirtyLog>>> open(runtime::Disk& disk, StoreUuid store, uint64_t opens,
                                                               uint64_t bytes);

  struct Found {
    uint64_t sequence;
    DirtyEntry entry;
  };
  // All records of earlier openings that are whole, by slot and sequence. To be called before the first append.
  runtime::Task<Result<std::vector<Found>>> read_all();

  // Of the next record.
  uint64_t next_sequence() const { return opens_ << kPageNumberBits | next_; }
  // Durable at the end. kTooLarge without effect when the ring is full of what may still count.
  runtime::Task<Result<void>> append(std::vector<DirtyEntry> entries);
  // Nothing before this sequence counts any more.
  void release_before(uint64_t sequence);

  // Writers leave half of the ring to checkpoints, which cannot wait for room.
  bool has_room_for_writers() const { return live_pages() < pages_ / 2; }
  // Full enough that names should be said anew in fewer pages, or a checkpoint make them needless.
  bool condense_due() const { return live_pages() >= pages_ / 4; }
  // Whether so many records would leave the ring well below that.
  bool condensable_to(size_t entries) const { return entries / kDirtyEntriesPerPage + 1 <= pages_ / 8; }

 private:
  static constexpr int kPageNumberBits = 40;  // years of appends in one opening, 16 million openings
  DirtyLog(std::unique_ptr<runtime::File> file, StoreUuid store, uint64_t opens, uint64_t pages)
      : file_(std::move(file)), store_(store), opens_(opens), pages_(pages) {}
  static runtime::Task<Result<std::unique_ptr<runtime::File>>> make(runtime::Disk& disk, uint64_t bytes);
  uint64_t live_pages() const { return next_ - oldest_; }

  std::unique_ptr<runtime::File> file_;
  const StoreUuid store_;
  const uint64_t opens_;
  const uint64_t pages_;
  uint64_t oldest_ = 1;  // the oldest page that may count, and the next; page n lies at n % pages_
  uint64_t next_ = 1;
};

}  // namespace foreshard::store
