#include "volume/flash_file.h"

#include <cstring>
#include <string_view>

#include <fmt/format.h>

#include "base/buffer.h"
#include "base/log.h"
#include "base/units.h"

namespace foreshard::volume {
namespace {

using runtime::Disk;
using runtime::File;
using runtime::Task;

// A driver that was killed a moment ago may still hold the file.
constexpr uint64_t kFileBusyNs = 1'000'000'000;
constexpr uint64_t kOpenAgainNs = 100'000'000;
constexpr std::string_view kMagic = "foreshard cache\n";

Error explained(const Error& error, const std::string& path, uint64_t file_bytes, uint64_t free_bytes) {
  std::string text = fmt::format("{}: {}", path, error.detail.empty() ? error.message() : error.detail);
  if (error.code == ErrorCode::kNoSpace) {
    text = fmt::format("{}: there is no room for {}, {} are free: choose a smaller --cache-file-size, or another disk",
                       path, format_size(file_bytes), format_size(free_bytes));
  }
  if (error.code == ErrorCode::kBusy) {
    text = fmt::format(
        "{}: another driver uses it, or its disk has not answered one that has ended; each attached "
        "volume needs a cache file of its own",
        path);
  }
  return Error{error.code, "cache file", 0, std::move(text)};
}

Task<Result<std::unique_ptr<File>>> open_when_free(runtime::Runtime& runtime, Disk& disk, std::string name) {
  const uint64_t deadline_ns = runtime.now_ns() + kFileBusyNs;
  for (;;) {
    Result<std::unique_ptr<File>> file = disk.open(name, Disk::Open::kCreate);
    if (file || file.error().code != ErrorCode::kBusy || runtime.now_ns() >= deadline_ns) co_return file;
    co_await runtime.executor().sleep_for(kOpenAgainNs);
  }
}

// A file is ours when it is empty, or begins as ours do.
Task<Result<bool>> is_ours(File& file) {
  CO_TRY(const uint64_t size, file.size());
  if (size == 0) co_return true;
  if (size < kPageBytes) co_return false;
  Buffer head = Buffer::allocate(kPageBytes);
  CO_TRY_VOID(co_await file.read(0, head.span()));
  co_return std::memcmp(head.data(), kMagic.data(), kMagic.size()) == 0;
}

// First the page that says whose it is, durably, so that a file that was left half made is known again.
Task<Result<void>> reserve(File& file, uint64_t file_bytes) {
  Buffer head = Buffer::zeroed(kPageBytes);
  std::memcpy(head.data(), kMagic.data(), kMagic.size());
  CO_TRY_VOID(co_await file.write(0, head.span()));
  CO_TRY_VOID(co_await file.sync());
  co_return file.allocate(file_bytes);
}

Task<Result<std::unique_ptr<File>>> take_file(runtime::Runtime& runtime, Disk& disk, std::string name,
                                              uint64_t file_bytes) {
  CO_TRY(std::unique_ptr<File> file, co_await open_when_free(runtime, disk, name));
  CO_TRY(const bool ours, co_await is_ours(*file));
  if (!ours) {
    co_return fail(ErrorCode::kExists, "cache file",
                   "it was not made by foreshard, and is left alone: name another path, or remove it");
  }
  CO_TRY(const uint64_t size, file->size());
  if (size > file_bytes) {
    // Removed while it is still held, so that nobody else's is.
    CO_TRY_VOID(disk.remove(name));
    CO_TRY(file, co_await open_when_free(runtime, disk, name));
  }
  const Result<void> reserved = co_await reserve(*file, file_bytes);
  if (!reserved) {
    const Result<void> removed = disk.remove(name);
    if (!removed) LOG_DEBUG("cache file: {}", removed.error().message());
    co_return fail(reserved.error());
  }
  co_return file;
}

}  // namespace

Task<Result<std::unique_ptr<File>>> open_flash_file(runtime::Runtime& runtime, std::string path, uint64_t file_bytes) {
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  if (name.empty()) co_return fail(ErrorCode::kInvalid, "cache file", path + ": this is a folder; name a file in it");
  CO_TRY(const std::unique_ptr<Disk> disk, runtime.open_disk(folder));
  Result<std::unique_ptr<File>> file = co_await take_file(runtime, *disk, name, file_bytes);
  if (!file) co_return fail(explained(file.error(), path, file_bytes, disk->free_bytes().value_or(0)));
  co_return file;
}

}  // namespace foreshard::volume
