// Traces of every kind behind one interface: bytes go in in pieces, requests come out in the order of the file. A
// reader does no I/O and holds at most one line or record. Which kind it is can be seen by the first bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace foreshard::policy {

enum class TraceOp : uint8_t {
  kRead,
  kWrite,
  kOther,  // an open, a flush, a discard: it touches no pages
};

// One request of a trace.
struct TraceRequest {
  std::optional<uint64_t> time_ns;  // since an arbitrary begin; none was recorded when empty
  uint32_t volume = 0;              // or file: 0, 1, ... in the order in which they appear
  uint64_t file = 0;                // of a file trace: its id there, below 2^63, or a hash of one that is no number
  uint32_t process = 0;             // its id plus one; 0 where it was not recorded
  uint64_t offset = 0;              // bytes; offset + size is at most kTraceVolumeBytesMax
  uint64_t size = 0;                // bytes; 0 only of kOther
  TraceOp op = TraceOp::kRead;
  bool operator==(const TraceRequest&) const = default;
};

enum class TraceFormat : uint8_t {
  kBlockCsv,  // ts_us,vol,offset,size,op
  kFileCsv,   // ts_us,pid,file_id,offset,size,op
  kBlktrace,  // the kernel's records: one CPU's file, or `blkparse -d`
  kBlkparse,  // the text that blkparse prints
  kFioIolog,  // fio's iolog, version 2 or 3
  kVscsiCsv,  // version,time,op,size,lbn
};

// What a row may ask for; beyond it the row is refused, so that no page number overflows and no row takes for ever.
inline constexpr uint64_t kTraceVolumeBytesMax = uint64_t{1} << 52;
inline constexpr uint64_t kTraceRequestBytesMax = uint64_t{4} << 30;
inline constexpr uint32_t kTraceVolumesMax = 1u << 20;
// So many bytes of a trace tell its format, less if it is shorter.
inline constexpr size_t kTraceRecogniseBytes = 4096;

std::string_view trace_format_name(TraceFormat format);
// The formats' names, as trace_format_of takes them.
const std::vector<std::string>& trace_format_names();
std::optional<TraceFormat> trace_format_of(std::string_view name);

// By the beginning of the trace. kInvalid, saying what was found, when it is none of them.
Result<TraceFormat> recognise_trace(std::string_view beginning);

// Owner: who has the bytes. Strict: the first row that is not as its format says ends the trace with kInvalid, naming
// the line or record and the reason; the object is of no further use then.
class TraceReader {
 public:
  using Sink = std::function<void(const TraceRequest&)>;
  virtual ~TraceReader() = default;
  virtual Result<void> feed(std::string_view bytes) = 0;
  // The end of the input.
  virtual Result<void> finish() = 0;
};

std::unique_ptr<TraceReader> make_trace_reader(TraceFormat format, TraceReader::Sink sink);

}  // namespace foreshard::policy
