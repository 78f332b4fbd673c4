// Shows that each format is recognised by its content and read as its documentation says, however it is cut into
// pieces, and that every kind of wrong row is refused with its line and the reason.
#include "policy/trace/trace_reader.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/random.h"
#include "policy/trace/blktrace.h"

namespace foreshard::policy {
namespace {

using enum TraceOp;

constexpr uint64_t kUs = 1000;

struct Read {
  std::vector<TraceRequest> requests;
  std::string error;  // empty: none
};

// In pieces of random size.
Read read_as(TraceFormat format, std::string_view text, uint64_t seed) {
  Read read;
  Random random(seed);
  const auto reader =
      make_trace_reader(format, [&read](const TraceRequest& request) { read.requests.push_back(request); });
  while (!text.empty()) {
    const size_t piece = std::min<size_t>(1 + random.below(40), text.size());
    if (const Result<void> fed = reader->feed(text.substr(0, piece)); !fed) {
      read.error = fed.error().message();
      return read;
    }
    text.remove_prefix(piece);
  }
  if (const Result<void> finished = reader->finish(); !finished) read.error = finished.error().message();
  return read;
}

void expect_reads(TraceFormat format, std::string_view text, const std::vector<TraceRequest>& expected) {
  const Result<TraceFormat> recognised = recognise_trace(text.substr(0, kTraceRecogniseBytes));
  ASSERT_TRUE(recognised.has_value()) << recognised.error().message();
  EXPECT_EQ(*recognised, format);
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    const Read read = read_as(format, text, seed);
    EXPECT_EQ(read.error, "");
    ASSERT_EQ(read.requests.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(read.requests[i], expected[i]) << i;
  }
}

TraceRequest request(std::optional<uint64_t> time_ns, uint32_t volume, uint32_t process, uint64_t offset, uint64_t size,
                     TraceOp op) {
  return {
      .time_ns = time_ns, .volume = volume, .file = 0, .process = process, .offset = offset, .size = size, .op = op};
}

TraceRequest of_file(uint64_t file, TraceRequest request) {
  request.file = file;
  return request;
}

TEST(TraceReader, Block) {
  expect_reads(TraceFormat::kBlockCsv, "ts_us,vol,offset,size,op\n5,8:16,8192,4096,R\n,x,0,512,?\n7,8:16,1,2,W",
               {request(5 * kUs, 0, 0, 8192, 4096, kRead), request({}, 1, 0, 0, 512, kRead),
                request(7 * kUs, 0, 0, 1, 2, kWrite)});
}

// Processes are numbered from 1 on, since 0 is one too.
TEST(TraceReader, File) {
  expect_reads(TraceFormat::kFileCsv,
               "ts_us,pid,file_id,offset,size,op\r\n1,77,3,4096,100,R\n2,78,9,0,50,write\n3,78,3,0,0,read\n"
               "3,78,3,0,-1,W\n3,78,3,0,71803,M\n,78,4,0,0,O\n9,1,9,5,6,getattr\n9,,/etc,5,6,R\n",
               {of_file(3, request(1 * kUs, 0, 78, 4096, 100, kRead)),
                of_file(9, request(2 * kUs, 1, 79, 0, 50, kWrite)), of_file(3, request(3 * kUs, 0, 79, 0, 0, kOther)),
                of_file(3, request(3 * kUs, 0, 79, 0, 0, kOther)), of_file(3, request(3 * kUs, 0, 79, 0, 71803, kRead)),
                of_file(4, request({}, 0, 79, 0, 0, kOther)), of_file(9, request(9 * kUs, 0, 2, 5, 6, kOther)),
                of_file(crc32c(as_bytes("/etc")), request(9 * kUs, 2, 0, 5, 6, kRead))});
}

TEST(TraceReader, FioVersion2) {
  expect_reads(TraceFormat::kFioIolog,
               "fio version 2 iolog\n/dev/a add\n/dev/a open\n/dev/a read 0 4096\n/dev/b wait 20 0\n"
               "/dev/b write 512 1024\n/dev/a trim 0 4096\n/dev/a wait 5 0\n/dev/a read 8192 4096\n/dev/a sync 0 0\n"
               "/dev/a close\n",
               {request({}, 0, 0, 0, 4096, kRead), request(20 * kUs, 1, 0, 512, 1024, kWrite),
                request(20 * kUs, 0, 0, 0, 4096, kOther), request(25 * kUs, 0, 0, 8192, 4096, kRead),
                request(25 * kUs, 0, 0, 0, 0, kOther)});
}

TEST(TraceReader, FioVersion3) {
  expect_reads(TraceFormat::kFioIolog,
               "fio version 3 iolog\n0 d add\n0 d open\n10 d read 4096 8192\n12 d write 0 512\n13 d datasync 0 0\n"
               "14 d close",
               {request(10 * kUs, 0, 0, 4096, 8192, kRead), request(12 * kUs, 0, 0, 0, 512, kWrite),
                request(13 * kUs, 0, 0, 0, 0, kOther)});
}

TEST(TraceReader, Vscsi) {
  expect_reads(TraceFormat::kVscsiCsv,
               "version,time,op,size,lbn\n1,33898,2a,512,42932745\n1,33899.5,28,4096,8\n1,33900,35,0,0\n",
               {request(33898'000'000'000, 0, 0, 42932745ull * 512, 512, kWrite),
                request(33899'500'000'000, 0, 0, 4096, 4096, kRead), request(33900'000'000'000, 0, 0, 0, 0, kOther)});
  // Columns go by their names.
  expect_reads(TraceFormat::kVscsiCsv, "lbn,len,cmd\n8,512,0x28\n", {request({}, 0, 0, 4096, 512, kRead)});
}

TEST(TraceReader, Blkparse) {
  expect_reads(TraceFormat::kBlkparse,
               "  8,0    3        1     0.000000000   697  Q   W 223490 + 8 [kjournald]\n"
               "  8,0    3        2     0.000001829   697  G   W 223490 + 8 [kjournald]\n"
               "  8,0    0        0     0.000002000     0  m   N cfq something\n"
               "  8,16   1        3     1.5           700  Q  RA 8 + 16 [cat]\n"
               "  8,16   1        4     1.500000001   700  Q FWS [jbd2]\n"
               "  8,16   1        5     1.6           700  Q  DS 8 + 16 [fstrim]\n"
               "CPU0 (8,0):\n Reads Queued:           0,        0KiB  Writes Queued:          1,        4KiB\n"
               "\nThroughput (R/W): 0KiB/s / 0KiB/s\n8,0 of the summary\n",
               {request(0, 0, 697, 223490ull * 512, 4096, kWrite), request(1'500'000'000, 1, 700, 4096, 8192, kRead),
                request(1'500'000'001, 1, 700, 0, 0, kOther), request(1'600'000'000, 1, 700, 0, 0, kOther)});
}

std::string record(uint64_t time_ns, uint64_t sector, uint32_t bytes, uint32_t action, uint32_t device,
                   std::string_view extra = "") {
  BlktraceRecord record{};
  record.magic = kBlktraceMagic | kBlktraceVersion;
  record.time_ns = time_ns;
  record.sector = sector;
  record.bytes = bytes;
  record.action = action;
  record.process = 42;
  record.device = device;
  record.extra_bytes = static_cast<uint16_t>(extra.size());
  std::string out(sizeof(record), '\0');
  std::memcpy(out.data(), &record, sizeof(record));
  return out.append(extra);
}

// Numbers of linux/blktrace_api.h.
constexpr uint32_t kQueue = 1, kComplete = 8, kCgroup = 1u << 8;
constexpr uint32_t kTcRead = 1u << 16, kTcWrite = 2u << 16, kTcQueue = 1u << 20, kTcNotify = 1u << 26,
                   kTcDiscard = 1u << 29;

TEST(TraceReader, Blktrace) {
  const std::string text =
      record(0, 0, 0, kQueue | kTcNotify, 0, "a process's name") +
      record(100, 8, 4096, kQueue | kTcRead | kTcQueue, 7) + record(150, 8, 4096, kComplete | kTcRead, 7) +
      record(200, 16, 512, kQueue | kCgroup | kTcWrite | kTcQueue, 9, "12345678") +
      record(300, 16, 512, kQueue | kTcWrite | kTcDiscard, 9) + record(400, 0, 0, kQueue | kTcWrite, 7);
  expect_reads(TraceFormat::kBlktrace, text,
               {request(100, 0, 42, 4096, 4096, kRead), request(200, 1, 42, 8192, 512, kWrite),
                request(300, 1, 42, 0, 512, kOther), request(400, 0, 42, 0, 0, kOther)});
  // Cut off in its last record: good up to there.
  expect_reads(TraceFormat::kBlktrace, text.substr(0, text.size() - 20),
               {request(100, 0, 42, 4096, 4096, kRead), request(200, 1, 42, 8192, 512, kWrite),
                request(300, 1, 42, 0, 512, kOther)});
}

TEST(TraceReader, BlktraceThatIsDamagedIsRefusedByItsRecord) {
  std::string text = record(0, 0, 512, kQueue | kTcRead, 1) + record(0, 0, 512, kQueue | kTcRead, 1);
  text[sizeof(BlktraceRecord) + 2] = 'x';
  EXPECT_NE(read_as(TraceFormat::kBlktrace, text, 1).error.find("record 2: does not begin"), std::string::npos);
  text = record(0, 0, 512, kQueue | kTcRead, 1);
  text[0] = 6;
  EXPECT_NE(read_as(TraceFormat::kBlktrace, text, 1).error.find("record 1: is of version 6"), std::string::npos);
  text = record(0, uint64_t{1} << 60, 512, kQueue | kTcRead, 1);
  EXPECT_NE(read_as(TraceFormat::kBlktrace, text, 1).error.find("record 1: the sector"), std::string::npos);
  EXPECT_NE(read_as(TraceFormat::kBlktrace, "", 1).error.find("empty"), std::string::npos);
}

TEST(TraceReader, WrongRowsAreRefusedByTheirLine) {
  using enum TraceFormat;
  const std::string block = "ts_us,vol,offset,size,op\n", file = "ts_us,pid,file_id,offset,size,op\n",
                    fio2 = "fio version 2 iolog\n", fio3 = "fio version 3 iolog\n",
                    vscsi = "version,time,op,size,lbn\n", event = "8,0 3 1 0.0 697 Q W 8 + 8 [x]\n";
  struct Case {
    TraceFormat format;
    std::string text, expected;
  };
  const std::vector<Case> cases = {
      {kBlockCsv, block + "1,0,0,4096,R\n1,0,0,4096,X\n", "line 3: op is none"},
      {kBlockCsv, block + "1,0,0,4294967297,R\n", "line 2: a request of more than 4 GiB"},
      {kBlockCsv, block + "1,0,4503599627370496,1,R\n", "line 2: offset + size is beyond"},
      {kFileCsv, "", "empty"},
      {kFileCsv, "ts,pid\n", "line 1: the header"},
      {kFileCsv, file + "1,2,3,4,5\n", "line 2: expected the 6 fields"},
      {kFileCsv, file + "1,2,3,4,5,R,\n", "line 2: expected the 6 fields"},
      {kFileCsv, file + "x,2,3,4,5,R\n", "line 2: ts_us"},
      {kFileCsv, file + "1,-2,3,4,5,R\n", "line 2: pid"},
      {kFileCsv, file + "1,2,,4,5,R\n", "line 2: file_id"},
      {kFileCsv, file + "1,2,3,4k,5,R\n", "line 2: offset"},
      {kFileCsv, file + "1,2,3,4,,R\n", "line 2: size"},
      {kFileCsv, file + "1,2,3,4,5,\n", "line 2: op is empty"},
      {kFileCsv, file + "1,2,3,18446744073709551615,5,R\n", "line 2: offset + size is beyond"},
      {kFileCsv, file + std::string(5000, '1'), "line 2: the line is too long"},
      {kFioIolog, "fio version 4 iolog\n", "line 1: the first line"},
      {kFioIolog, fio2 + "d\n", "line 2: expected FILE ACTION"},
      {kFioIolog, fio2 + "d jump 0 1\n", "line 2: the action is none"},
      {kFioIolog, fio2 + "d read 0\n", "line 2: expected FILE ACTION OFFSET"},
      {kFioIolog, fio2 + "d read x 4096\n", "line 2: the offset"},
      {kFioIolog, fio2 + "d read 0 4096 1 2 3\n", "line 2: too many words"},
      {kFioIolog, fio2 + "d wait 99999999999999999 0\n", "line 2: the wait is too long"},
      {kFioIolog, fio3 + "0 d add\nd read 0 4096\n", "line 3: the timestamp"},
      {kVscsiCsv, "version,time,op,size\n", "line 1: the header"},
      {kVscsiCsv, vscsi + "1,2,2a,512\n", "line 2: expected 5 fields"},
      {kVscsiCsv, vscsi + "1,x,2a,512,1\n", "line 2: time"},
      {kVscsiCsv, vscsi + "1,2.,2a,512,1\n", "line 2: time"},
      {kVscsiCsv, vscsi + "1,2,zz,512,1\n", "line 2: op"},
      {kVscsiCsv, vscsi + "1,2,2a,-1,1\n", "line 2: size"},
      {kVscsiCsv, vscsi + "1,2,2a,512,99999999999999999\n", "line 2: lbn"},
      {kBlkparse, "hello\n", "line 1: expected an event"},
      {kBlkparse, event + "8,0 3 1 0.0 697\n", "line 2: too few words"},
      {kBlkparse, event + "8,0 x 1 0.0 697 Q W 8 + 8 [x]\n", "line 2: the CPU"},
      {kBlkparse, event + "8,0 3 1 0,0 697 Q W 8 + 8 [x]\n", "line 2: the time"},
      {kBlkparse, event + "8,0 3 1 0.0 p Q W 8 + 8 [x]\n", "line 2: the PID"},
      {kBlkparse, event + "8,0 3 1 0.0 697 Q W x + 8 [x]\n", "line 2: the sector"},
      {kBlkparse, event + "8,0 3 1 0.0 697 Q W 8 + 99999999 [x]\n", "line 2: the count of sectors"},
  };
  for (const Case& one : cases) {
    const Read read = read_as(one.format, one.text, 7);
    EXPECT_NE(read.error.find(one.expected), std::string::npos) << one.text.substr(0, 80) << "\n" << read.error;
  }
}

TEST(TraceReader, WhatIsNoTraceIsRecognisedAsNone) {
  for (const std::string_view text : {"", "hello\nworld\n", "\x01\x02\x03\x04", "a,b,c\n1,2,3\n", "\n\n"}) {
    const Result<TraceFormat> recognised = recognise_trace(text);
    EXPECT_FALSE(recognised.has_value()) << text;
  }
  for (const std::string& name : trace_format_names()) EXPECT_EQ(trace_format_name(*trace_format_of(name)), name);
  EXPECT_FALSE(trace_format_of("csv").has_value());
}

}  // namespace
}  // namespace foreshard::policy
