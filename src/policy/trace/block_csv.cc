#include "policy/trace/block_csv.h"

#include "policy/trace/line_reader.h"

namespace foreshard::policy {

BlockCsvReader::BlockCsvReader(Sink sink)
    : sink_(std::move(sink)), parser_([this](const AccessRow& row) { take(row); }) {}

void BlockCsvReader::take(const AccessRow& row) {
  ++rows_;
  if (!fault_.empty()) return;
  TraceRequest request;
  if (row.time_us) request.time_ns = std::min(*row.time_us, UINT64_MAX / 1000) * 1000;
  request.volume = volumes_.of(row.volume);
  request.offset = row.offset;
  request.size = row.size;
  request.op = row.op == AccessOp::kWrite ? TraceOp::kWrite : TraceOp::kRead;
  if (const std::string_view fault = request_fault(request); !fault.empty()) {
    fault_ = "line " + std::to_string(rows_ + 1) + ": ";
    fault_.append(fault);
    return;
  }
  sink_(request);
}

// A row out of bounds comes before whatever the parser stopped at.
Result<void> BlockCsvReader::faultless(const Result<void>& parsed) const {
  if (!fault_.empty()) return fail(ErrorCode::kInvalid, "block trace", fault_);
  return parsed;
}

Result<void> BlockCsvReader::feed(std::string_view bytes) { return faultless(parser_.feed(bytes)); }
Result<void> BlockCsvReader::finish() { return faultless(parser_.finish()); }

}  // namespace foreshard::policy
