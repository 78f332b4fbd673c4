#include "app/revision_mark.h"

#include <cstring>
#include <utility>

#include "base/buffer.h"
#include "base/crc32c.h"
#include "base/log.h"

namespace foreshard::app {

using runtime::Task;

namespace {

// At the beginning of the file's only page.
struct MarkRecord {
  uint64_t magic = 0x314b52414d4d5346ull;  // "FSMMARK1"
  uint64_t revision = 0;
  uint32_t checksum = 0;  // CRC32C of the record with this field zero
  uint32_t reserved = 0;
};
static_assert(sizeof(MarkRecord) == 24);

uint32_t checksum_of(MarkRecord record) {
  record.checksum = 0;
  return crc32c(object_bytes(record));
}

}  // namespace

Task<Result<std::unique_ptr<RevisionMark>>> RevisionMark::open(runtime::Runtime& runtime, runtime::Disk& disk) {
  CO_TRY(std::unique_ptr<runtime::File> file, disk.open(kPath, runtime::Disk::Open::kCreate));
  std::unique_ptr<RevisionMark> mark(new RevisionMark(runtime, std::move(file)));
  CO_TRY_VOID(co_await mark->load());
  co_return std::move(mark);
}

Task<Result<void>> RevisionMark::load() {
  CO_TRY(const uint64_t size, file_->size());
  if (size < kPageBytes) {
    if (size != 0) LOG_WARN("{} is cut: whether the metadata is all there cannot be told this time", kPath);
    // Its place is reserved, so that it can be written when the disk is full. If it is already, later ones say less.
    const Result<void> reserved = file_->allocate(kPageBytes);
    if (!reserved) LOG_DEBUG("{}: {}", kPath, reserved.error().message());
    co_return Result<void>();
  }
  Buffer page = Buffer::allocate(kPageBytes);
  CO_TRY_VOID(co_await file_->read(0, page.span()));
  const auto record = load_object<MarkRecord>(page.span());
  if (record.magic == MarkRecord().magic && record.checksum == checksum_of(record)) {
    noted_ = written_ = record.revision;
  } else if (record.magic != 0 || record.checksum != 0) {
    LOG_WARN("{} is damaged: whether the metadata is all there cannot be told this time", kPath);
  }
  co_return Result<void>();
}

void RevisionMark::note(meta::Revision revision) {
  if (revision <= noted_) return;
  noted_ = revision;
  if (writing_) return;
  std::optional<runtime::Gate::Pass> pass = gate_.enter();
  if (!pass) return;
  writing_ = true;
  executor_.spawn(write(std::move(*pass)));
}

Task<void> RevisionMark::write(runtime::Gate::Pass pass) {
  while (written_ < noted_) {
    MarkRecord record;
    record.revision = noted_;
    record.checksum = checksum_of(record);
    Buffer page = Buffer::zeroed(kPageBytes);
    std::memcpy(page.data(), &record, sizeof(record));
    const Result<void> done = co_await file_->write(0, page.span());
    if (!done) {
      // The metadata is on the same disk: it will tell. The next change tries again.
      LOG_DEBUG("{}: {}", kPath, done.error().message());
      break;
    }
    written_ = record.revision;
  }
  writing_ = false;
}

Task<void> RevisionMark::close() {
  co_await gate_.close();
  const Result<void> synced = co_await file_->sync();
  if (!synced) LOG_DEBUG("{}: {}", kPath, synced.error().message());
}

}  // namespace foreshard::app
