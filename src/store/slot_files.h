// SlotFiles: the files that hold the slots. They grow in steps as slots are first used and never shrink.
//
// Owner: DiskStore. Invariant: a slot that make_room() has answered for has its space reserved, so that a
// write to it cannot run out of it.
#pragma once

#include <memory>
#include <vector>

#include "runtime/io.h"
#include "runtime/sync.h"
#include "store/format.h"

namespace foreshard::store {

class SlotFiles {
 public:
  SlotFiles(runtime::Executor& executor, runtime::Disk& disk, uint64_t file_bytes, uint64_t growth_bytes)
      : disk_(disk), file_bytes_(file_bytes), growth_bytes_(growth_bytes), sync_ended_(executor) {}

  // Opens the files that are there.
  Result<void> open();
  // Reserves the slot's space; kNoSpace without effect, also when the disk would keep less than free_bytes_min.
  Result<void> make_room(uint64_t slot, uint64_t free_bytes_min);
  // Whether the slot lies within the files as they are.
  bool has(uint64_t slot) const;

  runtime::File& file_of(uint64_t slot) { return *files_[slot / slots_per_file()].file; }
  uint64_t offset_of(uint64_t slot, uint32_t page) const {
    return slot % slots_per_file() * kChunkBytes + page * kPageBytes;
  }
  // A write to the slot has ended: the next sync covers it.
  void note_write(uint64_t slot) { ++files_[slot / slots_per_file()].writes; }
  // All writes noted before the call are durable after it. A file has one sync at a time: the system reports a
  // failed write-back to one of several callers only, and what it dropped is not in the next sync either.
  runtime::Task<Result<void>> sync();

 private:
  struct SlotFile {
    std::unique_ptr<runtime::File> file;  // empty: not made yet
    uint64_t bytes = 0;
    uint64_t writes = 1;  // ended (the first stands for those of an earlier process), and of those synced
    uint64_t synced = 0;
    bool syncing = false;
  };
  runtime::Task<Result<void>> sync_file(size_t index);
  uint64_t slots_per_file() const { return file_bytes_ / kChunkBytes; }
  static std::string path_of(uint64_t index) { return "slots/" + std::to_string(index); }

  runtime::Disk& disk_;
  const uint64_t file_bytes_;
  const uint64_t growth_bytes_;
  std::vector<SlotFile> files_;
  runtime::WaitQueue sync_ended_;
  bool failed_ = false;
};

}  // namespace foreshard::store
