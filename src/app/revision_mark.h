// RevisionMark: how far a region's metadata had come, in a file beside it. Metadata whose log is damaged opens without
// its end, as after a crash in the middle of a write: nothing in it tells that there was more, and servers would delete
// the volumes that it no longer knows. The mark follows behind what is durable, so what opens short of it has lost
// something.
//
// Owner: RegionMeta; one executor. Costs a write of a page, not synced, for changes that come together; after a power
// loss it may tell less than there was, never more. close() before the end. A mark that cannot be read says nothing.
#pragma once

#include <memory>

#include "base/result.h"
#include "meta/meta.h"
#include "runtime/io.h"
#include "runtime/sync.h"

namespace foreshard::app {

class RevisionMark {
 public:
  static constexpr const char* kPath = "meta-revision";

  static runtime::Task<Result<std::unique_ptr<RevisionMark>>> open(runtime::Runtime& runtime, runtime::Disk& disk);
  meta::Revision revision() const { return noted_; }
  // It is durable; soon the mark says so.
  void note(meta::Revision revision);
  runtime::Task<void> close();

 private:
  RevisionMark(runtime::Runtime& runtime, std::unique_ptr<runtime::File> file)
      : executor_(runtime.executor()), file_(std::move(file)), gate_(executor_) {}
  runtime::Task<Result<void>> load();
  runtime::Task<void> write(runtime::Gate::Pass pass);

  runtime::Executor& executor_;
  std::unique_ptr<runtime::File> file_;
  meta::Revision noted_ = 0, written_ = 0;
  bool writing_ = false;
  runtime::Gate gate_;
};

}  // namespace foreshard::app
