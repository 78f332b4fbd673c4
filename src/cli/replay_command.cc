// `foreshard replay`: what the cache and the prefetcher would have made of a recorded trace.
#include <memory>
#include <optional>

#include <fmt/format.h>

#include "app/model_file.h"
#include "app/trace_input.h"
#include "base/units.h"
#include "cli/memory_check.h"
#include "cli/progress.h"
#include "cli/replay_report.h"
#include "cli/replay_runs.h"
#include "policy/replay/page_census.h"
#include "policy/replay/prefetch_names.h"
#include "policy/trace/coarse_times.h"
#include "runtime/clocks.h"

namespace foreshard::cli {
namespace {

using app::TraceInput;
using app::TraceSink;
using policy::Replacement;
using policy::TraceRequest;

// A size, or a share of the pages that the trace touches.
struct CacheSize {
  double share = 0;  // 0: in bytes
  uint64_t bytes = 0;
  uint64_t pages(uint64_t unique_pages) const {
    if (share == 0) return bytes / kPageBytes;
    return static_cast<uint64_t>(share * static_cast<double>(unique_pages));
  }
};

struct ReplayCommandOptions {
  std::vector<std::string> files;
  CacheSize cache{.share = 0.05};
  bool warm_servers = false;
  std::optional<CacheSize> server_cache;  // as large as the cache
  std::string prefetch;                   // empty: the table of all
  std::string replacement = "default";
  std::string budget = "normal";
  std::string format;  // empty: seen by the content
  std::string model;
  std::shared_ptr<policy::RunnableModel> trained;  // of that file
  double hit_us = 5, ram_us = 60, disk_us = 160, zone_us = 0;
  std::optional<double> fetch_us;
  uint64_t interval_ns = 1'000'000'000;

