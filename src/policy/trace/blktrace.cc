#include "policy/trace/blktrace.h"

#include <array>

#include "base/bytes.h"

namespace foreshard::policy {
namespace {

constexpr uint32_t kQueued = 1;         // __BLK_TA_QUEUE
constexpr uint32_t kActionMask = 0xff;  // beyond it: a flag that a cgroup's id follows
constexpr uint32_t kWrite = 1u << 17;   // the categories BLK_TC_*, in the upper half
constexpr uint32_t kNotify = 1u << 26;
constexpr uint32_t kDiscard = 1u << 29;

bool is_device(std::string_view word) {
  const size_t comma = word.find(',');
  uint64_t number = 0;
  return comma != std::string_view::npos && parse_digits(word.substr(0, comma), number) &&
         parse_digits(word.substr(comma + 1), number);
}

}  // namespace

tl::unexpected<Error> BlktraceReader::wrong(std::string_view what) const {
  std::string detail = "record " + std::to_string(records_) + ": ";
  detail.append(what);
  return fail(ErrorCode::kInvalid, "blktrace", std::move(detail));
}

Result<void> BlktraceReader::take(const BlktraceRecord& record) {
  ++records_;
  if ((record.magic & 0xffffff00) != kBlktraceMagic) {
    return wrong("does not begin with the magic number; the file is damaged, or of another byte order");
  }
  if ((record.magic & 0xff) != kBlktraceVersion) {
    return wrong("is of version " + std::to_string(record.magic & 0xff) + "; 7 is understood");
  }
  skip_bytes_ = record.extra_bytes;
  if ((record.action & kActionMask) != kQueued || (record.action & kNotify) != 0) return {};
  TraceRequest request;
  request.time_ns = record.time_ns;
  request.volume = devices_.of(std::to_string(record.device));
  request.process = record.process;
  request.size = record.bytes;
  if (record.bytes == 0 || (record.action & kDiscard) != 0) {
    request.op = TraceOp::kOther;
  } else {
    request.op = (record.action & kWrite) != 0 ? TraceOp::kWrite : TraceOp::kRead;
    if (record.sector > kTraceVolumeBytesMax / kSectorBytes) return wrong("the sector is beyond 2^52 bytes");
    request.offset = record.sector * kSectorBytes;
  }
  if (const std::string_view fault = request_fault(request); !fault.empty()) return wrong(fault);
  sink_(request);
  return {};
}

Result<void> BlktraceReader::feed(std::string_view bytes) {
  while (!bytes.empty()) {
    if (skip_bytes_ > 0) {
      const size_t skipped = std::min<size_t>(skip_bytes_, bytes.size());
      bytes.remove_prefix(skipped);
      skip_bytes_ -= skipped;
      continue;
    }
    const size_t taken = std::min(sizeof(BlktraceRecord) - partial_.size(), bytes.size());
    partial_.append(bytes.substr(0, taken));
    bytes.remove_prefix(taken);
    if (partial_.size() < sizeof(BlktraceRecord)) return {};
    const auto record = load_object<BlktraceRecord>(as_bytes(partial_));
    partial_.clear();
    TRY_VOID(take(record));
  }
  return {};
}

// A trace that was cut off in its last record, as a killed blktrace leaves it, is good up to there.
Result<void> BlktraceReader::finish() {
  if (records_ == 0) return fail(ErrorCode::kInvalid, "blktrace", std::string("the trace is empty"));
  return {};
}

bool BlkparseReader::is_event(std::string_view line) {
  std::array<std::string_view, 7> words;
  uint64_t number = 0;
  return split_words(line, words) >= 7 && is_device(words[0]) && parse_digits(words[1], number) &&
         parse_seconds_ns(words[3], number);
}

//   8,0    3        1     0.000000000   697  Q   W 223490 + 8 [kjournald]
Result<void> BlkparseReader::take_line(std::string_view line) {
  std::array<std::string_view, 11> words;
  const size_t count = split_words(line, words);
  if (ended_ || count == 0) return {};
  if (!is_device(words[0])) {
    // The summary follows the last event.
    if (lines() > 1) return ended_ = true, Result<void>();
    return wrong("expected an event: MAJOR,MINOR CPU SEQUENCE SECONDS PID ACTION RWBS SECTOR + SECTORS", line);
  }
  TraceRequest request;
  uint64_t number = 0, time_ns = 0, process = 0;
  if (count < 7) return wrong("too few words for an event", line);
  if (!parse_digits(words[1], number)) return wrong("the CPU is not a number", words[1]);
  if (!parse_seconds_ns(words[3], time_ns)) return wrong("the time is not a number of seconds", words[3]);
  if (!parse_digits(words[4], process) || process > UINT32_MAX) return wrong("the PID is not a number", words[4]);
  if (words[5] != "Q") return {};
  request.time_ns = time_ns;
  request.process = static_cast<uint32_t>(process);
  request.volume = devices_.of(words[0]);
  const auto has = [&words](char flag) { return words[6].find(flag) != std::string_view::npos; };
  request.op = has('D') ? TraceOp::kOther : has('W') ? TraceOp::kWrite : has('R') ? TraceOp::kRead : TraceOp::kOther;
  // A flush has no sectors, a command of its own has its bytes there.
  if (count < 10 || words[8] != "+") request.op = TraceOp::kOther;
  if (request.op != TraceOp::kOther) {
    uint64_t sector = 0, sectors = 0;
    if (!parse_digits(words[7], sector) || sector > kTraceVolumeBytesMax / kSectorBytes) {
      return wrong("the sector is not a number up to 2^43", words[7]);
    }
    if (!parse_digits(words[9], sectors) || sectors > kTraceRequestBytesMax / kSectorBytes) {
      return wrong("the count of sectors is not a number up to 2^23", words[9]);
    }
    request.offset = sector * kSectorBytes;
    request.size = sectors * kSectorBytes;
    if (sectors == 0) request.op = TraceOp::kOther;
  }
  return hand_on(request, line);
}

}  // namespace foreshard::policy
