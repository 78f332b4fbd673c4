// Access traces as text: one header line, then a row per request of a client,
//
//     ts_us,vol,offset,size,op
//     1500,0,8192,4096,R
//
// ts_us: microseconds since the trace began, empty when no times were recorded; vol: any short text without commas;
// offset and size in bytes, size at least 1; op: R, W, or ? where it was not recorded (to be counted as a read).
// `volume record` writes it, `replay` and the benches read it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace foreshard::policy {

enum class AccessOp : uint8_t { kRead, kWrite, kUnknown };

struct AccessRow {
  std::optional<uint64_t> time_us;
  std::string_view volume;  // of a parsed row: good until the sink returns
  uint64_t offset = 0;
  uint64_t size = 0;
  AccessOp op = AccessOp::kRead;
  bool operator==(const AccessRow&) const = default;
};

inline constexpr std::string_view kAccessTraceHeader = "ts_us,vol,offset,size,op";
inline constexpr size_t kAccessTraceVolumeBytesMax = 255;
inline constexpr size_t kAccessTraceLineBytesMax = 512;

// Whether a trace can name the volume so.
bool access_trace_volume_ok(std::string_view volume);
void append_access_trace_header(std::string& out);
// The row must be valid: size > 0, offset + size below 2^64, a volume that is ok.
void append_access_trace_row(std::string& out, const AccessRow& row);

// Takes a trace in pieces as they come from a file or a pipe. Strict: the first row that is not as described ends it
// with kInvalid, naming the line and what is wrong with it. Holds at most one line.
class AccessTraceParser {
 public:
  using Sink = std::function<void(const AccessRow&)>;
  explicit AccessTraceParser(Sink sink) : sink_(std::move(sink)) {}
  Result<void> feed(std::string_view text);
  // The end of the input: the last line may lack its newline; the header must have been there.
  Result<void> finish();
  uint64_t rows() const { return rows_; }

 private:
  Result<void> take_line(std::string_view line);
  Result<AccessRow> parse_row(std::string_view line) const;
  tl::unexpected<Error> wrong(std::string_view what, std::string_view text) const;

  Sink sink_;
  std::string partial_;   // of a line that is not complete yet
  uint64_t lines_ = 0;
  uint64_t rows_ = 0;
};

}  // namespace foreshard::policy
