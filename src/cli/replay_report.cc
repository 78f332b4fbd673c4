#include "cli/replay_report.h"

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/units.h"
#include "cli/table.h"

namespace foreshard::cli {
namespace {

double microseconds(double ns) { return ns / 1000; }

std::string microseconds_text(double ns) { return fmt::format("{:.0f}", microseconds(ns)); }

// Without a prefetch there is nothing that could have been right.
std::string share_text(double share, uint64_t of) { return of == 0 ? "-" : fmt::format("{:.3f}", share); }

Json row_json(const ReplayReport& report, const ReplayRow& row) {
  const policy::ReplayResult& result = row.result;
  Json curve = Json::array();
  for (const policy::CalibrationBin& bin : result.facts.reliability) {
    if (bin.pages == 0) continue;
    const auto pages = static_cast<double>(bin.pages);
    const double came_true = static_cast<double>(bin.used) / pages;
    curve.push_back({{"stated", bin.stated / pages}, {"came_true", came_true}, {"pages", bin.pages}});
  }
  return {{"file", report.file},
          {"format", report.format},
          {"has_times", report.has_times},
          {"prefetch", row.prefetch},
          {"replacement", row.replacement},
          {"budget", row.budget},
          {"unique_pages", report.unique_pages},
          {"cache_pages", report.cache_pages},
          {"server_cache_pages", report.server_cache_pages},
          {"requests", result.requests()},
          {"read_requests", result.read_requests},
          {"other_requests", result.other_requests},
          {"hits", result.read_hits},
          {"late", result.read_late},
          {"misses", result.read_misses},
          {"read_request_miss_ratio", result.read_request_miss_ratio()},
          {"page_miss_ratio", result.page_miss_ratio()},
          {"late_ratio", result.late_ratio()},
          {"precision", result.precision()},
          {"wasted_bytes", (result.wasted_pages + result.unused_pages) * kPageBytes},
          {"prefetched_bytes", result.prefetched_pages * kPageBytes},
          {"used_bytes", result.used_pages * kPageBytes},
          {"late_bytes", result.late_pages * kPageBytes},
          {"in_time_ratio", result.in_time()},
          {"read_bytes", result.read_pages * kPageBytes},
          {"missed_bytes", result.read_missed_pages * kPageBytes},
          {"server_ram_pages", result.server_ram_pages},
          {"server_disk_pages", result.server_disk_pages},
          {"mean_latency_us", microseconds(result.read_latency.mean_ns())},
          {"p50_latency_us", microseconds(static_cast<double>(result.read_latency.percentile_ns(0.5)))},
          {"p99_latency_us", microseconds(static_cast<double>(result.read_latency.percentile_ns(0.99)))},
          {"ece", result.facts.ece},
          {"brier", result.facts.brier},
          {"brier_base", result.facts.brier_base},
          {"reliability", curve},
          {"predict_ns_per_access", result.predict_ns_per_access()},
          {"predictor_bytes", result.facts.memory_bytes}};
}

}  // namespace

Json replay_json(const ReplayReport& report) {
  if (report.rows.size() == 1) return row_json(report, report.rows.front());
  Json rows = Json::array();
  for (const ReplayRow& row : report.rows) rows.push_back(row_json(report, row));
  return {{"file", report.file}, {"policies", rows}};
}

std::string replay_text(const ReplayReport& report) {
  using enum Table::Align;
  Table table({{"PREFETCH"},
               {"REPLACEMENT"},
               {"MISS", kRight},
               {"LATE", kRight},
               {"PAGE MISS", kRight},
               {"PRECISION", kRight},
               {"IN TIME", kRight},
               {"PREFETCHED", kRight},
               {"WASTED", kRight},
               {"MEAN US", kRight},
               {"P50 US", kRight},
               {"P99 US", kRight},
               {"ECE", kRight},
               {"CPU NS", kRight},
               {"MEMORY", kRight}});
  for (const ReplayRow& row : report.rows) {
    const policy::ReplayResult& result = row.result;
    const auto percentile = [&result](double share) {
      return microseconds_text(static_cast<double>(result.read_latency.percentile_ns(share)));
    };
    table.add({row.prefetch, row.replacement, fmt::format("{:.4f}", result.read_request_miss_ratio()),
               fmt::format("{:.4f}", result.late_ratio()), fmt::format("{:.4f}", result.page_miss_ratio()),
               share_text(result.precision(), result.prefetched_pages), share_text(result.in_time(), result.used_pages),
               format_size(result.prefetched_pages * kPageBytes),
               format_size((result.wasted_pages + result.unused_pages) * kPageBytes),
               microseconds_text(result.read_latency.mean_ns()), percentile(0.5), percentile(0.99),
               share_text(result.facts.ece, result.prefetched_pages),
               fmt::format("{:.0f}", result.predict_ns_per_access()), format_size(result.facts.memory_bytes)});
  }
  const policy::ReplayResult& first = report.rows.front().result;
  std::string text = fmt::format("{} ({}): {} requests, {} of them reads, ", report.file, report.format,
                                 first.requests(), first.read_requests);
  if (report.unique_pages > 0) text += format_size(report.unique_pages * kPageBytes) + " touched, ";
  text += fmt::format("cache {}{}\n", format_size(report.cache_pages * kPageBytes),
                      report.has_times ? "" : "; it has no times, so that nothing is late");
  return text + table.text();
}

}  // namespace foreshard::cli
