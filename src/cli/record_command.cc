// `foreshard volume record`: writes down every request that clients make of a volume, as an access trace.
#include <cerrno>
#include <cstdio>
#include <memory>
#include <optional>

#include <fmt/format.h>

#include "cli/access_recording.h"
#include "policy/trace/access_trace.h"

namespace foreshard::cli {
namespace {

using runtime::Task;

struct RecordOptions {
  std::string name, file;
  uint64_t seconds = 0;  // 0: until interrupted
};

// The trace as a file. Rows reach it batch by batch, so that it is whole whenever the recording ends.
class TraceFile {
 public:
  static Result<TraceFile> create(const std::string& path) {
    TraceFile trace;
    trace.file_.reset(std::fopen(path.c_str(), "we"));
    if (trace.file_ == nullptr) return fail(error_from_errno(errno, "cannot write the trace", path));
    trace.path_ = path;
    std::string text;
    policy::append_access_trace_header(text);
    TRY_VOID(trace.write(text));
    return trace;
  }
  Result<void> add(const app::pb::RecordBatch& batch, const std::string& volume) {
    std::string text;
    for (int i = 0; i < batch.time_ns_size(); ++i) {
      if (rows_ == 0) began_ns_ = batch.time_ns(i);
      if (batch.bytes(i) == 0) continue;
      policy::AccessRow row;
      row.time_us = (batch.time_ns(i) - began_ns_) / 1000;
      row.volume = volume;
      row.offset = batch.offset(i);
      row.size = batch.bytes(i);
      row.op = batch.write(i) ? policy::AccessOp::kWrite : policy::AccessOp::kRead;
      policy::append_access_trace_row(text, row);
      ++rows_;
    }
    return write(text);
  }
  uint64_t rows() const { return rows_; }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  Result<void> write(const std::string& text) {
    const bool written =
        std::fwrite(text.data(), 1, text.size(), file_.get()) == text.size() && std::fflush(file_.get()) == 0;
    if (!written) return fail(error_from_errno(errno, "cannot write the trace", path_));
    return {};
  }
  std::unique_ptr<std::FILE, Close> file_;
  std::string path_;
  uint64_t rows_ = 0;
  uint64_t began_ns_ = 0;
};

Task<Result<void>> record(RegionSession& session, RecordOptions options) {
  CO_TRY(meta::pb::Attachment attachment, co_await attachment_of(session, options.name));
  std::optional<TraceFile> trace;
  AccessRecording recording;
  recording.volume = options.name;
  recording.duration_ns = options.seconds * 1'000'000'000;
  recording.begin = [&trace, &options]() -> Result<void> {
    TRY(trace, TraceFile::create(options.file));
    return {};
  };
  recording.take = [&trace, &options](const app::pb::RecordBatch& batch) -> Result<bool> {
    TRY_VOID(trace->add(batch, options.name));
    return true;
  };
  CO_TRY(const RecordingEnd end, co_await record_accesses(session, attachment, std::move(recording)));
  std::string text = fmt::format("{}: {} requests of {}\n", options.file, trace->rows(), options.name);
  if (end.dropped > 0) {
    text += fmt::format("{} requests were not recorded: this command was too slow for them\n", end.dropped);
  }
  session.invocation().print(
      {{"volume", options.name}, {"file", options.file}, {"requests", trace->rows()}, {"dropped", end.dropped}}, text);
  co_return Result<void>();
}

}  // namespace

void add_record_command(CLI::App& volume, Invocation& invocation) {
  auto options = std::make_shared<RecordOptions>();
  CLI::App* command = volume.add_subcommand("record", "Write every request of an attached volume's clients to a trace");
  add_volume_name(*command, options->name);
  // -o is the file here; --output still is the format of what is printed.
  CLI::Option* named = command->add_option("-o,--file", options->file, "The trace to write")->type_name("FILE");
  CLI::Option* plain = command->add_option("TRACE", options->file, "The same, without -o")->type_name("");
  named->excludes(plain);
  command->add_option("--seconds", options->seconds, "How long to record (default: until SIGINT, SIGTERM or detach)")
      ->type_name("N");
  command->footer(
      "The trace is text: a header, then a line 'ts_us,vol,offset,size,op' for each request; op is R or W.\n\n"
      "Example:\n  foreshard volume record disk1 -o disk1.csv --seconds 60\n");
  command->callback([&invocation, options] {
    if (options->file.empty()) throw CLI::RequiredError("-o FILE");
    invocation.run = [&invocation, options] {
      return with_region(
          invocation, [options](RegionSession& session) { return record(session, *options); }, Signals::kHandled);
    };
  });
}

}  // namespace foreshard::cli
