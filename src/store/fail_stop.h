// FailStop: what happens when a write, a sync or the index fails (R-EIO). Nothing is retried: the first
// failure raises the loss counter, durably if the disk still lets us, and from then on every call of the
// store ends with kLossy. The clean marker stays unset, so the next open raises loss in any case.
#pragma once

#include <functional>

#include "store/superblock_file.h"

namespace foreshard::store {

class FailStop {
 public:
  // `on_failure` is called once, at the first failure: whoever waits must look again.
  FailStop(SuperblockFile& superblock, std::function<void()> on_failure)
      : superblock_(superblock), on_failure_(std::move(on_failure)) {}
  bool failed() const { return failed_; }
  // What later calls answer.
  Error error() const { return Error{ErrorCode::kLossy, "chunk store closed by an earlier failure"}; }
  // Closes the store for this cause; gives the error to answer with.
  runtime::Task<Error> raise(Error cause);

 private:
  SuperblockFile& superblock_;
  std::function<void()> on_failure_;
  bool failed_ = false;
};

}  // namespace foreshard::store
