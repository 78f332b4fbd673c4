// SuperblockFile: the store's two alternating superblocks. Each write goes to the copy that does not count
// yet and is synced before it counts, so one whole copy is always there.
//
// Owner: DiskStore. Concurrent updates queue up; what several ask for at once goes in one write.
#pragma once

#include <memory>

#include "runtime/sync.h"
#include "store/format.h"

namespace foreshard::store {

class SuperblockFile {
 public:
  static constexpr const char* kPath = "superblock";

  // Formats a store: both copies are durable, then the file gets its name.
  static runtime::Task<Result<void>> format(runtime::Disk& disk, Superblock first);
  static runtime::Task<Result<std::unique_ptr<SuperblockFile>>> open(runtime::Executor& executor, runtime::Disk& disk);

  // As last written, and what is to be written next.
  const Superblock& written() const { return written_; }
  Superblock& next() { return next_; }
  // True when one copy was torn or rotten when the file was opened: the other may not be the newest.
  bool one_copy_lost() const { return one_copy_lost_; }
  // Makes next(), as it is now or later, durable.
  runtime::Task<Result<void>> write();

 private:
  SuperblockFile(runtime::Executor& executor, std::unique_ptr<runtime::File> file)
      : file_(std::move(file)), writing_(executor) {}
  runtime::Task<Result<void>> load();

  std::unique_ptr<runtime::File> file_;
  runtime::Mutex writing_;
  Superblock written_, next_;
  uint64_t asked_ = 0;    // calls of write()
  uint64_t covered_ = 0;  // of those, covered by what is written
  bool one_copy_lost_ = false;
};

}  // namespace foreshard::store
