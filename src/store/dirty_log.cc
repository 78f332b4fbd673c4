#include "store/dirty_log.h"

#include <algorithm>
#include <tuple>

#include "base/buffer.h"

namespace foreshard::store {

using runtime::Disk;
using runtime::Task;

Task<Result<std::unique_ptr<DirtyLog>>> DirtyLog::open(Disk& disk, StoreUuid store, uint64_t opens, uint64_t bytes) {
  CO_TRY(const bool exists, disk.exists(kPath));
  std::unique_ptr<runtime::File> file;
  if (exists) {
    CO_TRY(file, disk.open(kPath, Disk::Open::kExisting));
  } else {
    CO_TRY(file, co_await make(disk, bytes));
  }
  CO_TRY(const uint64_t size, file->size());
  if (size / kPageBytes < kPagesMin) co_return fail(ErrorCode::kCorrupt, "dirty log is cut short", size);
  co_return std::unique_ptr<DirtyLog>(new DirtyLog(std::move(file), store, opens, size / kPageBytes));
}

Task<Result<std::unique_ptr<runtime::File>>> DirtyLog::make(Disk& disk, uint64_t bytes) {
  constexpr uint64_t kStepBytes = 1u << 20;
  const std::string fresh = std::string(kPath) + ".new";
  bytes = std::max(bytes, kPagesMin * kPageBytes) / kPageBytes * kPageBytes;
  CO_TRY(std::unique_ptr<runtime::File> file, disk.open(fresh, Disk::Open::kCreate));
  CO_TRY_VOID(file->allocate(bytes));
  const Buffer zeros = Buffer::zeroed(std::min(bytes, kStepBytes));
  for (uint64_t at = 0; at < bytes; at += zeros.size()) {
    const ConstByteSpan part = zeros.subspan(0, std::min<uint64_t>(zeros.size(), bytes - at));
    CO_TRY_VOID(co_await file->write(at, part));
  }
  CO_TRY_VOID(co_await file->sync());
  CO_TRY_VOID(disk.rename(fresh, kPath));
  CO_TRY_VOID(disk.sync_folder(""));
  co_return file;
}

Task<Result<std::vector<DirtyLog::Found>>> DirtyLog::read_all() {
  constexpr uint64_t kPagesPerRead = 64;
  std::vector<Found> found;
  Buffer buffer = Buffer::allocate(kPagesPerRead * kPageBytes);
  for (uint64_t first = 0; first < pages_; first += kPagesPerRead) {
    const uint64_t pages = std::min(kPagesPerRead, pages_ - first);
    const ByteSpan part = buffer.subspan(0, pages * kPageBytes);
    CO_TRY_VOID(co_await file_->read(first * kPageBytes, part));
    for (uint64_t i = 0; i < pages; ++i) {
      // What is not whole was never durable, so nothing was written under it.
      const Result<DirtyLogPage> page = parse_dirty_page(part.subspan(i * kPageBytes, kPageBytes));
      if (!page || page->store != store_.value) continue;
      for (uint32_t n = 0; n < page->count; ++n) found.push_back({page->sequence, page->entries[n]});
    }
  }
  std::sort(found.begin(), found.end(), [](const Found& a, const Found& b) {
    return std::tie(a.entry.slot, a.entry.generation, a.sequence) <
           std::tie(b.entry.slot, b.entry.generation, b.sequence);
  });
  co_return found;
}

Task<Result<void>> DirtyLog::append(std::vector<DirtyEntry> entries) {
  if (entries.empty()) co_return Result<void>();
  const uint64_t pages = (entries.size() + kDirtyEntriesPerPage - 1) / kDirtyEntriesPerPage;
  if (live_pages() + pages > pages_) co_return fail(ErrorCode::kTooLarge, "dirty log is full", live_pages());
  Buffer buffer = Buffer::allocate(pages * kPageBytes);
  const uint64_t first = next_;
  for (uint64_t i = 0; i < pages; ++i) {
    DirtyLogPage page;
    page.store = store_.value;
    page.sequence = next_sequence();
    const size_t begin = i * kDirtyEntriesPerPage;
    page.count = static_cast<uint32_t>(std::min(kDirtyEntriesPerPage, entries.size() - begin));
    std::copy_n(entries.begin() + static_cast<ptrdiff_t>(begin), page.count, page.entries.begin());
    seal_dirty_page(page);
    std::memcpy(buffer.data() + i * kPageBytes, &page, kPageBytes);
    ++next_;
  }
  for (uint64_t done = 0; done < pages;) {  // two writes where the ring wraps
    const uint64_t at = (first + done) % pages_;
    const uint64_t part = std::min(pages - done, pages_ - at);
    CO_TRY_VOID(co_await file_->write(at * kPageBytes, buffer.subspan(done * kPageBytes, part * kPageBytes)));
    done += part;
  }
  co_return co_await file_->sync();
}

void DirtyLog::release_before(uint64_t sequence) {
  ASSERT(sequence >> kPageNumberBits == opens_ && sequence <= next_sequence(), sequence, next_sequence());
  oldest_ = std::max(oldest_, sequence & ((uint64_t{1} << kPageNumberBits) - 1));
}

}  // namespace foreshard::store
