#include "policy/trace/vscsi_csv.h"

#include <array>

#include "base/bytes.h"

namespace foreshard::policy {
namespace {

// The direct-access commands of SBC: READ and WRITE of 6, 10, 12 and 16 bytes.
TraceOp op_of(uint64_t command) {
  switch (command) {
    case 0x08:
    case 0x28:
    case 0xa8:
    case 0x88: return TraceOp::kRead;
    case 0x0a:
    case 0x2a:
    case 0xaa:
    case 0x8a: return TraceOp::kWrite;
    default: return TraceOp::kOther;
  }
}

bool is_one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  for (const std::string_view one : names) {
    if (one == name) return true;
  }
  return false;
}

}  // namespace

VscsiCsvReader::Columns VscsiCsvReader::columns_of(std::string_view line) {
  std::array<std::string_view, kColumnsMax> names;
  Columns columns;
  columns.count = split_fields(line, ',', names);
  if (columns.count > kColumnsMax) return Columns{};
  for (size_t i = 0; i < columns.count; ++i) {
    if (is_one_of(names[i], {"time", "ts", "timestamp"})) columns.time = i;
    if (is_one_of(names[i], {"op", "cmd"})) columns.op = i;
    if (is_one_of(names[i], {"size", "len", "length"})) columns.size = i;
    if (is_one_of(names[i], {"lbn", "lba"})) columns.lbn = i;
  }
  return columns;
}

bool VscsiCsvReader::is_header(std::string_view line) { return columns_of(line).complete(); }

Result<void> VscsiCsvReader::take_line(std::string_view line) {
  if (lines() == 1) {
    columns_ = columns_of(line);
    if (!columns_.complete()) return wrong("the header must name op, size and lbn: version,time,op,size,lbn", line);
    return {};
  }
  std::array<std::string_view, kColumnsMax> fields;
  if (split_fields(line, ',', fields) != columns_.count) {
    return wrong("expected " + std::to_string(columns_.count) + " fields, as the header has", line);
  }
  TraceRequest request;
  uint64_t command = 0, lbn = 0, time_ns = 0;
  if (columns_.time != kColumnsMax) {
    if (!parse_seconds_ns(fields[columns_.time], time_ns)) {
      return wrong("time is not a number of seconds", fields[columns_.time]);
    }
    request.time_ns = time_ns;
  }
  std::string_view op = fields[columns_.op];
  if (op.starts_with("0x")) op.remove_prefix(2);
  if (!parse_hex_digits(op, command)) return wrong("op is not a SCSI command in hexadecimal digits", op);
  if (!parse_digits(fields[columns_.size], request.size)) {
    return wrong("size is not a number of bytes", fields[columns_.size]);
  }
  if (!parse_digits(fields[columns_.lbn], lbn) || lbn > kTraceVolumeBytesMax / kSectorBytes) {
    return wrong("lbn is not a number of a sector", fields[columns_.lbn]);
  }
  request.offset = lbn * kSectorBytes;
  request.op = request.size == 0 ? TraceOp::kOther : op_of(command);
  return hand_on(request, line);
}

}  // namespace foreshard::policy
