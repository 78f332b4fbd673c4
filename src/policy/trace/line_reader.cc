#include "policy/trace/line_reader.h"

#include <charconv>
#include <utility>

namespace foreshard::policy {

bool parse_digits(std::string_view text, uint64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

bool parse_hex_digits(std::string_view text, uint64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  return error == std::errc() && end == text.data() + text.size();
}

bool parse_seconds_ns(std::string_view text, uint64_t& ns) {
  constexpr uint64_t kNsPerSecond = 1'000'000'000;
  const size_t point = text.find('.');
  uint64_t seconds = 0;
  if (!parse_digits(text.substr(0, point), seconds) || seconds >= UINT64_MAX / kNsPerSecond) return false;
  uint64_t fraction = 0;
  if (point != std::string_view::npos) {
    // What is finer than a nanosecond is cut off.
    const std::string_view digits = text.substr(point + 1);
    if (digits.empty() || digits.find_first_not_of("0123456789") != std::string_view::npos) return false;
    for (size_t i = 0; i < 9; ++i) {
      fraction = fraction * 10 + (i < digits.size() ? static_cast<uint64_t>(digits[i] - '0') : 0);
    }
  }
  ns = seconds * kNsPerSecond + fraction;
  return true;
}

size_t split_fields(std::string_view line, char separator, std::span<std::string_view> fields) {
  size_t count = 0;
  for (;;) {
    const size_t end = line.find(separator);
    if (count < fields.size()) fields[count] = line.substr(0, end);
    ++count;
    if (end == std::string_view::npos) return count;
    line.remove_prefix(end + 1);
  }
}

size_t split_words(std::string_view line, std::span<std::string_view> words) {
  constexpr std::string_view kBlanks = " \t\r";
  size_t count = 0;
  for (;;) {
    const size_t begin = line.find_first_not_of(kBlanks);
    if (begin == std::string_view::npos) return count;
    line.remove_prefix(begin);
    const size_t end = std::min(line.find_first_of(kBlanks), line.size());
    if (count < words.size()) words[count] = line.substr(0, end);
    ++count;
    line.remove_prefix(end);
  }
}

std::string quote_input(std::string_view text) {
  constexpr size_t kShown = 60;
  std::string out = "'";
  for (const char c : text.substr(0, kShown)) out.push_back(c >= 0x20 && c < 0x7f ? c : '.');
  return out + (text.size() > kShown ? "...'" : "'");
}

std::string_view request_fault(const TraceRequest& request) {
  if (request.volume >= kTraceVolumesMax) return "more than 1048576 volumes or files";
  if (request.op == TraceOp::kOther) return "";
  if (request.size == 0) return "a size of 0";
  if (request.size > kTraceRequestBytesMax) return "a request of more than 4 GiB";
  if (request.offset > kTraceVolumeBytesMax - request.size) return "offset + size is beyond 2^52 bytes";
  return "";
}

tl::unexpected<Error> LineReader::wrong(std::string_view what, std::string_view text) const {
  std::string detail = "line " + std::to_string(lines_) + ": ";
  detail.append(what);
  return fail(ErrorCode::kInvalid, format_, detail + ": " + quote_input(text));
}

Result<void> LineReader::hand_on(const TraceRequest& request, std::string_view line) {
  const std::string_view fault = request_fault(request);
  if (!fault.empty()) return wrong(fault, line);
  sink_(request);
  return {};
}

Result<void> LineReader::take(std::string_view line) {
  ++lines_;
  if (line.size() > kLineBytesMax) return wrong("the line is too long", line);
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  return take_line(line);
}

Result<void> LineReader::feed(std::string_view bytes) {
  while (!bytes.empty()) {
    const size_t newline = bytes.find('\n');
    const std::string_view piece = bytes.substr(0, newline);
    if (newline == std::string_view::npos || !partial_.empty()) {
      // One byte beyond the bound is enough to be refused for it; partial_ is within it.
      partial_.append(piece.substr(0, kLineBytesMax + 1 - partial_.size()));
      if (partial_.size() > kLineBytesMax) return take(partial_);
    }
    if (newline == std::string_view::npos) return {};
    bytes.remove_prefix(newline + 1);
    if (partial_.empty()) {
      TRY_VOID(take(piece));
    } else {
      const std::string line = std::exchange(partial_, {});
      TRY_VOID(take(line));
    }
  }
  return {};
}

Result<void> LineReader::finish() {
  if (!partial_.empty()) {
    const std::string line = std::exchange(partial_, {});
    TRY_VOID(take(line));
  }
  if (lines_ == 0) return fail(ErrorCode::kInvalid, format_, std::string("the trace is empty"));
  return {};
}

}  // namespace foreshard::policy
