#include "store/slot_files.h"

#include <algorithm>

#include "base/planted.h"

namespace foreshard::store {

using runtime::Disk;
using runtime::Task;

Result<void> SlotFiles::open() {
  for (;;) {
    const std::string path = path_of(files_.size());
    TRY(const bool exists, disk_.exists(path));
    if (!exists) return {};
    SlotFile slot_file;
    TRY(slot_file.file, disk_.open(path, Disk::Open::kExisting));
    TRY(slot_file.bytes, slot_file.file->size());
    files_.push_back(std::move(slot_file));
  }
}

bool SlotFiles::has(uint64_t slot) const {
  const uint64_t index = slot / slots_per_file();
  return index < files_.size() && (slot % slots_per_file() + 1) * kChunkBytes <= files_[index].bytes;
}

Result<void> SlotFiles::make_room(uint64_t slot, uint64_t free_bytes_min) {
  if (has(slot)) return {};
  const uint64_t index = slot / slots_per_file();
  const uint64_t end = (slot % slots_per_file() + 1) * kChunkBytes;
  const uint64_t known = index < files_.size() ? files_[index].bytes : 0;
  const uint64_t grown = std::min(file_bytes_, (end + growth_bytes_ - 1) / growth_bytes_ * growth_bytes_);
  TRY(const uint64_t free, disk_.free_bytes());
  const uint64_t wanted = free >= grown - known + free_bytes_min ? grown : end;
  if (free < wanted - known + free_bytes_min) return fail(ErrorCode::kNoSpace, "slot file: the disk is full", free);
  while (files_.size() <= index) {
    SlotFile slot_file;
    TRY(slot_file.file, disk_.open(path_of(files_.size()), Disk::Open::kCreate));
    TRY_VOID(disk_.sync_folder("slots"));
    if (files_.empty()) {
      TRY_VOID(disk_.sync_folder(""));
    }
    TRY(slot_file.bytes, slot_file.file->size());  // one that lay behind a missing one is longer than nothing
    files_.push_back(std::move(slot_file));
  }
  if (has(slot)) return {};
  TRY_VOID(files_[index].file->allocate(wanted));
  files_[index].bytes = wanted;
  return {};
}

Task<Result<void>> SlotFiles::sync() {
  for (size_t i = 0; i < files_.size(); ++i) {
    const uint64_t wanted = files_[i].writes;
    while (files_[i].synced < wanted) {
      if (failed_) co_return fail(ErrorCode::kIo, "an earlier sync of a slot file failed");
      if (files_[i].syncing) {
        co_await sync_ended_.wait();
        continue;
      }
      CO_TRY_VOID(co_await sync_file(i));
    }
  }
  co_return Result<void>();
}

Task<Result<void>> SlotFiles::sync_file(size_t index) {
  const uint64_t covering = files_[index].writes;
  files_[index].syncing = true;
  Result<void> synced = co_await files_[index].file->sync();
  if (!synced && PLANTED("fsync retried")) synced = co_await files_[index].file->sync();
  files_[index].syncing = false;
  sync_ended_.wake_all();
  if (synced) {
    files_[index].synced = covering;
  } else {
    failed_ = true;
  }
  co_return synced;
}

}  // namespace foreshard::store
