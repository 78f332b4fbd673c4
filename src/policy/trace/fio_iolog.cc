#include "policy/trace/fio_iolog.h"

#include <array>

namespace foreshard::policy {

Result<void> FioIologReader::take_line(std::string_view line) {
  if (lines() == 1) {
    has_times_ = line == kHeader3;
    if (!has_times_ && line != kHeader2) return wrong("the first line must be 'fio version 2 iolog' or 3", line);
    return {};
  }
  std::array<std::string_view, 6> words;
  const size_t count = split_words(line, words);
  if (count == 0) return {};
  if (count > words.size()) return wrong("too many words for a request", line);
  TraceRequest request;
  size_t first = 0;
  if (has_times_) {
    uint64_t time_us = 0;
    if (!parse_digits(words[0], time_us) || time_us > UINT64_MAX / 1000) {
      return wrong("the timestamp is not a number of microseconds", words[0]);
    }
    request.time_ns = time_us * 1000;
    first = 1;
  } else {
    request.time_ns = waited_ns_;
  }
  return take_action(std::span(words).subspan(first, count - first), request, line);
}

// FILE ACTION, FILE ACTION OFFSET LENGTH
Result<void> FioIologReader::take_action(std::span<const std::string_view> words, TraceRequest request,
                                         std::string_view line) {
  if (words.size() < 2) return wrong("expected FILE ACTION [OFFSET LENGTH]", line);
  const std::string_view action = words[1];
  if (action == "add" || action == "open" || action == "close") return {};
  const bool wait = action == "wait";
  const bool pages = action == "read" || action == "write";
  if (!wait && !pages && action != "trim" && action != "sync" && action != "datasync") {
    return wrong("the action is none of add, open, close, read, write, trim, sync, datasync, wait", action);
  }
  if (words.size() != 4 && pages) return wrong("expected FILE ACTION OFFSET LENGTH", line);
  if (words.size() > 2 && !parse_digits(words[2], request.offset)) {
    return wrong("the offset is not a number of bytes", words[2]);
  }
  if (words.size() > 3 && !parse_digits(words[3], request.size)) {
    return wrong("the length is not a number of bytes", words[3]);
  }
  if (wait) {
    if (words.size() < 3) return wrong("expected FILE wait MICROSECONDS", line);
    constexpr uint64_t kWaitUsMax = uint64_t{1} << 50;
    if (request.offset > kWaitUsMax || waited_ns_.value_or(0) > kWaitUsMax) return wrong("the wait is too long", line);
    waited_ns_ = waited_ns_.value_or(0) + request.offset * 1000;
    return {};
  }
  request.op = action == "read" ? TraceOp::kRead : action == "write" ? TraceOp::kWrite : TraceOp::kOther;
  if (request.size == 0) request.op = TraceOp::kOther;
  request.volume = files_.of(words[0]);
  return hand_on(request, line);
}

}  // namespace foreshard::policy
