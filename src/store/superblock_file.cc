#include "store/superblock_file.h"

#include "base/buffer.h"

namespace foreshard::store {

using runtime::Task;

Task<Result<void>> SuperblockFile::format(runtime::Disk& disk, Superblock first) {
  const std::string fresh = std::string(kPath) + ".new";
  CO_TRY(const std::unique_ptr<runtime::File> file, disk.open(fresh, runtime::Disk::Open::kCreate));
  CO_TRY_VOID(file->allocate(2 * kPageBytes));
  Buffer pages = Buffer::zeroed(2 * kPageBytes);
  for (uint64_t copy = 0; copy < 2; ++copy) {
    first.write_count = copy;
    seal_superblock(first);
    std::memcpy(pages.data() + copy * kPageBytes, &first, kPageBytes);
  }
  CO_TRY_VOID(co_await file->write(0, pages.span()));
  CO_TRY_VOID(co_await file->sync());
  CO_TRY_VOID(disk.rename(fresh, kPath));
  CO_TRY_VOID(disk.sync_folder(""));
  co_return Result<void>();
}

Task<Result<std::unique_ptr<SuperblockFile>>> SuperblockFile::open(runtime::Executor& executor, runtime::Disk& disk) {
  CO_TRY(std::unique_ptr<runtime::File> file, disk.open(kPath, runtime::Disk::Open::kExisting));
  std::unique_ptr<SuperblockFile> superblock(new SuperblockFile(executor, std::move(file)));
  CO_TRY_VOID(co_await superblock->load());
  co_return superblock;
}

Task<Result<void>> SuperblockFile::load() {
  Buffer pages = Buffer::allocate(2 * kPageBytes);
  CO_TRY_VOID(co_await file_->read(0, pages.span()));
  std::optional<Superblock> newest;
  Error error{ErrorCode::kCorrupt, "superblock"};
  for (uint64_t copy = 0; copy < 2; ++copy) {
    Result<Superblock> parsed = parse_superblock(pages.subspan(copy * kPageBytes, kPageBytes));
    if (!parsed) {
      if (parsed.error().code == ErrorCode::kUnsupported) co_return fail(std::move(parsed.error()));
      one_copy_lost_ = true;
      error = std::move(parsed.error());
    } else if (!newest || parsed->write_count > newest->write_count) {
      newest = *parsed;
    }
  }
  if (!newest) {
    error.detail = "both copies of the superblock are unreadable: restore the folder, or remove it to start empty";
    co_return fail(std::move(error));
  }
  written_ = next_ = *newest;
  co_return Result<void>();
}

Task<Result<void>> SuperblockFile::write() {
  const uint64_t mine = ++asked_;
  const runtime::Mutex::Guard guard = co_await writing_.lock();
  if (covered_ >= mine) co_return Result<void>();
  const uint64_t covering = asked_;
  next_.write_count = written_.write_count + 1;
  Superblock writing = next_;
  seal_superblock(writing);
  Buffer page = Buffer::copy_of(object_bytes(writing));
  CO_TRY_VOID(co_await file_->write(writing.write_count % 2 * kPageBytes, page.span()));
  CO_TRY_VOID(co_await file_->sync());
  written_ = writing;
  covered_ = covering;
  co_return Result<void>();
}

}  // namespace foreshard::store
