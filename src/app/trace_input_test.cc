// Shows that block and file traces are told apart and read alike, packed or plain, and that what is wrong is named.
#include "app/trace_input.h"

#include <gtest/gtest.h>
#include <zstd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "runtime/test_folder.h"

namespace foreshard::app {
namespace {

struct Taken {
  policy::TraceFormat format = policy::TraceFormat::kVscsiCsv;
  std::vector<std::string> requests;
  uint64_t bytes = 0;
};

Result<void> take(const std::string& path, Taken& taken, size_t requests_max = SIZE_MAX) {
  TRY(TraceInput input, TraceInput::open(path));
  TraceSink sink;
  sink.begin = [&](policy::TraceFormat format) { taken.format = format; };
  sink.request = [&](const policy::TraceRequest& request) {
    const char* op = request.op == policy::TraceOp::kRead ? "R " : request.op == policy::TraceOp::kWrite ? "W " : "- ";
    taken.requests.push_back(op + std::to_string(request.volume) + " " + std::to_string(request.file) + " " +
                             std::to_string(request.offset) + "+" + std::to_string(request.size));
  };
  sink.on_bytes = [&](uint64_t bytes) { taken.bytes = bytes; };
  sink.enough = [&] { return taken.requests.size() >= requests_max; };
  return read_trace(input, {}, sink);
}

void write_file(const std::string& path, const std::string& text, bool packed) {
  std::string out = text;
  if (packed) {
    out.resize(ZSTD_compressBound(text.size()));
    out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  }
  std::ofstream(path, std::ios::binary) << out;
}

constexpr const char* kFileTrace =
    "ts_us,pid,file_id,offset,size,op\n1,7,30,0,100,R\n2,7,30,0,0,O\n,8,40,4096,5,write\n9,8,50,1,2,M\n";

TEST(TraceInput, BothKindsPlainAndPacked) {
  const runtime::TestFolder folder;
  for (const bool packed : {false, true}) {
    Taken block, file;
    write_file(folder / "block", "ts_us,vol,offset,size,op\n1,a,0,4096,R\n,a,4096,512,?\n2,b,8192,1,W\n", packed);
    ASSERT_TRUE(take(folder / "block", block));
    EXPECT_EQ(block.format, policy::TraceFormat::kBlockCsv);
    EXPECT_EQ(block.requests, (std::vector<std::string>{"R 0 0 0+4096", "R 0 0 4096+512", "W 1 0 8192+1"}));
    write_file(folder / "file", kFileTrace, packed);
    ASSERT_TRUE(take(folder / "file", file));
    EXPECT_EQ(file.format, policy::TraceFormat::kFileCsv);
    EXPECT_EQ(file.requests, (std::vector<std::string>{"R 0 30 0+100", "- 0 30 0+0", "W 1 40 4096+5", "R 2 50 1+2"}));
  }
}

// Longer than the blocks in which files are read.
TEST(TraceInput, LongOnesComeWhole) {
  const runtime::TestFolder folder;
  std::string text = "ts_us,pid,file_id,offset,size,op\n";
  for (int i = 0; i < 50'000; ++i) text += std::to_string(i) + ",1," + std::to_string(i * 7919) + ",0,4096,R\n";
  for (const bool packed : {false, true}) {
    Taken taken;
    write_file(folder / "long", text, packed);
    ASSERT_TRUE(take(folder / "long", taken));
    ASSERT_EQ(taken.requests.size(), 50'000u);
    EXPECT_EQ(taken.requests[49'999], "R 49999 " + std::to_string(49'999 * 7919) + " 0+4096");
    EXPECT_EQ(taken.bytes, std::filesystem::file_size(std::string(folder / "long")));
    Taken few;
    ASSERT_TRUE(take(folder / "long", few, 10));
    EXPECT_GE(few.requests.size(), 10u);
    EXPECT_LT(few.requests.size(), 50'000u);
  }
}

TEST(TraceInput, WhatIsWrongIsNamed) {
  const runtime::TestFolder folder;
  const std::string header = "ts_us,pid,file_id,offset,size,op\n";
  for (const char* line :
       {"1,2,3,4,5", "1,2,3,4,5,R,6", "1,2,3,x,5,R", "1,2,3,-4,5,R", "1,2,3,18446744073709551615,5,R"}) {
    Taken taken;
    write_file(folder / "bad", header + "1,2,3,4,5,R\n" + line + "\n", false);
    const Result<void> read = take(folder / "bad", taken);
    ASSERT_FALSE(read) << line;
    EXPECT_NE(read.error().detail.find("line 3"), std::string::npos) << read.error().detail;
  }
  Taken taken;
  write_file(folder / "long", header + std::string(100'000, '1'), false);
  EXPECT_FALSE(take(folder / "long", taken));
  write_file(folder / "empty", "", false);
  EXPECT_FALSE(take(folder / "empty", taken));
  write_file(folder / "other", "hello\n", false);
  EXPECT_FALSE(take(folder / "other", taken));
  EXPECT_EQ(take(folder / "none", taken).error().code, ErrorCode::kNotFound);
}

TEST(TraceInput, DamagedPackingIsNamed) {
  const runtime::TestFolder folder;
  write_file(folder / "packed", kFileTrace, true);
  std::ifstream in(folder / "packed", std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  for (size_t length = 4; length < bytes.size(); ++length) {
    std::ofstream(folder / "cut", std::ios::binary) << bytes.substr(0, length);
    Taken taken;
    const Result<void> read = take(folder / "cut", taken);
    ASSERT_FALSE(read) << length;
  }
}

}  // namespace
}  // namespace foreshard::app
