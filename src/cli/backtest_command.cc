// `foreshard predict backtest`: what each way of prefetching would have done with a volume's real requests: recorded
// from its clients now, or in a trace that was made before.
#include <memory>
#include <optional>

#include <fmt/format.h>

#include "app/driver_control.h"
#include "app/trace_input.h"
#include "base/bytes.h"
#include "base/units.h"
#include "cli/access_recording.h"
#include "cli/backtest.h"
#include "cli/memory_check.h"
#include "cli/progress.h"
#include "runtime/clocks.h"

namespace foreshard::cli {
namespace {

using app::TraceInput;
using app::TraceSink;
using runtime::Task;

// What a fetch is taken to take where nobody knows: a page from the disk of a server in the own zone.
constexpr uint64_t kAssumedFetchNs = policy::LatencyModel().server_disk_ns;
// Redrawing costs; so many requests between two looks at the clock.
constexpr uint64_t kRequestsPerUpdate = 1024;

struct BacktestOptions {
  std::string name, trace;
  uint64_t duration_ns = 60'000'000'000;
  std::optional<uint64_t> cache_bytes;
  std::optional<double> fetch_us;
  std::string budget;  // empty: the volume's
};

tl::unexpected<Error> wrong(ErrorCode code, std::string detail) { return fail(code, "backtest", std::move(detail)); }

// What the driver knows of it, where the command line does not say otherwise.
Task<Result<BacktestTerms>> ask_terms(RegionSession& session, meta::pb::Attachment attachment,
                                      BacktestOptions options) {
  CO_TRY(app::pb::DriverStatus status,
         co_await ask_driver<app::pb::DriverStatus>(session, attachment, app::kMethodDriverStatus, app::pb::Empty()));
  BacktestTerms terms;
  terms.volume = options.name;
  terms.mode = status.prefetch().mode();
  CO_TRY(terms.budget,
         app::parse_prefetch_budget(options.budget.empty() ? status.prefetch().budget() : options.budget));
  terms.cache_bytes = options.cache_bytes.value_or(status.cache_bytes_max());
  terms.fetch_ns = status.prefetch().fetch_latency_ns();
  if (options.fetch_us) terms.fetch_ns = static_cast<uint64_t>(*options.fetch_us * 1000);
  terms.fetch_assumed = !options.fetch_us && terms.fetch_ns == 0;
  if (terms.fetch_assumed) terms.fetch_ns = kAssumedFetchNs;
  if (terms.cache_bytes < kPageBytes) {
    co_return wrong(ErrorCode::kInvalid,
                    options.name + " has a cache of less than a page; say with --cache which one to try");
  }
  const uint64_t rows = policy::replay_prefetch_table().size();
  CO_TRY_VOID(check_cache_fits(terms.cache_bytes, rows, CacheContents::kKeysOnly));
  co_return terms;
}

void tell(const Invocation& invocation, const BacktestTerms& terms, const BacktestInput& input,
          const ReplayReport& report) {
  invocation.print(backtest_json(terms, input, report), backtest_text(terms, input, report));
}

ReplayReport replay_recorded(const BacktestTerms& terms, const RecordedRequests& recorded, bool quiet) {
  ReplayRuns runs = backtest_runs(terms);
  Progress progress("replaying", recorded.requests().size(), quiet, ProgressOf::kCount);
  uint64_t done = 0;
  for (const policy::TraceRequest& request : recorded.requests()) {
    runs.take(request);
    if (++done % kRequestsPerUpdate == 0) progress.update(done, runtime::monotonic_ns());
  }
  progress.update(done, runtime::monotonic_ns());
  progress.finish(runtime::monotonic_ns());
  ReplayReport report;
  report.file = terms.volume;
  report.format = "recording";
  report.cache_pages = report.server_cache_pages = terms.cache_bytes / kPageBytes;
  report.has_times = true;
  report.rows = runs.rows();
  return report;
}

Task<Result<RecordingEnd>> record_into(RegionSession& session, meta::pb::Attachment attachment, BacktestOptions options,
                                       RecordedRequests& recorded) {
  Progress progress("recording " + options.name, 0, session.invocation().quiet, ProgressOf::kCount);
  runtime::Runtime& runtime = session.runtime();
  const uint64_t end_ns = runtime.now_ns() + options.duration_ns;
  AccessRecording recording;
  recording.volume = options.name;
  recording.duration_ns = options.duration_ns;
  recording.begin = [] { return Result<void>(); };
  recording.take = [&](const app::pb::RecordBatch& batch) -> Result<bool> {
    const bool more = recorded.add(batch);
    const uint64_t now_ns = runtime.now_ns();
    progress.set_title(fmt::format("recording {}, {} s to go", options.name,
                                   (end_ns - std::min(end_ns, now_ns) + 999'999'999) / 1'000'000'000));
    progress.update(recorded.requests().size(), now_ns);
    return more;
  };
  Result<RecordingEnd> end = co_await record_accesses(session, attachment, std::move(recording));
  progress.finish(runtime.now_ns());
  co_return end;
}

Task<Result<void>> backtest_live(RegionSession& session, BacktestOptions options) {
  CO_TRY(meta::pb::Attachment attachment, co_await attachment_of(session, options.name));
  CO_TRY(BacktestTerms terms, co_await ask_terms(session, attachment, options));
  RecordedRequests recorded;
  const uint64_t begin_ns = session.runtime().now_ns();
  CO_TRY(const RecordingEnd end, co_await record_into(session, attachment, options, recorded));
  BacktestInput input;
  input.recorded_s = static_cast<double>(session.runtime().now_ns() - begin_ns) / 1e9;
  input.dropped = end.dropped;
  input.full = recorded.full();
  CO_TRY_VOID(check_recorded(options.name, recorded, end.dropped, *input.recorded_s));
  if (terms.fetch_assumed) {
    // The first fetches may have come meanwhile; if the driver went, it stays assumed.
    const Result<BacktestTerms> again = co_await ask_terms(session, attachment, options);
    if (again) terms = *again;
  }
  tell(session.invocation(), terms, input, replay_recorded(terms, recorded, session.invocation().quiet));
  co_return Result<void>();
}

Result<void> backtest_trace(const Invocation& invocation, const BacktestTerms& terms, const std::string& file) {
  TRY(TraceInput input, TraceInput::open(file));
  ReplayReport report;
  report.file = file;
  report.cache_pages = report.server_cache_pages = terms.cache_bytes / kPageBytes;
  ReplayRuns runs = backtest_runs(terms);
  Progress progress("replaying", input.size_bytes(), invocation.quiet);
  TraceSink sink;
  sink.begin = [&report](policy::TraceFormat format) { report.format = policy::trace_format_name(format); };
  sink.request = [&report, &runs](const policy::TraceRequest& request) {
    report.has_times |= request.time_ns.has_value();
    runs.take(request);
  };
  sink.on_bytes = [&progress](uint64_t bytes) { progress.update(bytes, runtime::monotonic_ns()); };
  TRY_VOID(read_trace(input, {}, sink));
  progress.finish(runtime::monotonic_ns());
  report.rows = runs.rows();
  if (report.rows.front().result.read_requests == 0) {
    return wrong(ErrorCode::kNotFound, "nothing is read in " + file);
  }
  BacktestInput from;
  from.trace = file;
  tell(invocation, terms, from, report);
  return {};
}

Task<Result<void>> backtest_trace_of_attached(RegionSession& session, BacktestOptions options) {
  CO_TRY(meta::pb::Attachment attachment, co_await attachment_of(session, options.name));
  CO_TRY(BacktestTerms terms, co_await ask_terms(session, attachment, options));
  co_return backtest_trace(session.invocation(), terms, options.trace);
}

Result<void> run(const Invocation& invocation, const BacktestOptions& options) {
  if (options.trace.empty()) {
    return with_region(
        invocation, [options](RegionSession& session) { return backtest_live(session, options); }, Signals::kHandled);
  }
  if (options.cache_bytes && options.fetch_us) {  // nothing is left to ask
    BacktestTerms terms;
    terms.volume = options.name;
    terms.cache_bytes = *options.cache_bytes;
    terms.fetch_ns = static_cast<uint64_t>(*options.fetch_us * 1000);
    TRY(terms.budget, app::parse_prefetch_budget(options.budget.empty() ? "normal" : options.budget));
    return backtest_trace(invocation, terms, options.trace);
  }
  return with_region(invocation,
                     [options](RegionSession& session) { return backtest_trace_of_attached(session, options); });
}

void add_cache_option(CLI::App& command, BacktestOptions& options) {
  command
      .add_option_function<std::string>(
          "--cache",
          [&options](const std::string& text) {
            const Result<uint64_t> bytes = parse_size(text);
            if (!bytes) throw CLI::ValidationError("--cache", bytes.error().detail);
            if (*bytes < kPageBytes)
              throw CLI::ValidationError("--cache", "'" + text + "' is less than a page of 4 KiB");
            options.cache_bytes = *bytes;
          },
          "Try a cache of this size (default: the volume's own)")
      ->type_name("SIZE");
}

}  // namespace

void add_backtest_command(CLI::App& predict, Invocation& invocation) {
  auto options = std::make_shared<BacktestOptions>();
  CLI::App* command =
      predict.add_subcommand("backtest", "What each way of prefetching would have done with a volume's requests");
  add_volume_name(*command, options->name);
  CLI::Option* duration = add_duration_option(*command, "--for", options->duration_ns,
                                              "How long to record what its clients ask for (default: 60s; ends early "
                                              "with SIGINT, SIGTERM or detach)");
  command->add_option("--trace", options->trace, "Take this trace, made before by foreshard volume record")
      ->type_name("FILE")
      ->excludes(duration);
  add_cache_option(*command, *options);
  command
      ->add_option_function<double>(
          "--fetch-us", [options](const double& us) { options->fetch_us = us; },
          "What a fetch takes (default: as the volume's driver has measured)")
      ->check(number_between(0, 1e9))
      ->type_name("US");
  command->add_option("--budget", options->budget, "For wasted bytes (default: the volume's own)")
      ->check(one_of({"normal", "frugal"}))
      ->type_name("normal|frugal");
  command->footer(
      "The requests run through the cache and each way of prefetching, as foreshard replay does it, from an empty\n"
      "cache on and with nothing learned before: a longer recording tells more. MISS and LATE are shares of the read\n"
      "requests: a page of it was not there, or still on its way. With --trace, --cache and --fetch-us the volume\n"
      "need not be attached: nothing is asked of it then, and the budget is normal unless told.\n\n"
      "Examples:\n"
      "  foreshard predict backtest disk1 --for 5m\n"
      "  foreshard predict backtest disk1 --trace disk1.csv --cache 1G -o json\n");
  command->callback(
      [&invocation, options] { invocation.run = [&invocation, options] { return run(invocation, *options); }; });
}

}  // namespace foreshard::cli
