#include "cli/backtest.h"

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/units.h"

namespace foreshard::cli {
namespace {

// More than this share missing, and what follows what in the recording is not what followed it.
constexpr double kDroppedShareMax = 0.01;

double fetch_us(const BacktestTerms& terms) { return static_cast<double>(terms.fetch_ns) / 1000; }

}  // namespace

bool RecordedRequests::add(const app::pb::RecordBatch& batch) {
  for (int i = 0; i < batch.time_ns_size() && !full(); ++i) {
    if (batch.bytes(i) == 0) continue;
    policy::TraceRequest request;
    request.time_ns = batch.time_ns(i);
    request.offset = batch.offset(i);
    request.size = batch.bytes(i);
    request.op = batch.write(i) ? policy::TraceOp::kWrite : policy::TraceOp::kRead;
    reads_ += request.op == policy::TraceOp::kRead;
    requests_.push_back(request);
  }
  return !full();
}

Result<void> check_recorded(const std::string& volume, const RecordedRequests& recorded, uint64_t dropped,
                            double seconds) {
  if (recorded.reads() == 0) {
    return fail(
        ErrorCode::kNotFound, "backtest",
        fmt::format("nothing was read from {} in {:.0f} s; let its clients work meanwhile, or record for longer "
                    "with --for",
                    volume, seconds));
  }
  const uint64_t all = recorded.requests().size() + dropped;
  if (static_cast<double>(dropped) > kDroppedShareMax * static_cast<double>(all)) {
    return fail(
        ErrorCode::kUnavailable, "backtest",
        fmt::format("{} of {} requests of {} were not recorded, because this command was too slow for them; try "
                    "again when this host has more time to spare",
                    dropped, all, volume));
  }
  return {};
}

ReplayRuns backtest_runs(const BacktestTerms& terms) {
  policy::ReplayOptions options;
  options.cache_pages = terms.cache_bytes / kPageBytes;
  options.server_cache_pages = options.cache_pages;
  // The time of a fetch is what was measured, wherever the page came from and however far away.
  options.latency.server_ram_ns = terms.fetch_ns;
  options.latency.server_disk_ns = terms.fetch_ns;
  policy::PrefetchChoice choice;
  choice.budget = terms.budget;
  ReplayRuns runs(options, std::move(choice));
  for (const std::string& name : policy::replay_prefetch_table()) runs.add(name, policy::Replacement::kDefault);
  return runs;
}

Json backtest_json(const BacktestTerms& terms, const BacktestInput& input, const ReplayReport& report) {
  Json value = {{"volume", terms.volume}};
  if (!terms.mode.empty()) value["mode"] = terms.mode;
  value["budget"] = policy::prefetch_budget_name(terms.budget);
  if (!input.trace.empty()) value["trace"] = input.trace;
  if (input.recorded_s) value["seconds"] = *input.recorded_s;
  value["requests"] = report.rows.front().result.requests();
  value["read_requests"] = report.rows.front().result.read_requests;
  value["dropped"] = input.dropped;
  value["cache_bytes"] = terms.cache_bytes;
  value["fetch_us"] = fetch_us(terms);
  value["fetch_assumed"] = terms.fetch_assumed;
  value["policies"] = replay_json(report)["policies"];
  return value;
}

std::string backtest_text(const BacktestTerms& terms, const BacktestInput& input, const ReplayReport& report) {
  const policy::ReplayResult& first = report.rows.front().result;
  std::string text = fmt::format("{}: {} requests", terms.volume, first.requests());
  if (input.recorded_s) text += fmt::format(" in {:.0f} s", *input.recorded_s);
  text += fmt::format(", {} of them reads; cache {}, a fetch takes {:.0f} us{}, budget {}\n", first.read_requests,
                      format_size(terms.cache_bytes), fetch_us(terms),
                      terms.fetch_assumed ? " (assumed: none was measured; tell it with --fetch-us)" : "",
                      policy::prefetch_budget_name(terms.budget));
  if (!terms.mode.empty()) {
    text += fmt::format("prefetch of {} is {}; each row begins with an empty cache and nothing learned\n", terms.volume,
                        terms.mode);
  }
  if (input.dropped > 0) {
    text += fmt::format("{} requests are missing: this command was too slow for them\n", input.dropped);
  }
  if (input.full) text += "the recording was ended there, because it grew too long\n";
  if (!report.has_times) text += "the trace has no times, so that nothing is late\n";
  return text + replay_table(report, {"PREFETCH", "MISS", "LATE", "PRECISION", "PREFETCHED", "WASTED", "MEAN US",
                                      "P99 US", "ECE"});
}

}  // namespace foreshard::cli
