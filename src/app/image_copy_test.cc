// Proves that images come in and out of a device byte for byte, with holes kept holes, at sizes that fit nothing, and
// that a copy ends when it is told to or when the device fails.
#include "app/image_copy.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "app/device_load.h"
#include "app/image_format.h"
#include "base/random.h"
#include "runtime/real_runtime.h"
#include "volume/memory_device.h"

namespace foreshard::app {
namespace {

class ImageCopyTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/foreshard-app.XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    folder_ = name;
    runtime_ = *runtime::RealRuntime::create();
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // A sparse file of this size with data at the offsets, and the same bytes as a string.
  std::string make_image(const std::string& path, uint64_t bytes,
                         const std::vector<std::pair<uint64_t, uint64_t>>& data) {
    std::string content(bytes, '\0');
    std::ofstream(path).close();
    std::filesystem::resize_file(path, bytes);
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    Random random(bytes);
    for (const auto& [offset, length] : data) {
      for (uint64_t i = 0; i < length; i += 8) {
        const uint64_t word = random.next();
        std::memcpy(content.data() + offset + i, &word, std::min<uint64_t>(8, length - i));
      }
      file.seekp(static_cast<std::streamoff>(offset));
      file.write(content.data() + offset, static_cast<std::streamsize>(length));
    }
    return content;
  }
  static std::string read_all(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::string content(std::filesystem::file_size(path), '?');
    file.read(content.data(), static_cast<std::streamsize>(content.size()));
    return content;
  }
  std::string device_content(volume::MemoryDevice& device) {
    std::string content(device.size_bytes(), '?');
    const Result<void> read =
        runtime_->run(device.read(0, {reinterpret_cast<std::byte*>(content.data()), content.size()}));
    EXPECT_TRUE(read);
    return content;
  }

  std::string folder_;
  std::unique_ptr<runtime::RealRuntime> runtime_;
};

TEST_F(ImageCopyTest, RoundTripsAtSizesThatFitNothing) {
  constexpr uint64_t kMiB = 1u << 20;
  for (const uint64_t bytes : {uint64_t{512}, uint64_t{700}, 3 * kMiB, 9 * kMiB + 512, 9 * kMiB + 13}) {
    const std::string source = folder_ + "/source";
    const std::string content = make_image(source, bytes, {{0, bytes / 3}, {bytes - bytes / 5, bytes / 5}});
    ImageFile file = *ImageFile::open_source(source);
    volume::MemoryDevice device((bytes + 511) / 512 * 512);
    ImageCopy in(*runtime_, device, file);
    const Result<void> imported = runtime_->run(in.import_image());
    ASSERT_TRUE(imported) << imported.error().message();
    EXPECT_GE(in.done_bytes(), bytes);
    ASSERT_EQ(device_content(device).substr(0, bytes), content) << bytes;

    const std::string target = folder_ + "/target";
    ImageFile out_file = *ImageFile::create_target(target, device.size_bytes(), true);
    ImageCopy out(*runtime_, device, out_file);
    ASSERT_TRUE(runtime_->run(out.export_image()));
    ASSERT_EQ(read_all(target).substr(0, bytes), content) << bytes;
  }
}

TEST_F(ImageCopyTest, HolesStayHoles) {
  constexpr uint64_t kMiB = 1u << 20;
  make_image(folder_ + "/source", 32 * kMiB, {{8 * kMiB + 5, 100}, {20 * kMiB, kMiB}});
  ImageFile file = *ImageFile::open_source(folder_ + "/source");
  volume::MemoryDevice device(32 * kMiB);
  ImageCopy in(*runtime_, device, file);
  ASSERT_TRUE(runtime_->run(in.import_image()));
  EXPECT_LE(device.allocated_bytes(), 4 * kMiB);
  EXPECT_EQ(in.done_bytes(), 32 * kMiB);
  ImageFile out_file = *ImageFile::create_target(folder_ + "/target", device.size_bytes(), false);
  ImageCopy out(*runtime_, device, out_file);
  ASSERT_TRUE(runtime_->run(out.export_image()));
  struct stat status {};
  ASSERT_EQ(stat((folder_ + "/target").c_str(), &status), 0);
  EXPECT_LE(status.st_blocks * 512u, 4 * kMiB);
  EXPECT_EQ(read_all(folder_ + "/target"), read_all(folder_ + "/source"));
}

TEST_F(ImageCopyTest, RefusesWhatItCannotCopy) {
  EXPECT_EQ(ImageFile::open_source(folder_ + "/missing").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(ImageFile::open_source(folder_).error().code, ErrorCode::kInvalid);
  std::ofstream(folder_ + "/there") << "precious";
  EXPECT_EQ(ImageFile::create_target(folder_ + "/there", 512, false).error().code, ErrorCode::kExists);
  EXPECT_EQ(read_all(folder_ + "/there"), "precious");
}

TEST_F(ImageCopyTest, EndsWhenCancelled) {
  make_image(folder_ + "/source", 8u << 20, {{0, 8u << 20}});
  ImageFile file = *ImageFile::open_source(folder_ + "/source");
  volume::MemoryDevice device(8u << 20);
  ImageCopy copy(*runtime_, device, file);
  copy.cancel();
  const Result<void> result = runtime_->run(copy.import_image());
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kCancelled);
  EXPECT_EQ(device.allocated_bytes(), 0u);
}

TEST_F(ImageCopyTest, FormatsAreToldByTheirHeaders) {
  make_image(folder_ + "/raw", 1024, {{0, 1024}});
  const Result<ImageFormat> raw = runtime_->run(image_format(*runtime_, folder_ + "/raw", "", folder_));
  ASSERT_TRUE(raw);
  EXPECT_EQ(raw->name, "raw");
  EXPECT_EQ(raw->disk_bytes, 1024u);
  EXPECT_EQ(format_for_name("a/b.qcow2"), "qcow2");
  EXPECT_EQ(format_for_name("b.img"), "raw");
}

TEST_F(ImageCopyTest, LoadCountsWhatItDid) {
  volume::MemoryDevice device(8u << 20);
  LoadOptions options;
  options.write = true;
  options.request_bytes = 1u << 20;
  options.depth = 4;
  options.duration_ns = 60'000'000'000;
  options.bytes_max = 8u << 20;
  DeviceLoad load(*runtime_, device, options);
  const Result<LoadResult> result = runtime_->run(load.run());
  ASSERT_TRUE(result);
  EXPECT_GE(result->requests, 8u);
  EXPECT_EQ(result->bytes, result->requests << 20);
  EXPECT_EQ(device.allocated_bytes(), 8u << 20);
  EXPECT_LE(result->latency_ns_p50, result->latency_ns_p99);
  EXPECT_LE(result->latency_ns_p99, result->latency_ns_max);
}

}  // namespace
}  // namespace foreshard::app
