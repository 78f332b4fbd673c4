#include "policy/trace/access_trace.h"

#include <array>
#include <charconv>

#include "base/assert.h"

namespace foreshard::policy {
namespace {

constexpr size_t kFields = 5;

void append_number(std::string& out, uint64_t value) {
  char digits[20];
  const auto [end, error] = std::to_chars(digits, digits + sizeof(digits), value);
  out.append(digits, end);
}

// Digits only: from_chars would take no sign for unsigned anyway, but must not stop early.
bool parse_number(std::string_view text, uint64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

char letter_of(AccessOp op) { return op == AccessOp::kRead ? 'R' : op == AccessOp::kWrite ? 'W' : '?'; }

// What of the input an error may quote.
std::string quoted(std::string_view text) {
  constexpr size_t kShown = 60;
  std::string out = "'";
  for (const char c : text.substr(0, kShown)) out.push_back(c >= 0x20 && c < 0x7f ? c : '.');
  return out + (text.size() > kShown ? "...'" : "'");
}

}  // namespace

bool access_trace_volume_ok(std::string_view volume) {
  if (volume.empty() || volume.size() > kAccessTraceVolumeBytesMax) return false;
  for (const char c : volume) {
    if (c == ',' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return false;
  }
  return true;
}

void append_access_trace_header(std::string& out) {
  out.append(kAccessTraceHeader);
  out.push_back('\n');
}

void append_access_trace_row(std::string& out, const AccessRow& row) {
  ASSERT(access_trace_volume_ok(row.volume) && row.size > 0 && row.offset <= UINT64_MAX - row.size, row.offset,
         row.size);
  if (row.time_us) append_number(out, *row.time_us);
  out.push_back(',');
  out.append(row.volume);
  out.push_back(',');
  append_number(out, row.offset);
  out.push_back(',');
  append_number(out, row.size);
  out.push_back(',');
  out.push_back(letter_of(row.op));
  out.push_back('\n');
}

tl::unexpected<Error> AccessTraceParser::wrong(std::string_view what, std::string_view text) const {
  std::string detail = "line " + std::to_string(lines_) + ": ";
  detail.append(what);
  detail += ": " + quoted(text);
  return fail(ErrorCode::kInvalid, "access trace", std::move(detail));
}

Result<AccessRow> AccessTraceParser::parse_row(std::string_view line) const {
  std::array<std::string_view, kFields> fields;
  size_t begin = 0;
  for (size_t i = 0; i < kFields; ++i) {
    const size_t comma = line.find(',', begin);
    if ((comma == std::string_view::npos) != (i + 1 == kFields)) {
      return wrong("expected the 5 fields ts_us,vol,offset,size,op", line);
    }
    fields[i] = line.substr(begin, comma - begin);
    begin = comma + 1;
  }
  AccessRow row;
  uint64_t time_us = 0;
  if (!fields[0].empty()) {
    if (!parse_number(fields[0], time_us)) return wrong("ts_us is neither empty nor a number", fields[0]);
    row.time_us = time_us;
  }
  if (!access_trace_volume_ok(fields[1])) return wrong("vol is empty, too long or not printable", fields[1]);
  row.volume = fields[1];
  if (!parse_number(fields[2], row.offset)) return wrong("offset is not a number of bytes", fields[2]);
  if (!parse_number(fields[3], row.size) || row.size == 0) {
    return wrong("size is not a number of bytes from 1", fields[3]);
  }
  if (row.offset > UINT64_MAX - row.size) return wrong("offset + size does not fit 64 bits", line);
  if (fields[4] == "R") {
    row.op = AccessOp::kRead;
  } else if (fields[4] == "W") {
    row.op = AccessOp::kWrite;
  } else if (fields[4] == "?") {
    row.op = AccessOp::kUnknown;
  } else {
    return wrong("op is none of R, W, ?", fields[4]);
  }
  return row;
}

Result<void> AccessTraceParser::take_line(std::string_view line) {
  ++lines_;
  if (line.size() > kAccessTraceLineBytesMax) return wrong("the line is too long", line);
  if (lines_ == 1) {
    if (line != kAccessTraceHeader) return wrong("the header must be ts_us,vol,offset,size,op", line);
    return {};
  }
  TRY(const AccessRow row, parse_row(line));
  ++rows_;
  sink_(row);
  return {};
}

Result<void> AccessTraceParser::feed(std::string_view text) {
  while (!text.empty()) {
    const size_t newline = text.find('\n');
    const std::string_view piece = text.substr(0, newline);
    if (newline == std::string_view::npos || !partial_.empty()) {
      // One byte beyond the bound is enough to be refused for it; partial_ is within it.
      partial_.append(piece.substr(0, kAccessTraceLineBytesMax + 1 - partial_.size()));
      if (partial_.size() > kAccessTraceLineBytesMax) return take_line(partial_);
    }
    if (newline == std::string_view::npos) return {};
    text.remove_prefix(newline + 1);
    if (partial_.empty()) {
      TRY_VOID(take_line(piece));
    } else {
      const std::string line = std::exchange(partial_, {});
      TRY_VOID(take_line(line));
    }
  }
  return {};
}

Result<void> AccessTraceParser::finish() {
  if (!partial_.empty()) {
    const std::string line = std::exchange(partial_, {});
    TRY_VOID(take_line(line));
  }
  if (lines_ == 0) return wrong("the trace is empty, without a header", "");
  return {};
}

}  // namespace foreshard::policy
