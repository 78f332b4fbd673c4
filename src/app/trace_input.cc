#include "app/trace_input.h"

#include <sys/stat.h>

#include <cerrno>

namespace foreshard::app {
namespace {

constexpr size_t kBlockBytes = 1u << 18;
constexpr size_t kPlainBytes = 1u << 18;
constexpr std::string_view kZstdMagic = "\x28\xb5\x2f\xfd";

// An error of the trace's content, with the file's name.
tl::unexpected<Error> in_file(const TraceInput& input, const Error& error) {
  return fail(error.code, "cannot read the trace", input.path() + ": " + error.context + ": " + error.detail);
}

}  // namespace

Result<TraceInput> TraceInput::open(const std::string& path) {
  TraceInput input;
  input.path_ = path;
  input.file_.reset(std::fopen(path.c_str(), "re"));
  if (input.file_ == nullptr) return fail(error_from_errno(errno, "cannot read the trace", path));
  struct stat status {};
  if (fstat(fileno(input.file_.get()), &status) != 0) {
    return fail(error_from_errno(errno, "cannot read the trace", path));
  }
  if (S_ISDIR(status.st_mode)) {
    return fail(ErrorCode::kInvalid, "cannot read the trace", path + " is a folder; name the file in it");
  }
  if (S_ISREG(status.st_mode)) {
    input.size_bytes_ = static_cast<uint64_t>(status.st_size);
    if (input.size_bytes_ == 0) return fail(ErrorCode::kInvalid, "cannot read the trace", path + " is empty");
  }
  input.block_.resize(kBlockBytes);
  return input;
}

Result<void> TraceInput::rewind() {
  if (!seekable()) {
    return fail(ErrorCode::kInvalid, "cannot read the trace",
                path_ + " cannot be read twice, which a share of its pages needs; give --cache as a size");
  }
  std::rewind(file_.get());
  read_bytes_ = 0;
  at_begin_ = true;
  in_frame_ = false;
  compressed_ = {};
  zstd_.reset();
  return {};
}

Result<std::string_view> TraceInput::read_block() {
  const size_t bytes = std::fread(block_.data(), 1, block_.size(), file_.get());
  if (bytes == 0 && std::ferror(file_.get()) != 0) {
    return fail(error_from_errno(errno, "cannot read the trace", path_));
  }
  read_bytes_ += bytes;
  return std::string_view(block_.data(), bytes);
}

Result<std::string_view> TraceInput::next() {
  if (zstd_ != nullptr) return decompress();
  TRY(const std::string_view block, read_block());
  if (!std::exchange(at_begin_, false) || !block.starts_with(kZstdMagic)) return block;
  zstd_.reset(ZSTD_createDStream());
  if (zstd_ == nullptr) return fail(ErrorCode::kNoSpace, "cannot read the trace", path_ + ": no memory for zstd");
  plain_.resize(kPlainBytes);
  compressed_ = block;
  return decompress();
}

Result<std::string_view> TraceInput::decompress() {
  for (;;) {
    ZSTD_inBuffer in{compressed_.data(), compressed_.size(), 0};
    ZSTD_outBuffer out{plain_.data(), plain_.size(), 0};
    const size_t left = ZSTD_decompressStream(zstd_.get(), &out, &in);
    if (ZSTD_isError(left) != 0) {
      return fail(ErrorCode::kInvalid, "cannot read the trace",
                  path_ + " is damaged: zstd says: " + ZSTD_getErrorName(left));
    }
    compressed_.remove_prefix(in.pos);
    if (in.pos > 0 || out.pos > 0) in_frame_ = left != 0;
    if (out.pos > 0) return std::string_view(plain_.data(), out.pos);
    if (!compressed_.empty()) continue;
    TRY(compressed_, read_block());
    if (!compressed_.empty()) continue;
    if (in_frame_) {
      return fail(ErrorCode::kInvalid, "cannot read the trace", path_ + " is cut off: its zstd frame does not end");
    }
    return std::string_view();
  }
}

Result<void> read_trace(TraceInput& input, std::optional<policy::TraceFormat> format, const TraceSink& sink) {
  std::string beginning;
  std::unique_ptr<policy::TraceReader> reader;
  for (;;) {
    TRY(std::string_view piece, input.next());
    const bool ended = piece.empty();
    if (reader == nullptr) {
      beginning.append(piece);
      if (!ended && beginning.size() < policy::kTraceRecogniseBytes) continue;
      if (!format) {
        const Result<policy::TraceFormat> recognised = policy::recognise_trace(beginning);
        if (!recognised) return in_file(input, recognised.error());
        format = *recognised;
      }
      if (sink.begin) sink.begin(*format);
      reader = policy::make_trace_reader(*format, sink.request);
      piece = beginning;
    }
    const Result<void> fed = reader->feed(piece);
    if (!fed) return in_file(input, fed.error());
    if (sink.on_bytes) sink.on_bytes(input.read_bytes());
    if (ended) break;
    if (sink.enough && sink.enough()) return {};
  }
  const Result<void> finished = reader->finish();
  if (!finished) return in_file(input, finished.error());
  return {};
}

}  // namespace foreshard::app
