#include "policy/trace/file_csv.h"

#include <algorithm>
#include <array>

#include "base/bytes.h"
#include "base/crc32c.h"

namespace foreshard::policy {
namespace {

TraceOp op_of(std::string_view name) {
  if (name == "R" || name == "read" || name == "M") return TraceOp::kRead;
  if (name == "W" || name == "write") return TraceOp::kWrite;
  return TraceOp::kOther;
}

}  // namespace

Result<void> FileCsvReader::take_line(std::string_view line) {
  if (lines() == 1) {
    if (line != kHeader) return wrong("the header must be ts_us,pid,file_id,offset,size,op", line);
    return {};
  }
  std::array<std::string_view, 6> fields;
  if (split_fields(line, ',', fields) != fields.size()) {
    return wrong("expected the 6 fields ts_us,pid,file_id,offset,size,op", line);
  }
  TraceRequest request;
  uint64_t time_us = 0, process = 0;
  if (!fields[0].empty()) {
    if (!parse_digits(fields[0], time_us) || time_us > UINT64_MAX / 1000) {
      return wrong("ts_us is neither empty nor a number", fields[0]);
    }
    request.time_ns = time_us * 1000;
  }
  if (!fields[1].empty()) {
    if (!parse_digits(fields[1], process) || process > UINT32_MAX) return wrong("pid is not a number", fields[1]);
    request.process = static_cast<uint32_t>(std::min<uint64_t>(process, UINT32_MAX - 1) + 1);  // 0: not recorded
  }
  if (fields[2].empty()) return wrong("file_id is empty", line);
  if (!parse_digits(fields[3], request.offset)) return wrong("offset is not a number of bytes", fields[3]);
  // A call that failed has its result there, which is below zero.
  const bool failed = fields[4].starts_with('-');
  if (!parse_digits(fields[4].substr(failed ? 1 : 0), request.size)) {
    return wrong("size is not a number of bytes", fields[4]);
  }
  if (failed) request.size = 0;
  if (fields[5].empty()) return wrong("op is empty", line);
  // A read at the end of a file that got nothing touched nothing.
  request.op = request.size == 0 ? TraceOp::kOther : op_of(fields[5]);
  // Of what touches no pages there may be many more.
  if (request.op != TraceOp::kOther) request.volume = files_.of(fields[2]);
  if (!parse_digits(fields[2], request.file) || request.file > INT64_MAX) {
    request.file = crc32c(as_bytes(fields[2]));
  }
  return hand_on(request, line);
}

}  // namespace foreshard::policy