  bool counts_pages() const { return cache.share > 0 || (server_cache && server_cache->share > 0); }
};

Result<CacheSize> parse_cache_size(const std::string& text, bool zero_allowed) {
  if (!text.ends_with('%')) {
    TRY(const uint64_t bytes, parse_size(text));
    if (bytes < kPageBytes && !zero_allowed) {
      return fail(ErrorCode::kInvalid, "cache size", "'" + text + "' is less than a page of 4 KiB");
    }
    return CacheSize{.share = 0, .bytes = bytes};
  }
  char* end = nullptr;
  const double percent = std::strtod(text.c_str(), &end);
  if (end != text.data() + text.size() - 1 || !(percent > 0) || percent > 100) {
    return fail(ErrorCode::kInvalid, "cache size",
                "'" + text + "' is not a share above 0% up to 100%; write 5% or a size such as 64M");
  }
  return CacheSize{.share = percent / 100};
}

Result<void> read_whole(TraceInput& input, const ReplayCommandOptions& options, Progress& progress, TraceSink sink) {
  sink.on_bytes = [&progress](uint64_t bytes) { progress.update(bytes, runtime::monotonic_ns()); };
  TRY_VOID(read_trace(input, policy::trace_format_of(options.format), sink));
  progress.finish(runtime::monotonic_ns());
  return {};
}

// How many different pages the trace touches, by a first pass.
Result<uint64_t> count_pages(TraceInput& input, const ReplayCommandOptions& options, bool quiet) {
  policy::PageCensus census;
  Progress progress("counting pages", input.size_bytes(), quiet);
  const auto count = [&census](const TraceRequest& request) {
    if (request.op == policy::TraceOp::kOther) return;
    const policy::RequestPages pages = policy::pages_of(request);
    census.add(pages.first, pages.count);
  };
  TRY_VOID(read_whole(input, options, progress, {.begin = {}, .request = count, .on_bytes = {}, .enough = {}}));
  TRY_VOID(input.rewind());
  return census.pages();
}

uint64_t nanoseconds(double us) { return static_cast<uint64_t>(us * 1000); }

ReplayRuns make_runs(const ReplayCommandOptions& options, const policy::ReplayOptions& base,
                     policy::TraceFormat format) {
  policy::PrefetchChoice choice;
  choice.budget = options.budget == "frugal" ? policy::PrefetchBudget::kFrugal : policy::PrefetchBudget::kNormal;
  choice.model = options.trained;
  choice.warms_server = options.warm_servers;
  choice.whole_files = format == policy::TraceFormat::kFileCsv;
  const Replacement replacement = options.replacement == "lru" ? Replacement::kLru : Replacement::kDefault;
  ReplayRuns runs(base, std::move(choice));
  if (!options.prefetch.empty()) {
    runs.add(options.prefetch, replacement);
    return runs;
  }
  if (replacement != Replacement::kLru) runs.add("none", Replacement::kLru);
  for (const std::string& name : policy::replay_prefetch_table()) runs.add(name, replacement);
  return runs;
}

policy::ReplayOptions replay_options(const ReplayCommandOptions& options, uint64_t unique_pages) {
  policy::ReplayOptions base;
  base.cache_pages = options.cache.pages(unique_pages);
  base.server_cache_pages = options.server_cache.value_or(options.cache).pages(unique_pages);
  base.latency.hit_ns = nanoseconds(options.hit_us);
  base.latency.server_ram_ns = nanoseconds(options.fetch_us.value_or(options.ram_us));
  base.latency.server_disk_ns = nanoseconds(options.fetch_us.value_or(options.disk_us));
  base.latency.zone_ns = nanoseconds(options.zone_us);
  base.interval_ns = options.interval_ns;
  return base;
}

Result<ReplayReport> replay_file(const std::string& file, const ReplayCommandOptions& options, bool quiet) {
  TRY(TraceInput input, TraceInput::open(file));
  ReplayReport report;
  report.file = file;
  if (options.counts_pages()) {
    TRY_VOID(input.rewind());  // what cannot be read twice says so before it is read once
    TRY(report.unique_pages, count_pages(input, options, quiet));
  }
  const policy::ReplayOptions base = replay_options(options, report.unique_pages);
  report.cache_pages = base.cache_pages;
  report.server_cache_pages = base.server_cache_pages;
  if (options.counts_pages() && report.unique_pages == 0) {
    return fail(ErrorCode::kInvalid, "replay", file + " has no reads or writes");
  }
  if (base.cache_pages == 0) {
    return fail(
        ErrorCode::kInvalid, "--cache",
        fmt::format("no page fits: {} touches {} pages; give a larger share or a size", file, report.unique_pages));
  }
  const uint64_t rows = options.prefetch.empty() ? policy::replay_prefetch_table().size() + 1 : 1;
  TRY_VOID(check_cache_fits(base.cache_pages * kPageBytes, rows, CacheContents::kKeysOnly));
  std::optional<ReplayRuns> runs;
  Progress progress("replaying", input.size_bytes(), quiet);
  const auto begin = [&](policy::TraceFormat format) {
    report.format = policy::trace_format_name(format);
    runs.emplace(make_runs(options, base, format));
  };
  const auto take = [&](const TraceRequest& request) {
    report.has_times |= request.time_ns.has_value();
    runs->take(request);
  };
  policy::CoarseTimes times(take);
  const auto spread = [&times](const TraceRequest& request) { times.take(request); };
  TRY_VOID(read_whole(input, options, progress, {.begin = begin, .request = spread, .on_bytes = {}, .enough = {}}));
  times.finish();
  report.clock_unit_ns = times.unit_ns();
  report.rows = runs->rows();
  if (report.rows.front().result.requests() == 0) {
    return fail(ErrorCode::kInvalid, "replay", file + " has no reads or writes");
  }
  return report;
}

Result<void> replay(const Invocation& invocation, ReplayCommandOptions options) {
  if (!options.model.empty()) {
    TRY(policy::Model model, app::read_model_file(options.model));
    if (model.shape.symbols == policy::SymbolKind::kFile) {
      return fail(ErrorCode::kInvalid, "--model",
                  options.model + " predicts files; score it with: foreshard train TRACE --judge " + options.model);
    }
    options.trained = std::make_shared<policy::RunnableModel>(std::move(model));
  }
  if (!options.prefetch.empty()) {
    TRY_VOID(policy::check_replay_prefetch(options.prefetch));
  }
  Json list = Json::array();
  std::string text;
  for (const std::string& file : options.files) {
    TRY(const ReplayReport report, replay_file(file, options, invocation.quiet));
    list.push_back(replay_json(report));
    text += (text.empty() ? "" : "\n") + replay_text(report);
  }
  invocation.print(list.size() == 1 ? list.front() : list, text);
  return {};
}

void add_cache_option(CLI::App& command, const std::string& name, const std::string& description, bool zero_allowed,
                      const std::function<void(CacheSize)>& set) {
  command
      .add_option_function<std::string>(
          name,
          [name, zero_allowed, set](const std::string& text) {
            const Result<CacheSize> size = parse_cache_size(text, zero_allowed);
            if (!size) throw CLI::ValidationError(name, size.error().detail);
            set(*size);
          },
          description)
      ->type_name("SIZE|SHARE%");
}

void add_latency_options(CLI::App& command, ReplayCommandOptions& options) {
  const CLI::Validator range = number_between(0, 1e9);
  const auto add = [&](const char* name, double& us, const char* description) {
    command.add_option(name, us, description)->check(range)->type_name("US")->capture_default_str();
  };
  add("--hit-us", options.hit_us, "A page in the driver's cache");
  add("--ram-us", options.ram_us, "A page in the RAM of a server of the own zone, with the way there");
  add("--disk-us", options.disk_us, "A page on that server's disk");
  add("--zone-us", options.zone_us, "On top of both, when the volume is in another zone");
  command
      .add_option_function<double>(
          "--fetch-us", [&options](const double& us) { options.fetch_us = us; },
          "Instead of --ram-us and --disk-us: every page that is not in the cache")
      ->check(range)
      ->type_name("US");
  add_duration_option(command, "--interval", options.interval_ns,
                      "From one request to the next where the trace has no times (default: 1s, so that nothing is "
                      "late)");
}

}  // namespace

void add_replay_command(CLI::App& app, Invocation& invocation) {
  auto options = std::make_shared<ReplayCommandOptions>();
  CLI::App* command = app.add_subcommand("replay", "Show what cache and prefetching would make of a recorded trace");
  command->add_option("FILE", options->files, "Traces, each scored by itself; may be compressed with zstd")
      ->required()
      ->type_name("");
  add_cache_option(*command, "--cache", "The driver's cache, or a share of what the trace touches (default: 5%)", false,
                   [options](CacheSize size) { options->cache = size; });
  command
      ->add_option("--prefetch", options->prefetch,
                   "none, readahead, baseline, an expert's name, or all (default: a table of them)")
      ->type_name("NAME");
  command->add_option("--model", options->model, "A model made by foreshard train, as one more expert of all")
      ->type_name("FILE");
  command->add_option("--replacement", options->replacement, "Plain LRU, or the replacement of drivers")
      ->check(one_of({"lru", "default"}))
      ->type_name("lru|default")
      ->capture_default_str();
  command->add_option("--budget", options->budget, "For wasted bytes, of the experts")
      ->check(one_of({"normal", "frugal"}))
      ->type_name("normal|frugal")
      ->capture_default_str();
  command->add_option("--format", options->format, "Of the trace (default: seen by its content)")
      ->check(one_of(policy::trace_format_names()))
      ->type_name("block|file|blktrace|blkparse|fio|vscsi");
  add_latency_options(*command, *options);
  add_cache_option(*command, "--server-cache", "The server's RAM for this volume (default: as --cache)", true,
                   [options](CacheSize size) { options->server_cache = size; });
  command->add_flag("--warm-servers", options->warm_servers,
                    "The experts prefetch into the server's RAM too, where its disk is a good part of a read");
  command->footer(
      "A read request misses if a page of it is neither in the cache nor on its way, and is late if one is still on\n"
      "its way. Writes go into the cache and never miss. Prefetch fires after a request, never inside it. PRECISION:\n"
      "pages that were read before they left the cache, of all that were prefetched; IN TIME: that had arrived when\n"
      "they were asked for, of those that were read. CPU NS: of prediction, for each page read or written. A share\n"
      "as --cache reads the trace twice.\n\n"
      "Formats: block (ts_us,vol,offset,size,op), file (ts_us,pid,file_id,offset,size,op), blktrace (a CPU's file or\n"
      "blkparse -d), blkparse (its text), fio (iolog 2 and 3), vscsi (version,time,op,size,lbn).\n\n"
      "Examples:\n"
      "  foreshard replay disk1.csv                                  LRU, readahead, each expert, all of them\n"
      "  foreshard replay disk1.csv --cache 1G --prefetch all -o json\n"
      "  foreshard replay disk1.csv.zst --prefetch readahead --replacement lru --zone-us 5000\n");
  command->callback(
      [&invocation, options] { invocation.run = [&invocation, options] { return replay(invocation, *options); }; });
}

}  // namespace foreshard::cli
