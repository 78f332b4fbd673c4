#include "app/region_meta.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include <fmt/format.h>

#include "base/log.h"

namespace foreshard::app {

using runtime::Task;

namespace {

constexpr uint64_t kLookNs = 200'000'000;  // between looks whether the store has failed
constexpr uint64_t kReopenPauseNsMax = 5'000'000'000;
constexpr uint64_t kMarkPatienceNs = 10'000'000'000, kMarkPauseNs = 5'000'000;
constexpr const char* kKeptLogs = "meta-logs";

// RocksDB deletes a log that it has opened, also one that it could read a part of only. Until it is known that nothing
// is missing, the logs have second names; those of a start that was refused are left alone. Where that cannot be done,
// a damaged log is lost as it would have been.
void keep_logs(const std::filesystem::path& region) {
  std::error_code error;
  if (region.empty() || std::filesystem::exists(region / kKeptLogs, error)) return;
  std::filesystem::create_directory(region / kKeptLogs, error);
  for (std::filesystem::directory_iterator file(region / "meta", error), end; !error && file != end;
       file.increment(error)) {
    if (file->path().extension() != ".log") continue;
    const std::filesystem::path kept = region / kKeptLogs / file->path().filename();
    std::filesystem::create_hard_link(file->path(), kept, error);
    if (error) std::filesystem::copy_file(file->path(), kept, error);
  }
  if (error && error != std::errc::no_such_file_or_directory)
    LOG_WARN("meta: its logs could not be kept aside: {}", error.message());
}

void drop_logs(const std::filesystem::path& region) {
  std::error_code error;
  if (!region.empty()) std::filesystem::remove_all(region / kKeptLogs, error);
}

}  // namespace

Task<Result<std::unique_ptr<RegionMeta>>> RegionMeta::open(runtime::Runtime& runtime, runtime::Disk& disk,
                                                           index::OpenIndex open_index) {
  std::unique_ptr<RegionMeta> region_meta(new RegionMeta(runtime, disk, std::move(open_index)));
  CO_TRY_VOID(co_await region_meta->open_store());
  runtime.executor().spawn(region_meta->supervise(*region_meta->gate_.enter()));
  co_return region_meta;
}

Task<Result<void>> RegionMeta::close() {
  stopping_.set();
  co_await gate_.close();
  co_await close_mark();
  const std::shared_ptr<meta::EmbeddedMeta> store = std::move(store_);
  if (store == nullptr) {
    if (fault_.empty()) co_return Result<void>();
    co_return fail(ErrorCode::kIo, "the region ended", "its metadata did not serve: " + fault_);
  }
  co_return co_await store->close();
}

Task<Result<void>> RegionMeta::open_store() {
  CO_TRY_VOID(co_await open_mark());
  keep_logs(disk_.host_path());
  CO_TRY(std::unique_ptr<index::Index> index, co_await open_index_(runtime_, disk_, "meta"));
  CO_TRY(std::unique_ptr<meta::EmbeddedMeta> store, co_await meta::EmbeddedMeta::open(runtime_, std::move(index)));
  const Result<void> whole = check_mark(store->revision());
  if (!whole) {
    (void)co_await store->close();
    co_return fail(whole.error());
  }
  drop_logs(disk_.host_path());
  store_ = std::move(store);
  co_return Result<void>();
}

// One that is there must be read. Where it cannot even be made, it is done without.
Task<Result<void>> RegionMeta::open_mark() {
  if (mark_ != nullptr) co_return Result<void>();
  CO_TRY(const bool there, disk_.exists(RevisionMark::kPath));
  const uint64_t deadline_ns = runtime_.now_ns() + kMarkPatienceNs;
  for (;;) {
    Result<std::unique_ptr<RevisionMark>> mark = co_await RevisionMark::open(runtime_, disk_);
    if (mark) {
      mark_ = std::move(*mark);
      co_return Result<void>();
    }
    // The last write of a process that was killed may still be under way.
    const bool busy = mark.error().code == ErrorCode::kBusy;
    if (busy && runtime_.now_ns() < deadline_ns) {
      co_await runtime_.executor().sleep_for(kMarkPauseNs);
      continue;
    }
    if (there) {
      co_return fail(mark.error().code, "metadata",
                     fmt::format("whether all of it is there cannot be told: {}; to go on without, remove {}/{}",
                                 mark.error().message(), disk_.host_path(), RevisionMark::kPath));
    }
    LOG_WARN("meta: whether all of it is there cannot be told later: {}", mark.error().message());
    co_return Result<void>();
  }
}

Result<void> RegionMeta::check_mark(meta::Revision revision) {
  if (mark_ != nullptr) durable_ = std::max(durable_, mark_->revision());
  if (revision < durable_) {
    return fail(
        ErrorCode::kCorrupt, "metadata",
        fmt::format(
            "it ends at revision {} and was at {}: its log is damaged, or {}/meta is an old copy. Servers would "
            "delete volumes that it does not know. Put the right one back (its logs as they were found are in "
            "{} beside it); to go on with what is left, remove the file {}",
            revision, durable_, disk_.host_path(), kKeptLogs, RevisionMark::kPath));
  }
  note(revision);
  return {};
}

void RegionMeta::note(meta::Revision revision) {
  durable_ = std::max(durable_, revision);
  if (mark_ != nullptr) mark_->note(revision);
}

Task<void> RegionMeta::close_mark() {
  if (mark_ != nullptr) co_await mark_->close();
  mark_.reset();
}

Task<void> RegionMeta::supervise(runtime::Gate::Pass pass) {
  uint64_t pause_ns = kLookNs;
  while (!stopping_.is_set()) {
    const std::shared_ptr<meta::EmbeddedMeta> store = store_;
    if (store != nullptr) {
      const bool failed = co_await store->failed().wait_until(runtime_.now_ns() + kLookNs);
      if (!failed) continue;
      fault_ = "the metadata's disk has failed";
      store_.reset();
      const Result<void> closed = co_await store->close();
      if (!closed) LOG_DEBUG("meta: {}", closed.error().message());
      co_await close_mark();
    }
    const bool stopping = co_await stopping_.wait_until(runtime_.now_ns() + pause_ns);
    if (stopping) co_return;
    const Result<void> opened = co_await open_store();
    if (opened) {
      LOG_INFO("meta: opened anew, it serves again");
      fault_.clear();
      pause_ns = kLookNs;
      continue;
    }
    if (fault_ != opened.error().message()) LOG_WARN("meta: does not open: {}", opened.error().message());
    fault_ = opened.error().message();
    pause_ns = std::min(pause_ns * 2, kReopenPauseNsMax);
  }
}

Result<std::shared_ptr<meta::EmbeddedMeta>> RegionMeta::store() const {
  if (store_ == nullptr) return fail(ErrorCode::kUnavailable, "metadata", fault_);
  return store_;
}

Task<Result<std::optional<meta::Entry>>> RegionMeta::get(std::string key) {
  CO_TRY(const std::shared_ptr<meta::EmbeddedMeta> meta, store());
  co_return co_await meta->get(std::move(key));
}

Task<Result<meta::RangeResult>> RegionMeta::range(std::string begin, std::string end, size_t limit, bool backward) {
  CO_TRY(const std::shared_ptr<meta::EmbeddedMeta> meta, store());
  co_return co_await meta->range(std::move(begin), std::move(end), limit, backward);
}

Task<Result<meta::TransactionResult>> RegionMeta::commit(meta::Transaction transaction) {
  CO_TRY(const std::shared_ptr<meta::EmbeddedMeta> meta, store());
  Result<meta::TransactionResult> result = co_await meta->commit(std::move(transaction));
  if (result) note(meta->revision());
  co_return result;
}

Task<Result<std::unique_ptr<meta::Watch>>> RegionMeta::watch(std::string prefix, meta::Revision from) {
  CO_TRY(const std::shared_ptr<meta::EmbeddedMeta> meta, store());
  co_return co_await meta->watch(std::move(prefix), from);
}

Task<Result<meta::LeaseId>> RegionMeta::grant_lease(uint64_t ttl_ns) {
  CO_TRY(const std::shared_ptr<meta::EmbeddedMeta> meta, store());
  co_return co_await meta->grant_lease(ttl_ns);
}

Task<Result<void>> RegionMeta::renew_lease(meta::LeaseId lease) {
  CO_TRY(const std::shared_ptr<meta::EmbeddedMeta> meta, store());
  co_return co_await meta->renew_lease(lease);
}

Task<Result<void>> RegionMeta::revoke_lease(meta::LeaseId lease) {
  CO_TRY(const std::shared_ptr<meta::EmbeddedMeta> meta, store());
  co_return co_await meta->revoke_lease(lease);
}

}  // namespace foreshard::app
