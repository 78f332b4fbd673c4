// BlktraceReader: the kernel's block trace as blktrace writes it, one CPU's file, or the files of all merged by
// `blkparse -d`. Of its many events the queueing of reads and writes are the requests. Little-endian only.
//
// BlkparseReader: the text that blkparse prints of it in its default format; its summary at the end is left out.
#pragma once

#include "policy/trace/line_reader.h"
#include "policy/trace/name_index.h"

namespace foreshard::policy {

// struct blk_io_trace of linux/blktrace_api.h; `extra_bytes` of data follow it.
struct BlktraceRecord {
  uint32_t magic;  // kBlktraceMagic, and the version in the lowest byte
  uint32_t sequence;
  uint64_t time_ns;
  uint64_t sector;
  uint32_t bytes;
  uint32_t action;  // what happened in the lower half, flags of kind in the upper
  uint32_t process;
  uint32_t device;
  uint32_t cpu;
  uint16_t error;
  uint16_t extra_bytes;
};
static_assert(sizeof(BlktraceRecord) == 48);

inline constexpr uint32_t kBlktraceMagic = 0x65617400;
inline constexpr uint32_t kBlktraceVersion = 7;

class BlktraceReader final : public TraceReader {
 public:
  explicit BlktraceReader(Sink sink) : sink_(std::move(sink)) {}
  Result<void> feed(std::string_view bytes) override;
  Result<void> finish() override;

 private:
  Result<void> take(const BlktraceRecord& record);
  tl::unexpected<Error> wrong(std::string_view what) const;
  Sink sink_;
  NameIndex devices_;
  std::string partial_;      // of a record's fixed part
  uint64_t skip_bytes_ = 0;  // of the data behind the last one
  uint64_t records_ = 0;
};

class BlkparseReader final : public LineReader {
 public:
  explicit BlkparseReader(Sink sink) : LineReader("blkparse text", std::move(sink)) {}
  // Whether the line is an event.
  static bool is_event(std::string_view line);

 private:
  Result<void> take_line(std::string_view line) override;
  NameIndex devices_;
  bool ended_ = false;
};

}  // namespace foreshard::policy
