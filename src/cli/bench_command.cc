// `foreshard bench`: measures the user's own region on a temporary volume, through a driver in this process.
#include <memory>

#include <fmt/format.h>

#include "app/device_load.h"
#include "base/units.h"
#include "cli/progress.h"
#include "cli/table.h"
#include "cli/temporary_attachment.h"
#include "volume/volume_admin.h"

namespace foreshard::cli {
namespace {

using runtime::Task;

struct BenchOptions {
  uint64_t size_bytes = 1u << 30;
  uint64_t seconds = 2;
  std::string zone;
  std::string driver_zone;
};

struct BenchCase {
  const char* name;
  app::LoadOptions load;
};

std::vector<BenchCase> bench_cases(uint64_t seconds) {
  const uint64_t duration_ns = seconds * 1'000'000'000;
  const auto load = [duration_ns](bool write, bool random, uint64_t bytes, uint32_t depth) {
    app::LoadOptions options;
    options.write = write;
    options.random = random;
    options.request_bytes = bytes;
    options.depth = depth;
    options.duration_ns = duration_ns;
    return options;
  };
  std::vector<BenchCase> cases = {{"write 1 MiB in order, 8 at once", load(true, false, 1u << 20, 8)},
                                  {"read 1 MiB in order, 8 at once", load(false, false, 1u << 20, 8)},
                                  {"read 4 KiB at random, 1 at once", load(false, true, 4096, 1)},
                                  {"read 4 KiB at random, 32 at once", load(false, true, 4096, 32)},
                                  {"write 4 KiB at random, 1 at once", load(true, true, 4096, 1)},
                                  {"write 4 KiB at random, 32 at once", load(true, true, 4096, 32)},
                                  {"write 4 KiB and flush, 1 at once", load(true, true, 4096, 1)}};
  cases.back().load.flush_after_each = true;
  return cases;
}

// One run of a load that an interrupt ends.
Task<Result<app::LoadResult>> run_load(RegionSession& session, volume::BlockDevice& device, app::LoadOptions options) {
  app::DeviceLoad load(session.runtime(), device, options);
  session.interrupt().on_request([&load] { load.cancel(); });
  Result<app::LoadResult> result = co_await load.run();
  session.interrupt().on_request([] {});
  if (result && session.interrupt().requested())
    co_return fail(ErrorCode::kCancelled, "bench", std::string("interrupted"));
  co_return result;
}

Task<Result<void>> measure(RegionSession& session, volume::BlockDevice& device, BenchOptions options) {
  Progress progress("measuring", 0, session.invocation().quiet);
  // Every byte is written once, so that reads find data and later writes find their place prepared.
  app::LoadOptions fill;
  fill.write = true;
  fill.request_bytes = 1u << 20;
  fill.depth = 8;
  fill.duration_ns = 600'000'000'000;
  fill.bytes_max = options.size_bytes;
  CO_TRY_VOID(co_await run_load(session, device, fill));
  CO_TRY_VOID(co_await device.flush());

  using enum Table::Align;
  Table table(
      {{"LOAD"}, {"REQUESTS/S", kRight}, {"THROUGHPUT/S", kRight}, {"P50", kRight}, {"P99", kRight}, {"MAX", kRight}});
  Json list = Json::array();
  for (const BenchCase& one : bench_cases(options.seconds)) {
    CO_TRY(const app::LoadResult result, co_await run_load(session, device, one.load));
    progress.update(result.bytes, session.runtime().now_ns());
    table.add({one.name, format_count(result.requests_per_s()),
               format_size(static_cast<uint64_t>(result.bytes_per_s())), format_duration_ns(result.latency_ns_p50),
               format_duration_ns(result.latency_ns_p99), format_duration_ns(result.latency_ns_max)});
    list.push_back({{"load", one.name},
                    {"requests_per_s", result.requests_per_s()},
                    {"bytes_per_s", result.bytes_per_s()},
                    {"latency_ns_p50", result.latency_ns_p50},
                    {"latency_ns_p99", result.latency_ns_p99},
                    {"latency_ns_max", result.latency_ns_max}});
  }
  session.invocation().print(list, table.text());
  co_return Result<void>();
}

Task<Result<void>> attach_and_measure(RegionSession& session, std::string name, BenchOptions options) {
  app::AttachmentOptions attachment_options = temporary_attachment_options(session, name);
  attachment_options.driver.zone = options.driver_zone;
  CO_TRY(std::unique_ptr<app::Attachment> attachment,
         co_await app::Attachment::start(session.runtime(), session.meta(), std::move(attachment_options)));
  const Result<void> measured = co_await measure(session, attachment->driver(), options);
  const Result<void> detached = co_await attachment->detach();
  if (!measured) co_return measured;
  co_return detached;
}

Task<Result<void>> bench(RegionSession& session, BenchOptions options) {
  session.interrupt().on_request([] {});
  volume::CreateOptions create;
  create.name = fmt::format("bench-{:012x}", session.runtime().random().next() >> 16);
  create.size_bytes = options.size_bytes;
  create.volumelet_bytes = 16u << 20;
  create.zone = options.zone;
  CO_TRY_VOID(co_await volume::create_volume(session.runtime(), session.meta(), create));
  const Result<void> measured = co_await attach_and_measure(session, create.name, options);
  const Result<void> removed = co_await volume::remove_volume(session.runtime(), session.meta(), create.name);
  if (!measured) co_return measured;
  co_return removed;
}

}  // namespace

void add_bench_command(CLI::App& app, Invocation& invocation) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* command = app.add_subcommand("bench", "Measure this region: throughput and latency on a temporary volume");
  add_size_option(*command, "-s,--size", options->size_bytes,
                  "Of the temporary volume; all of it is written (default 1G)");
  command->add_option("--seconds", options->seconds, "How long each load runs")
      ->check(CLI::Range(1, 3600))
      ->type_name("N")
      ->capture_default_str();
  command->add_option("--volume-zone", options->zone, "Place the volume on servers of this zone only")
      ->type_name("ZONE");
  command
      ->add_option("--zone", options->driver_zone,
                   "The zone from which it is used (default: the volume's, else the first)")
      ->type_name("ZONE");
  command->footer(
      "Through a driver in this process, with a small cache and without prefetching: what the network and the servers "
      "give.\n"
      "The volume is removed at the end.\n\nExample:\n  foreshard bench --size 4G --seconds 5\n");
  command->callback([&invocation, options] {
    invocation.run = [&invocation, options]() -> Result<void> {
      if (options->size_bytes < (16u << 20) || options->size_bytes % (1u << 20) != 0) {
        return fail(ErrorCode::kInvalid, "--size", std::string("must be whole MiB, at least 16M"));
      }
      return with_region(
          invocation, [options](RegionSession& session) { return bench(session, *options); }, Signals::kHandled);
    };
  });
}

}  // namespace foreshard::cli
