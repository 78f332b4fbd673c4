// Proves on a real disk that a cache file is made, used again, cut and grown, that its pages come back from it, and
// which files are refused and stay as they were.
#include "volume/flash_file.h"

#include <sys/stat.h>

#include <cstring>
#include <fstream>

#include <gtest/gtest.h>

#include "runtime/real_runtime.h"
#include "runtime/test_folder.h"
#include "volume/flash_cache.h"

namespace foreshard::volume {
namespace {

using runtime::Task;

constexpr uint64_t kFileBytes = 8u << 20;
constexpr uint64_t kFast = uint64_t{1} << 40;  // bytes a second: no bound

Buffer random_pages(uint64_t pages) {
  Random random(1);
  Buffer data = Buffer::allocate(pages * kPageBytes);
  for (std::byte& byte : data.span()) byte = static_cast<std::byte>(random.next());
  return data;
}

class FlashFile : public testing::Test {
 protected:
  void SetUp() override {
    Result<std::unique_ptr<runtime::RealRuntime>> made = runtime::RealRuntime::create();
    ASSERT_TRUE(made) << made.error().message();
    runtime_ = std::move(*made);
  }
  Result<std::shared_ptr<FlashCache>> open(const std::string& name, uint64_t bytes = kFileBytes) {
    return runtime_->run(FlashCache::open(*runtime_, folder_ / name, bytes, kFast));
  }
  void expect_refused(const std::string& name, ErrorCode code, const std::string& says, uint64_t bytes = kFileBytes) {
    const Result<std::shared_ptr<FlashCache>> opened = open(name, bytes);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, code) << opened.error().message();
    EXPECT_NE(opened.error().message().find(says), std::string::npos) << opened.error().message();
  }
  uint64_t size_of(const std::string& name) {
    struct stat status {};
    return stat((folder_ / name).c_str(), &status) == 0 ? static_cast<uint64_t>(status.st_size) : 0;
  }
  void write_file(const std::string& name, const std::string& text) { std::ofstream(folder_ / name) << text; }

  runtime::TestFolder folder_;
  std::unique_ptr<runtime::RealRuntime> runtime_;
};

// Written and read back, into an address that O_DIRECT would not take.
Task<void> fill_and_read(FlashCache& cache) {
  constexpr uint64_t kPages = FlashCache::kSegmentBytes / kPageBytes;
  const Buffer written = random_pages(kPages);
  for (uint64_t page = 0; page < kPages; ++page) cache.put(page, written.subspan(page * kPageBytes, kPageBytes), true);
  co_await cache.close();
  EXPECT_EQ(cache.statistics().written_bytes, FlashCache::kSegmentBytes);
  Buffer into = Buffer::allocate((kPages + 1) * kPageBytes);
  const uint64_t found = co_await cache.read(0, into.subspan(16, written.size()));
  EXPECT_EQ(found, kPages);
  EXPECT_EQ(std::memcmp(into.data() + 16, written.data(), written.size()), 0);
}

TEST_F(FlashFile, IsUsedAgainAndBegunAnew) {
  for (const uint64_t bytes : {kFileBytes, 2 * kFileBytes, kFileBytes, 3 * kFileBytes}) {
    Result<std::shared_ptr<FlashCache>> cache = open("cache", bytes);
    ASSERT_TRUE(cache) << cache.error().message();
    EXPECT_EQ(size_of("cache"), bytes);
    EXPECT_FALSE((*cache)->contains(0));
    runtime_->run(fill_and_read(**cache));
    if (bytes > 2 * kFileBytes) expect_refused("cache", ErrorCode::kBusy, "another driver uses it");
  }
}

TEST_F(FlashFile, OfOthersAreLeftAlone) {
  write_file("letter", "Dear disk,\n");
  write_file("long", std::string(100'000, 'x'));
  write_file("empty", "");
  expect_refused("letter", ErrorCode::kExists, "not made by foreshard");
  expect_refused("long", ErrorCode::kExists, "not made by foreshard");
  EXPECT_EQ(size_of("letter"), 11u);
  EXPECT_EQ(size_of("long"), 100'000u);
  EXPECT_TRUE(open("empty"));
  mkdir((folder_ / "inner").c_str(), 0700);
  EXPECT_FALSE(open("inner"));
  EXPECT_FALSE(open("inner/"));
}

TEST_F(FlashFile, MustHaveAReasonableSize) {
  expect_refused("cache", ErrorCode::kInvalid, "--cache-file-size", kFileBytes - 1);
  expect_refused("cache", ErrorCode::kInvalid, "--cache-file-size", FlashCache::kFileBytesMax + 1);
  const Result<std::shared_ptr<FlashCache>> slow =
      runtime_->run(FlashCache::open(*runtime_, folder_ / "cache", kFileBytes, FlashCache::kWriteRateMin - 1));
  ASSERT_FALSE(slow);
  EXPECT_EQ(size_of("cache"), 0u);
}

}  // namespace
}  // namespace foreshard::volume
