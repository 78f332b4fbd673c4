// No input makes a reader of traces crash, and what comes out does not hang on where the input was cut: the first byte
// says which format and where. Behind it stands the input as it is, or, where the second bit is set, lines of that
// format with fields from a list of likely ones and of those at which something may overflow.
#include <array>
#include <cstdlib>
#include <string>
#include <vector>

#include "policy/trace/blktrace.h"
#include "policy/trace/trace_reader.h"

namespace foreshard::policy {
namespace {

constexpr std::array kFormats = {TraceFormat::kBlockCsv, TraceFormat::kFileCsv,  TraceFormat::kBlktrace,
                                 TraceFormat::kBlkparse, TraceFormat::kFioIolog, TraceFormat::kVscsiCsv};
constexpr std::array<std::string_view, 30> kFields = {"0",
                                                      "1",
                                                      "4096",
                                                      "8192",
                                                      "512",
                                                      "33898.25",
                                                      "18446744073709551615",
                                                      "18446744073709551616",
                                                      "4503599627370496",
                                                      "4294967296",
                                                      "R",
                                                      "W",
                                                      "?",
                                                      "Q",
                                                      "M",
                                                      "read",
                                                      "write",
                                                      "wait",
                                                      "trim",
                                                      "add",
                                                      "2a",
                                                      "28",
                                                      "zz",
                                                      "8,0",
                                                      "8,16",
                                                      "0.000000001",
                                                      "+",
                                                      "FWS",
                                                      "",
                                                      "-1"};

std::string_view header_of(TraceFormat format) {
  switch (format) {
    case TraceFormat::kBlockCsv: return "ts_us,vol,offset,size,op\n";
    case TraceFormat::kFileCsv: return "ts_us,pid,file_id,offset,size,op\n";
    case TraceFormat::kFioIolog: return "fio version 3 iolog\n";
    case TraceFormat::kVscsiCsv: return "version,time,op,size,lbn\n";
    default: return "";
  }
}

// A byte a field; 255 ends the line.
std::string lines_of(TraceFormat format, std::string_view script) {
  const char separator = format == TraceFormat::kBlkparse || format == TraceFormat::kFioIolog ? ' ' : ',';
  std::string out(header_of(format));
  bool first = true;
  for (const char c : script) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 224) {
      out += '\n';
      first = true;
      continue;
    }
    if (!first) out += separator;
    out += kFields[byte % kFields.size()];
    first = false;
  }
  return out;
}

// A blktrace record for each 8 bytes: its kind, its data, its numbers.
std::string records_of(std::string_view script) {
  std::string out;
  for (; script.size() >= 8; script.remove_prefix(8)) {
    const auto at = [&script](size_t i) { return static_cast<uint8_t>(script[i]); };
    BlktraceRecord record{};
    record.magic = at(0) == 255 ? 0 : kBlktraceMagic | kBlktraceVersion;
    record.time_ns = at(1);
    record.sector = uint64_t{at(2)} << (at(3) % 64);
    record.bytes = uint32_t{at(4)} << (at(3) % 32);
    record.action = uint32_t{at(5)} << 16 | (at(6) & 15);
    record.device = at(6) >> 4;
    record.extra_bytes = at(7) % 32;
    out.append(reinterpret_cast<const char*>(&record), sizeof(record));
    out.append(record.extra_bytes, 'x');
  }
  return out;
}

struct Outcome {
  std::vector<TraceRequest> requests;
  std::string error;
  bool operator==(const Outcome&) const = default;
};

Outcome read_all(TraceFormat format, std::string_view text, size_t cut) {
  Outcome outcome;
  const auto reader =
      make_trace_reader(format, [&outcome](const TraceRequest& request) { outcome.requests.push_back(request); });
  for (const std::string_view piece : {text.substr(0, cut), text.substr(cut)}) {
    if (const Result<void> fed = reader->feed(piece); !fed) return outcome.error = fed.error().message(), outcome;
  }
  if (const Result<void> finished = reader->finish(); !finished) outcome.error = finished.error().message();
  return outcome;
}

void parse(TraceFormat format, std::string_view text, size_t cut) {
  const Outcome whole = read_all(format, text, text.size());
  if (read_all(format, text, cut) != whole) std::abort();
  for (const TraceRequest& request : whole.requests) {
    if (request.op == TraceOp::kOther) continue;
    if (request.size == 0 || request.size > kTraceRequestBytesMax || request.volume >= kTraceVolumesMax ||
        request.offset + request.size > kTraceVolumeBytesMax) {
      std::abort();
    }
  }
}

}  // namespace
}  // namespace foreshard::policy

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace foreshard::policy;
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const TraceFormat format = kFormats[data[0] % kFormats.size()];
  (void)recognise_trace(text.substr(0, kTraceRecogniseBytes)).has_value();
  const std::string made = format == TraceFormat::kBlktrace ? records_of(text) : lines_of(format, text);
  for (const std::string_view one : {text, std::string_view(made)}) parse(format, one, one.size() * data[0] / 256);
  return 0;
}
