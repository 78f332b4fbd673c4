#include "app/trace_input.h"

#include <zstd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <memory>
#include <vector>

#include "policy/trace/access_trace.h"

namespace foreshard::app {
namespace {

constexpr std::string_view kFileHeader = "ts_us,pid,file_id,offset,size,op";
constexpr std::array<unsigned char, 4> kZstdMagic = {0x28, 0xb5, 0x2f, 0xfd};
constexpr size_t kBlockBytes = 128u << 10;
constexpr uint64_t kPastEnd = 1ull << 60;  // no offset of a real trace lies beyond

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
struct FreeStream {
  void operator()(ZSTD_DStream* stream) const { ZSTD_freeDStream(stream); }
};

bool parse_number(std::string_view text, uint64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

// Lines of a file trace.
class FileTraceParser {
 public:
  explicit FileTraceParser(std::function<void(const TraceRow&)> sink) : sink_(std::move(sink)) {}

  Result<void> feed(std::string_view text) {
    while (!text.empty()) {
      const size_t newline = text.find('\n');
      partial_.append(text.substr(0, std::min(newline, policy::kAccessTraceLineBytesMax + 1)));
      if (partial_.size() > policy::kAccessTraceLineBytesMax) return wrong("the line is too long");
      if (newline == std::string_view::npos) return {};
      TRY_VOID(take_line());
      text.remove_prefix(newline + 1);
    }
    return {};
  }
  Result<void> finish() {
    if (partial_.empty()) return {};
    return take_line();
  }

 private:
  tl::unexpected<Error> wrong(const char* what) const {
    return fail(ErrorCode::kInvalid, "file trace", "line " + std::to_string(lines_ + 1) + ": " + what);
  }
  Result<void> take_line() {
    const std::string line = std::exchange(partial_, {});
    if (lines_ == 0 && line != kFileHeader) return wrong("the header must be ts_us,pid,file_id,offset,size,op");
    if (lines_ > 0) {
      std::array<std::string_view, 6> fields;
      std::string_view rest = line;
      for (size_t i = 0; i < fields.size(); ++i) {
        const size_t comma = rest.find(',');
        if ((comma == std::string_view::npos) != (i + 1 == fields.size())) return wrong("not six fields");
        fields[i] = rest.substr(0, comma);
        rest.remove_prefix(std::min(rest.size(), comma == std::string_view::npos ? rest.size() : comma + 1));
      }
      TraceRow row;
      row.timed = !fields[0].empty();
      const bool failed = fields[4].starts_with('-');  // its result is there
      if (failed) fields[4].remove_prefix(1);
      const bool numbers = (!row.timed || parse_number(fields[0], row.time_us)) && parse_number(fields[2], row.file) &&
                           parse_number(fields[3], row.offset) && parse_number(fields[4], row.size);
      if (!numbers || row.file > INT64_MAX) return wrong("ts_us, file_id, offset or size is not a number");
      if (failed) row.size = 0;
      row.stream = fields[1];
      row.read = row.size > 0 && (fields[5] == "R" || fields[5] == "M" || fields[5] == "read");
      row.write = row.size > 0 && (fields[5] == "W" || fields[5] == "write");
      sink_(row);
    }
    ++lines_;
    return {};
  }

  std::function<void(const TraceRow&)> sink_;
  std::string partial_;
  uint64_t lines_ = 0;
};

// Gives the text of the trace piece by piece, unpacked where it is packed.
class TraceText {
 public:
  static Result<TraceText> open(const std::string& path) {
    TraceText text;
    text.file_.reset(std::fopen(path.c_str(), "re"));
    if (text.file_ == nullptr) return fail(error_from_errno(errno, "cannot read the trace", path));
    text.path_ = path;
    text.in_.resize(kBlockBytes);
    text.out_.resize(kBlockBytes);
    return text;
  }
  // Empty at the end.
  Result<std::string_view> next() {
    while (true) {
      if (input_.pos == input_.size && !ended_) {
        TRY_VOID(fill());
      }
      if (stream_ == nullptr) {
        const std::string_view piece(in_.data() + input_.pos, input_.size - input_.pos);
        input_.pos = input_.size;
        return piece;
      }
      if (input_.pos == input_.size && !pending_) {
        if (unfinished_) return fail(ErrorCode::kCorrupt, "trace", path_ + ": it ends within its compressed data");
        return std::string_view();
      }
      ZSTD_outBuffer output{out_.data(), out_.size(), 0};
      const size_t rc = ZSTD_decompressStream(stream_.get(), &output, &input_);
      if (ZSTD_isError(rc)) return fail(ErrorCode::kCorrupt, "trace", path_ + ": " + ZSTD_getErrorName(rc));
      unfinished_ = rc != 0;
      pending_ = output.pos == output.size;
      if (output.pos > 0) return std::string_view(out_.data(), output.pos);
    }
  }
  uint64_t bytes_read() const { return bytes_read_; }
  const std::string& path() const { return path_; }

 private:
  Result<void> fill() {
    const size_t bytes = std::fread(in_.data(), 1, in_.size(), file_.get());
    if (bytes < in_.size() && std::ferror(file_.get()) != 0) {
      return fail(error_from_errno(errno, "cannot read the trace", path_));
    }
    ended_ = bytes == 0;
    if (bytes_read_ == 0 && bytes >= kZstdMagic.size() &&
        std::equal(kZstdMagic.begin(), kZstdMagic.end(), reinterpret_cast<unsigned char*>(in_.data()))) {
      stream_.reset(ZSTD_createDStream());
      if (stream_ == nullptr) return fail(ErrorCode::kNoSpace, "trace", std::string("no memory to unpack it"));
      ZSTD_DCtx_setParameter(stream_.get(), ZSTD_d_windowLogMax, 27);
    }
    bytes_read_ += bytes;
    input_ = {in_.data(), bytes, 0};
    return {};
  }

  std::unique_ptr<std::FILE, CloseFile> file_;
  std::unique_ptr<ZSTD_DStream, FreeStream> stream_;
  std::string path_;
  std::vector<char> in_, out_;
  ZSTD_inBuffer input_{nullptr, 0, 0};
  uint64_t bytes_read_ = 0;
  bool ended_ = false, pending_ = false, unfinished_ = false;
};

template <class Parser>
Result<void> parse_all(Parser& parser, std::string_view first, TraceText& text, const TraceSink& sink,
                       const bool& enough) {
  for (std::string_view piece = first; !piece.empty() && !enough;) {
    TRY_VOID(parser.feed(piece));
    if (sink.on_bytes) sink.on_bytes(text.bytes_read());
    TRY(piece, text.next());
  }
  if (enough) return {};
  return parser.finish();
}

TraceRow row_of(const policy::AccessRow& from) {
  TraceRow row;
  row.timed = from.time_us.has_value();
  row.time_us = from.time_us.value_or(0);
  row.stream = from.volume;
  row.offset = from.offset;
  row.size = from.size;
  row.write = from.op == policy::AccessOp::kWrite;
  row.read = !row.write;
  return row;
}

}  // namespace

Result<TraceSummary> read_trace(const std::string& path, const TraceSink& sink) {
  TRY(TraceText text, TraceText::open(path));
  TRY(const std::string_view first, text.next());
  TraceSummary summary;
  summary.files = first.starts_with(kFileHeader);
  sink.begin(summary.files);
  bool enough = false;
  const auto take = [&](const TraceRow& row) {
    if (enough || row.offset > kPastEnd || row.size > kPastEnd) return;
    ++summary.rows;
    enough = !sink.row(row);
  };
  Result<void> parsed;
  if (summary.files) {
    FileTraceParser parser(take);
    parsed = parse_all(parser, first, text, sink, enough);
  } else {
    policy::AccessTraceParser parser([&](const policy::AccessRow& row) { take(row_of(row)); });
    parsed = parse_all(parser, first, text, sink, enough);
  }
  if (!parsed) {
    Error error = parsed.error();
    if (error.detail.find(path) == std::string::npos) error.detail = path + ": " + error.detail;
    return fail(std::move(error));
  }
  return summary;
}

}  // namespace foreshard::app
