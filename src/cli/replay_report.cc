#include "cli/replay_report.h"

#include <algorithm>

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

std::string percentile_text(const ReplayRow& row, double share) {
  return microseconds_text(static_cast<double>(row.result.read_latency.percentile_ns(share)));
}

struct Column {
  std::string_view header;
  Table::Align align;
  std::string (*text)(const ReplayRow& row);
};
constexpr Table::Align kLeft = Table::Align::kLeft, kRight = Table::Align::kRight;
constexpr Column kColumns[] = {
    {"PREFETCH", kLeft, [](const ReplayRow& row) { return row.prefetch; }},
    {"REPLACEMENT", kLeft, [](const ReplayRow& row) { return row.replacement; }},
    {"MISS", kRight, [](const ReplayRow& row) { return fmt::format("{:.4f}", row.result.read_request_miss_ratio()); }},
    {"LATE", kRight, [](const ReplayRow& row) { return fmt::format("{:.4f}", row.result.late_ratio()); }},
    {"PAGE MISS", kRight, [](const ReplayRow& row) { return fmt::format("{:.4f}", row.result.page_miss_ratio()); }},
    {"PRECISION", kRight,
     [](const ReplayRow& row) { return share_text(row.result.precision(), row.result.prefetched_pages); }},
    {"IN TIME", kRight, [](const ReplayRow& row) { return share_text(row.result.in_time(), row.result.used_pages); }},
    {"PREFETCHED", kRight, [](const ReplayRow& row) { return format_size(row.result.prefetched_pages * kPageBytes); }},
    {"WASTED", kRight,
     [](const ReplayRow& row) {
       return format_size((row.result.wasted_pages + row.result.unused_pages) * kPageBytes);
     }},
    {"MEAN US", kRight, [](const ReplayRow& row) { return microseconds_text(row.result.read_latency.mean_ns()); }},
    {"P50 US", kRight, [](const ReplayRow& row) { return percentile_text(row, 0.5); }},
    {"P99 US", kRight, [](const ReplayRow& row) { return percentile_text(row, 0.99); }},
    {"ECE", kRight, [](const ReplayRow& row) { return share_text(row.result.facts.ece, row.result.prefetched_pages); }},
    {"CPU NS", kRight, [](const ReplayRow& row) { return fmt::format("{:.0f}", row.result.predict_ns_per_access()); }},
    {"MEMORY", kRight, [](const ReplayRow& row) { return format_size(row.result.facts.memory_bytes); }}};

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
          {"clock_unit_us", report.clock_unit_ns / 1000},
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
          {"warmed_pages", result.warmed_pages},
          {"warmed_used_pages", result.facts.warming.used},
          {"mean_latency_us", microseconds(result.read_latency.mean_ns())},
          {"p50_latency_us", microseconds(static_cast<double>(result.read_latency.percentile_ns(0.5)))},
          {"p99_latency_us", microseconds(static_cast<double>(result.read_latency.percentile_ns(0.99)))},
          {"ece", result.facts.ece},
          {"brier", result.facts.brier},
          {"brier_base", result.facts.brier_base},
          {"reliability", curve},
          {"predict_ns_per_access", result.predict_ns_per_access()},
          {"predict_ns_per_request", result.predict_ns_per_request()},
          {"predictor_bytes", result.facts.memory_bytes}};
}

}  // namespace

Json replay_json(const ReplayReport& report) {
  if (report.rows.size() == 1) return row_json(report, report.rows.front());
  Json rows = Json::array();
  for (const ReplayRow& row : report.rows) rows.push_back(row_json(report, row));
  return {{"file", report.file}, {"policies", rows}};
}

std::string replay_table(const ReplayReport& report, const std::vector<std::string_view>& headers) {
  std::vector<const Column*> chosen;
  for (const Column& column : kColumns) {
    const bool wanted = headers.empty() || std::find(headers.begin(), headers.end(), column.header) != headers.end();
    if (wanted) chosen.push_back(&column);
  }
  std::vector<Table::Column> columns;
  for (const Column* column : chosen) columns.push_back({std::string(column->header), column->align});
  Table table(std::move(columns));
  for (const ReplayRow& row : report.rows) {
    std::vector<std::string> texts;
    for (const Column* column : chosen) texts.push_back(column->text(row));
    table.add(std::move(texts));
  }
  return table.text();
}

std::string replay_text(const ReplayReport& report) {
  const policy::ReplayResult& first = report.rows.front().result;
  std::string text = fmt::format("{} ({}): {} requests, {} of them reads, ", report.file, report.format,
                                 first.requests(), first.read_requests);
  if (report.unique_pages > 0) text += format_size(report.unique_pages * kPageBytes) + " touched, ";
  text += fmt::format("cache {}{}\n", format_size(report.cache_pages * kPageBytes),
                      report.has_times ? "" : "; it has no times, so that nothing is late");
  if (report.clock_unit_ns != 0) {
    text += fmt::format("its clock counts {}: the requests of each time are spread evenly over that\n",
                        format_duration_ns(report.clock_unit_ns));
  }
  return text + replay_table(report);
}

}  // namespace foreshard::cli
