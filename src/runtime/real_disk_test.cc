// The real disk gives back what was written, says so when a file ends too early, and lets no path out.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "base/buffer.h"
#include "base/random.h"
#include "runtime/real_runtime.h"
#include "runtime/sync.h"
#include "runtime/test_folder.h"

namespace foreshard::runtime {
namespace {

Buffer random_buffer(uint64_t seed, size_t size) {
  Random random(seed);
  Buffer buffer = Buffer::allocate(size);
  for (size_t i = 0; i < size; i += 8) {
    const uint64_t value = random.next();
    memcpy(buffer.data() + i, &value, std::min<size_t>(8, size - i));
  }
  return buffer;
}

class RealDiskTest : public testing::Test {
 protected:
  RealDiskTest()
      : runtime_(std::move(RealRuntime::create().value())),
        disk_(std::move(runtime_->open_disk(folder_ / "disk").value())) {}
  std::unique_ptr<File> create(const std::string& path) {
    return std::move(disk_->open(path, Disk::Open::kCreate).value());
  }
  TestFolder folder_;
  std::unique_ptr<RealRuntime> runtime_;
  std::unique_ptr<Disk> disk_;
};

Task<Result<void>> write_then_sync(File& file, uint64_t offset, ConstByteSpan from) {
  CO_TRY_VOID(co_await file.write(offset, from));
  CO_TRY_VOID(co_await file.sync());
  co_return Result<void>();
}

Task<Result<void>> read(File& file, uint64_t offset, ByteSpan into) { co_return co_await file.read(offset, into); }

TEST_F(RealDiskTest, WhatWasWrittenIsThereForOthersToo) {
  const std::unique_ptr<File> file = create("a/b/data");
  const Buffer written = random_buffer(1, 3 * kPageBytes);
  ASSERT_TRUE(runtime_->run(write_then_sync(*file, kPageBytes, written.span())));
  ASSERT_EQ(file->size().value(), 4 * kPageBytes);

  Buffer back = Buffer::allocate(4 * kPageBytes);
  ASSERT_TRUE(runtime_->run(read(*file, 0, back.span())));
  EXPECT_TRUE(is_all_zero(back.subspan(0, kPageBytes)));
  EXPECT_EQ(as_text(back.subspan(kPageBytes, 3 * kPageBytes)), as_text(written.span()));

  // Independently of the reactor: as the C++ library sees the file.
  std::ifstream stream(folder_ / "disk/a/b/data", std::ios::binary);
  const std::string content((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
  EXPECT_EQ(content.substr(kPageBytes), as_text(written.span()));
}

struct VectorWrite : IoOp {
  VectorWrite(File& to, uint64_t at, std::vector<iovec> list) : file(to), offset(at), pieces(std::move(list)) {}
  bool await_ready() { return false; }
  bool await_suspend(std::coroutine_handle<> h) {
    waiter = h;
    return file.start_write(*this, offset, pieces);
  }
  int64_t await_resume() const { return result; }
  File& file;
  uint64_t offset;
  std::vector<iovec> pieces;
};

Task<int64_t> write_pieces(File& file, uint64_t offset, std::vector<iovec> pieces) {
  VectorWrite write(file, offset, std::move(pieces));
  const int64_t result = co_await write;
  co_return result;
}

TEST_F(RealDiskTest, AFileIsOpenOnce) {
  std::unique_ptr<File> file = create("data");
  EXPECT_EQ(disk_->open("data", Disk::Open::kExisting).error().code, ErrorCode::kBusy);
  file.reset();
  EXPECT_TRUE(disk_->open("data", Disk::Open::kExisting));
}

TEST_F(RealDiskTest, MorePiecesThanTheKernelTakesAtOnce) {
  const std::unique_ptr<File> file = create("data");
  constexpr size_t kPieces = 2500;
  Buffer written = random_buffer(2, kPieces * kPageBytes);
  std::vector<iovec> pieces;
  for (size_t i = 0; i < kPieces; ++i) pieces.push_back({written.data() + i * kPageBytes, kPageBytes});
  ASSERT_EQ(runtime_->run(write_pieces(*file, 0, pieces)), static_cast<int64_t>(written.size()));
  Buffer back = Buffer::allocate(written.size());
  ASSERT_TRUE(runtime_->run(read(*file, 0, back.span())));
  EXPECT_EQ(as_text(back.span()), as_text(written.span()));
}

TEST_F(RealDiskTest, ReadBeyondTheEndIsAnError) {
  const std::unique_ptr<File> file = create("data");
  ASSERT_TRUE(file->allocate(2 * kPageBytes));
  Buffer back = random_buffer(3, 2 * kPageBytes);
  ASSERT_TRUE(runtime_->run(read(*file, 0, back.span())));
  EXPECT_TRUE(is_all_zero(back.span()));
  const Result<void> across = runtime_->run(read(*file, kPageBytes, back.span()));
  ASSERT_FALSE(across);
  EXPECT_EQ(across.error().code, ErrorCode::kIo);
  const Result<void> beyond = runtime_->run(read(*file, 64 * kPageBytes, back.span()));
  ASSERT_FALSE(beyond);
  EXPECT_EQ(beyond.error().code, ErrorCode::kIo);
}

TEST_F(RealDiskTest, AFileWithoutWholeSectorsEndsTheRead) {
  { std::ofstream(folder_ / "disk/odd") << std::string(5000, 'x'); }
  const std::unique_ptr<File> file = std::move(disk_->open("odd", Disk::Open::kExisting).value());
  Buffer back = Buffer::allocate(2 * kPageBytes);
  const Result<void> result = runtime_->run(read(*file, 0, back.span()));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kIo);
}

TEST_F(RealDiskTest, AllocateKeepsContentAndNeverShrinks) {
  const std::unique_ptr<File> file = create("data");
  const Buffer written = random_buffer(4, kPageBytes);
  ASSERT_TRUE(runtime_->run(write_then_sync(*file, 0, written.span())));
  ASSERT_TRUE(file->allocate(8 * kPageBytes));
  ASSERT_TRUE(file->allocate(kPageBytes));
  EXPECT_EQ(file->size().value(), 8 * kPageBytes);
  Buffer back = Buffer::allocate(kPageBytes);
  ASSERT_TRUE(runtime_->run(read(*file, 0, back.span())));
  EXPECT_EQ(as_text(back.span()), as_text(written.span()));
}

Task<void> write_page(File& file, uint64_t page, ConstByteSpan from, uint64_t& failures, uint64_t& left, Signal& all) {
  const Result<void> result = co_await file.write(page * kPageBytes, from);
  if (!result) ++failures;
  if (--left == 0) all.set();
}

Task<void> write_many(Executor& executor, File& file, Buffer& from, uint64_t& failures) {
  uint64_t left = from.size() / kPageBytes;
  Signal all(executor);
  for (uint64_t page = 0; page < from.size() / kPageBytes; ++page) {
    executor.spawn(write_page(file, page, from.subspan(page * kPageBytes, kPageBytes), failures, left, all));
  }
  co_await all.wait();
}

TEST_F(RealDiskTest, ManyAtOnceMoreThanTheRingHolds) {
  const std::unique_ptr<File> file = create("data");
  Buffer written = random_buffer(5, 3000 * kPageBytes);
  uint64_t failures = 0;
  runtime_->run(write_many(runtime_->executor(), *file, written, failures));
  EXPECT_EQ(failures, 0u);
  Buffer back = Buffer::allocate(written.size());
  ASSERT_TRUE(runtime_->run(read(*file, 0, back.span())));
  EXPECT_EQ(as_text(back.span()), as_text(written.span()));
}

TEST_F(RealDiskTest, NamesAreKeptInTheFolder) {
  for (const char* path : {"/etc/passwd", "../x", "a/../../x", "./x", "a//b", "a/"}) {
    const Result<std::unique_ptr<File>> opened = disk_->open(path, Disk::Open::kCreate);
    ASSERT_FALSE(opened) << path;
    EXPECT_EQ(opened.error().code, ErrorCode::kInvalid) << path;
    EXPECT_FALSE(disk_->remove(path)) << path;
  }
  std::filesystem::create_symlink("/etc", folder_ / "disk/link");
  EXPECT_FALSE(disk_->open("link/passwd", Disk::Open::kExisting));
  EXPECT_FALSE(disk_->list("link"));
}

TEST_F(RealDiskTest, FoldersFilesAndTheirNames) {
  EXPECT_EQ(disk_->host_path(), folder_ / "disk");
  EXPECT_FALSE(disk_->exists("a/one").value());
  const Result<std::unique_ptr<File>> missing = disk_->open("a/one", Disk::Open::kExisting);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  create("a/two");
  create("a/one");
  EXPECT_TRUE(disk_->exists("a/one").value());
  EXPECT_EQ(disk_->list("a").value(), (std::vector<std::string>{"one", "two"}));
  EXPECT_EQ(disk_->list("").value(), (std::vector<std::string>{"a"}));
  ASSERT_TRUE(disk_->rename("a/one", "a/three"));
  ASSERT_TRUE(disk_->remove("a/two"));
  ASSERT_TRUE(disk_->sync_folder("a"));
  ASSERT_TRUE(disk_->sync_folder(""));
  EXPECT_EQ(disk_->list("a").value(), (std::vector<std::string>{"three"}));
  ASSERT_TRUE(disk_->remove("a/three"));
  ASSERT_TRUE(disk_->remove("a"));
  EXPECT_EQ(disk_->list("").value(), (std::vector<std::string>{}));
  EXPECT_GT(disk_->free_bytes().value(), 0u);
  struct stat status;
  create("private");
  ASSERT_EQ(stat((folder_ / "disk/private").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

Task<void> read_forever(File& file, Buffer into) {
  for (;;) {
    const Result<void> result = co_await file.read(0, into.span());
    if (!result) co_return;
  }
}

// A runtime that ends with requests under way waits for the kernel, which else would write into freed memory.
TEST_F(RealDiskTest, TheRuntimeEndsWhileReadsAreUnderWay) {
  std::unique_ptr<File> file = create("data");
  ASSERT_TRUE(file->allocate(1 << 20));
  for (int i = 0; i < 20; ++i) runtime_->executor().spawn(read_forever(*file, Buffer::allocate(1 << 20)));
  Buffer back = Buffer::allocate(kPageBytes);
  ASSERT_TRUE(runtime_->run(read(*file, 0, back.span())));
  runtime_->reactor().close();
  file.reset();
}

}  // namespace
}  // namespace foreshard::runtime
