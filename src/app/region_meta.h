// RegionMeta: the metadata of a region on its disk. When the disk fails or is full, the embedded store stops for good:
// this closes it and opens it anew, again and again with pauses, so that the region goes on by itself when the disk is
// well again. Meanwhile every call ends with kUnavailable, as if the metadata's process were being restarted. Metadata
// that has lost its end is not served.
#pragma once

#include <memory>

#include "app/revision_mark.h"
#include "meta/embedded_meta.h"
#include "runtime/sync.h"

namespace foreshard::app {

class RegionMeta final : public meta::Meta {
 public:
  // Fails when it cannot be opened this first time; kCorrupt when it is older than it was.
  static runtime::Task<Result<std::unique_ptr<RegionMeta>>> open(runtime::Runtime& runtime, runtime::Disk& disk,
                                                                 index::OpenIndex open_index);
  runtime::Task<Result<void>> close();

  runtime::Task<Result<std::optional<meta::Entry>>> get(std::string key) override;
  runtime::Task<Result<meta::RangeResult>> range(std::string begin, std::string end, size_t limit,
                                                 bool backward) override;
  runtime::Task<Result<meta::TransactionResult>> commit(meta::Transaction transaction) override;
  runtime::Task<Result<std::unique_ptr<meta::Watch>>> watch(std::string prefix, meta::Revision from) override;
  runtime::Task<Result<meta::LeaseId>> grant_lease(uint64_t ttl_ns) override;
  runtime::Task<Result<void>> renew_lease(meta::LeaseId lease) override;
  runtime::Task<Result<void>> revoke_lease(meta::LeaseId lease) override;

  // Why it does not serve at the moment; empty while it does.
  const std::string& fault() const { return fault_; }

 private:
  RegionMeta(runtime::Runtime& runtime, runtime::Disk& disk, index::OpenIndex open_index)
      : runtime_(runtime),
        disk_(disk),
        open_index_(std::move(open_index)),
        stopping_(runtime.executor()),
        gate_(runtime.executor()) {}
  runtime::Task<Result<void>> open_store();
  runtime::Task<Result<void>> open_mark();
  Result<void> check_mark(meta::Revision revision);
  void note(meta::Revision revision);
  runtime::Task<void> close_mark();
  runtime::Task<void> supervise(runtime::Gate::Pass pass);
  // The store as it is now; a call under way keeps it. kUnavailable between two of them.
  Result<std::shared_ptr<meta::EmbeddedMeta>> store() const;

  runtime::Runtime& runtime_;
  runtime::Disk& disk_;
  index::OpenIndex open_index_;
  std::shared_ptr<meta::EmbeddedMeta> store_;
  std::unique_ptr<RevisionMark> mark_;
  meta::Revision durable_ = 0;  // that any store has reached since the process began, or the mark tells of
  std::string fault_;
  runtime::Signal stopping_;
  runtime::Gate gate_;
};

}  // namespace foreshard::app
