// `foreshard up`: a whole region in one process, in the foreground, until a signal ends it.
#include <memory>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "app/attachment.h"
#include "app/process.h"
#include "app/region.h"
#include "app/region_folder.h"
#include "base/log.h"
#include "base/units.h"
#include "cli/attach_options.h"
#include "cli/disk_region.h"
#include "cli/interrupt.h"
#include "cli/region_session.h"
#include "runtime/real_runtime.h"

namespace foreshard::cli {
namespace {

using runtime::Task;

struct UpOptions {
  std::string folder;
  std::optional<std::string> zones;
  std::optional<uint32_t> servers_per_zone;
  std::vector<std::string> latencies;
  uint64_t capacity_bytes = 0;
  uint64_t server_cache_bytes = 64u << 20;
  std::vector<std::string> attach;
  AttachOptions attach_options;
};

void tell_region(const Invocation& invocation, const app::Region& region) {
  const app::Topology& topology = region.topology();
  if (invocation.json()) {
    const Json value = {{"ready", true},
                        {"region", region.address()},
                        {"zones", topology.zones},
                        {"servers_per_zone", topology.servers_per_zone}};
    std::fputs((value.dump() + "\n").c_str(), stdout);
  } else {
    std::fputs(fmt::format("ready {} zones {} servers {}\n", region.address(), fmt::join(topology.zones, ","),
                           topology.servers())
                   .c_str(),
               stdout);
  }
  std::fflush(stdout);
}

// Everything that `up` runs, in the order in which it starts; it ends in the opposite one.
class RunningRegion {
 public:
  RunningRegion(const Invocation& invocation, runtime::RealRuntime& runtime)
      : invocation_(invocation),
        runtime_(runtime),
        interrupt_(runtime),
        end_(runtime.executor()),
        gate_(runtime.executor()) {}

  Task<Result<void>> run(app::RegionOptions region_options, UpOptions options) {
    CO_TRY(region_, co_await app::Region::start(runtime_, std::move(region_options)));
    interrupt_.on_request([this] { end_.set(); });
    Result<void> result = co_await attach_all(options);
    if (result) {
      tell_region(invocation_, *region_);
      for (const auto& [name, attachment] : attachments_) tell_ready(invocation_, *attachment, name);
      co_await end_.wait();
      LOG_INFO("ending: volumes are detached, servers close their stores");
    }
    for (const auto& [name, attachment] : attachments_) attachment->over().set();
    co_await gate_.close();
    const Result<void> stopped = co_await region_->stop();
    if (result && !stopped) result = fail(stopped.error());
    for (const auto& [name, attachment] : attachments_) end_if_disk_hangs(invocation_, *attachment, result);
    co_return result;
  }

 private:
  Task<Result<void>> attach_all(UpOptions options) {
    for (size_t i = 0; i < options.attach.size(); ++i) {
      const std::string& name = options.attach[i];
      AttachOptions one = options.attach_options;
      if (options.attach.size() > 1) one.nbd = {options.attach_options.nbd[i]};
      CO_TRY(app::AttachmentOptions attachment_options_of, attachment_options(one, name, region_->address()));
      attachment_options_of.local_servers = region_->local_servers();
      CO_TRY(std::unique_ptr<app::Attachment> attachment,
             co_await app::Attachment::start(runtime_, region_->meta(), std::move(attachment_options_of)));
      app::Attachment& attached = *attachment;
      attachments_.emplace_back(name, std::move(attachment));
      runtime_.executor().spawn(serve(attached, name, *gate_.enter()));
    }
    co_return Result<void>();
  }

  Task<void> serve(app::Attachment& attachment, std::string name, runtime::Gate::Pass pass) {
    const Result<void> ended = co_await serve_until_over(attachment, name);
    if (!ended) LOG_WARN("{}", ended.error().message());
  }

