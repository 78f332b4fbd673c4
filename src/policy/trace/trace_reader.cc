#include "policy/trace/trace_reader.h"

#include <array>

#include "base/bytes.h"
#include "policy/trace/access_trace.h"
#include "policy/trace/blktrace.h"
#include "policy/trace/block_csv.h"
#include "policy/trace/file_csv.h"
#include "policy/trace/fio_iolog.h"
#include "policy/trace/vscsi_csv.h"

namespace foreshard::policy {
namespace {

struct FormatName {
  TraceFormat format;
  std::string_view name;
};
constexpr std::array kFormats = {
    FormatName{TraceFormat::kBlockCsv, "block"},    FormatName{TraceFormat::kFileCsv, "file"},
    FormatName{TraceFormat::kBlktrace, "blktrace"}, FormatName{TraceFormat::kBlkparse, "blkparse"},
    FormatName{TraceFormat::kFioIolog, "fio"},      FormatName{TraceFormat::kVscsiCsv, "vscsi"}};

}  // namespace

std::string_view trace_format_name(TraceFormat format) {
  for (const FormatName& one : kFormats) {
    if (one.format == format) return one.name;
  }
  return "";
}

const std::vector<std::string>& trace_format_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const FormatName& one : kFormats) all.emplace_back(one.name);
    return all;
  }();
  return names;
}

std::optional<TraceFormat> trace_format_of(std::string_view name) {
  for (const FormatName& one : kFormats) {
    if (one.name == name) return one.format;
  }
  return std::nullopt;
}

Result<TraceFormat> recognise_trace(std::string_view beginning) {
  if (beginning.empty()) return fail(ErrorCode::kInvalid, "trace", std::string("the trace is empty"));
  if (beginning.size() >= sizeof(uint32_t)) {
    const auto magic = load_object<uint32_t>(as_bytes(beginning.substr(0, sizeof(uint32_t))));
    if ((magic & 0xffffff00) == kBlktraceMagic) return TraceFormat::kBlktrace;
  }
  std::string_view line = beginning.substr(0, beginning.find('\n'));
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  if (line == kAccessTraceHeader) return TraceFormat::kBlockCsv;
  if (line == FileCsvReader::kHeader) return TraceFormat::kFileCsv;
  if (line == FioIologReader::kHeader2 || line == FioIologReader::kHeader3) return TraceFormat::kFioIolog;
  if (VscsiCsvReader::is_header(line)) return TraceFormat::kVscsiCsv;
  if (BlkparseReader::is_event(line)) return TraceFormat::kBlkparse;
  return fail(
      ErrorCode::kInvalid, "trace",
      "of no format that is known (block, file, blktrace, blkparse, fio, vscsi); it begins with " + quote_input(line));
}

std::unique_ptr<TraceReader> make_trace_reader(TraceFormat format, TraceReader::Sink sink) {
  switch (format) {
    case TraceFormat::kBlockCsv: return std::make_unique<BlockCsvReader>(std::move(sink));
    case TraceFormat::kFileCsv: return std::make_unique<FileCsvReader>(std::move(sink));
    case TraceFormat::kBlktrace: return std::make_unique<BlktraceReader>(std::move(sink));
    case TraceFormat::kBlkparse: return std::make_unique<BlkparseReader>(std::move(sink));
    case TraceFormat::kFioIolog: return std::make_unique<FioIologReader>(std::move(sink));
    case TraceFormat::kVscsiCsv: return std::make_unique<VscsiCsvReader>(std::move(sink));
  }
  return nullptr;
}

}  // namespace foreshard::policy