  const Invocation& invocation_;
  runtime::RealRuntime& runtime_;
  Interrupt interrupt_;
  runtime::Signal end_;
  runtime::Gate gate_;
  std::unique_ptr<app::Region> region_;
  std::vector<std::pair<std::string, std::unique_ptr<app::Attachment>>> attachments_;
};

Result<void> check_attach_options(const UpOptions& options) {
  const size_t volumes = options.attach.size();
  const size_t addresses = options.attach_options.nbd.size();
  if (volumes != 1 && !options.attach_options.cache_file.empty())
    return fail(ErrorCode::kInvalid, "up", "--cache-file goes with one --attach: each volume needs a file of its own");
  if (volumes == 0 && addresses == 0) return {};
  if (volumes == 1 && addresses > 0) return {};
  if (volumes > 1 && volumes == addresses) return {};
  return fail(
      ErrorCode::kInvalid, "up",
      fmt::format("--attach is given {} times and --nbd {} times; each volume needs its own --nbd, in the same order",
                  volumes, addresses));
}

Result<void> run_up(const Invocation& invocation, const UpOptions& options) {
  TRY_VOID(check_attach_options(options));
  invocation.log_as_a_service();
  app::raise_open_files_limit();
  Interrupt::prepare();
  TRY(app::TopologyWish wish, app::parse_topology(options.zones, options.servers_per_zone, options.latencies));
  TRY(std::string folder, app::absolute_folder(options.folder.empty() ? app::default_region_folder() : options.folder));
  TRY(app::FolderLock lock, app::FolderLock::acquire(folder));
  TRY(std::unique_ptr<runtime::RealRuntime> runtime, runtime::RealRuntime::create());
  app::RegionOptions region = disk_region_options(*runtime, folder, wish, options.capacity_bytes);
  region.server.cache_bytes = options.server_cache_bytes;
  region.version = kVersion;
  RunningRegion running(invocation, *runtime);
  return runtime->run(running.run(std::move(region), options));
}

}  // namespace

void add_up_command(CLI::App& app, Invocation& invocation) {
  auto options = std::make_shared<UpOptions>();
  CLI::App* up = app.add_subcommand("up", "Run a whole region in one process on this machine");
  up->add_option("--dir", options->folder,
                 "Where it keeps everything (default: $FORESHARD_DIR, else ~/.local/share/foreshard)")
      ->type_name("FOLDER");
  up->add_option("--zones", options->zones, "Names of its zones (default for a new region: a,b,c)")
      ->type_name("A,B,...");
  up->add_option("--servers-per-zone", options->servers_per_zone, "Servers in each zone (default for a new region: 2)")
      ->type_name("N");
  up->add_option("--latency", options->latencies,
                 "Added to each round trip between two zones, such as a:b=1ms; repeatable")
      ->type_name("A:B=TIME")
      ->allow_extra_args(false);
  add_size_option(*up, "--capacity", options->capacity_bytes,
                  "What each server may store (default: its share of the free space)");
  add_size_option(*up, "--server-cache", options->server_cache_bytes, "Memory for each server's cache (default 64M)");
  up->add_option("--attach", options->attach, "Attach this volume in the same process, with the options below")
      ->type_name("NAME")
      ->allow_extra_args(false);
  add_attach_options(*up, options->attach_options);
  up->footer(
      "Prints 'ready ADDRESS ...' when it serves. On an existing folder it goes on where it ended; the topology is "
      "then\n"
      "known, and another one is refused. SIGTERM and SIGINT close it clean; after a crash it recovers by itself.\n\n"
      "Examples:\n"
      "  foreshard up\n"
      "  foreshard up --dir /srv/region --zones a,b,c --servers-per-zone 2 --latency a:b=1ms --latency a:c=2ms\n"
      "  foreshard up --dir /srv/region --attach disk1 --nbd unix:/run/disk1.sock --cache 1G\n");
  up->callback(
      [&invocation, options] { invocation.run = [&invocation, options] { return run_up(invocation, *options); }; });
}

}  // namespace foreshard::cli
