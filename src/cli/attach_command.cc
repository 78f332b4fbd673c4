// `foreshard attach`: runs the driver of a volume in the foreground and serves it over NBD.
#include <sys/stat.h>
#include <unistd.h>

#include <memory>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "app/attachment.h"
#include "app/model_file.h"
#include "app/model_training.h"
#include "app/process.h"
#include "app/region_folder.h"
#include "base/log.h"
#include "base/units.h"
#include "cli/attach_options.h"
#include "cli/interrupt.h"
#include "cli/memory_check.h"
#include "cli/region_session.h"
#include "meta/remote_meta.h"
#include "policy/predict/predictor_set.h"
#include "runtime/real_runtime.h"

namespace foreshard::cli {

using runtime::Task;

void add_attach_options(CLI::App& command, AttachOptions& options) {
  command
      .add_option("--nbd", options.nbd,
                  "Where NBD clients connect: unix:PATH (private to you) or tcp:HOST:PORT (open to the network)")
      ->type_name("ADDRESS")
      ->allow_extra_args(false);
  add_size_option(command, "--cache", options.cache_bytes, "Memory for the read cache (default 256M)");
  CLI::Option* cache_file =
      command
          .add_option("--cache-file", options.cache_file,
                      "Keep what leaves that memory in this file, on a local SSD. It is begun anew at each attach")
          ->type_name("PATH");
  CLI::Option* file_size =
      add_size_option(command, "--cache-file-size", options.cache_file_bytes, "Its size, 8M or more, reserved at once");
  cache_file->needs(file_size);
  file_size->needs(cache_file);
  add_size_option(command, "--cache-file-writes", options.cache_file_writes,
                  "How much may be written to it in a second (default 64M)")
      ->needs(cache_file);
  command.add_option("--prefetch", options.prefetch, "Fetch ahead what will be read next; shadow only counts")
      ->check(one_of({"off", "shadow", "on"}))
      ->type_name("off|shadow|on")
      ->capture_default_str();
  command
      .add_option("--prefetch-budget", options.prefetch_budget,
                  "normal looks for the fewest misses, frugal for few wasted bytes")
      ->check(one_of({"normal", "frugal"}))
      ->type_name("normal|frugal")
      ->capture_default_str();
  command.add_flag("!--no-server-prefetch", options.warm_servers,
                   "Do not prefetch into the servers' memory what is not probable enough for the cache");
  const std::span<const std::string_view> experts = policy::PredictorSet::names();
  command
      .add_option("--prefetch-experts", options.prefetch_experts,
                  fmt::format("Only these experts, for comparisons: {}", fmt::join(experts, ",")))
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::IsMember(std::vector<std::string>(experts.begin(), experts.end())))
      ->type_name("NAMES");
  command
      .add_option("--model", options.model,
                  "A model made by foreshard train, as one more expert; region: the newest of foreshard model list,\n"
                  "and later ones that do better. One that cannot be read is left out")
      ->type_name("FILE|region");
  command.add_flag("--train-online", options.train_online,
                   "Train models on what is read, in the background; what does better goes live and into the region");
  command.add_option("--train-cpu", options.train_cpu_percent, "How much of one CPU training may take, over time")
      ->check(number_between(0.1, 100))
      ->type_name("PERCENT")
      ->capture_default_str();
  command
      .add_option("--zone", options.zone, "The zone this driver is in (default: the volume's, else the region's first)")
      ->type_name("ZONE");
  add_duration_option(command, "--io-timeout", options.io_timeout_ns,
                      "Fail requests that wait this long for a server that is gone (default: wait for ever)");
  command.add_flag("--force", options.force, "Take the volume over from a driver that seems alive");
}

namespace {

constexpr const char* kModelOfRegion = "region";  // "./region" is the file of that name

// Control sockets lie beside the region's, else beside the NBD socket.
std::string control_folder(const std::string& region_address, const std::vector<std::string>& nbd) {
  if (const std::string folder = app::folder_of_address(region_address); !folder.empty()) return folder;
  for (const std::string& address : nbd) {
    const std::string folder = app::folder_of_address(address);
    const Result<std::string> absolute = app::absolute_folder(folder.empty() ? "." : folder);
    if (address.starts_with("unix:") && absolute) return *absolute;
  }
  return "/tmp";
}

// Predictions are hints: whatever is wrong with the file, the volume is served without it.
std::shared_ptr<const policy::Model> model_of(const std::string& path) {
  Result<policy::Model> model = app::read_model_file(path);
  const Result<void> usable = model ? app::check_for_volumes(*model) : Result<void>();
  if (model && usable) return std::make_shared<const policy::Model>(std::move(*model));
  LOG_WARN("attach without the model {}: {}", path, model ? usable.error().detail : model.error().message());
  return nullptr;
}

// Opening it would make the folder; one that is missing is more likely a disk that is not mounted.
Result<void> choose_cache_file(const AttachOptions& options, volume::DriverOptions& to) {
  if (options.cache_file.empty()) return {};
  if (options.cache_bytes < kPageBytes)
    return fail(ErrorCode::kInvalid, "cache file", "--cache-file keeps what leaves --cache, which must not be 0");
  TRY(to.cache_file, app::absolute_folder(options.cache_file));
  const std::string folder = to.cache_file.substr(0, to.cache_file.rfind('/') + 1);
  struct stat status {};
  if (stat(folder.c_str(), &status) != 0 || !S_ISDIR(status.st_mode))
    return fail(ErrorCode::kNotFound, "cache file", fmt::format("there is no folder {}; make it first", folder));
  to.cache_file_bytes = options.cache_file_bytes;
  to.cache_file_writes = options.cache_file_writes;
  return {};
}

void choose_models(const AttachOptions& options, app::AttachmentOptions& to) {
  to.models.train = options.train_online;
  to.models.training.cpu_share_max = options.train_cpu_percent / 100;
  to.models.training.shape = app::default_model_shape(policy::ModelKind::kLstm, policy::SymbolKind::kDelta);
  to.models.from_region = options.model == kModelOfRegion;
  if (options.model.empty() || to.models.from_region) return;
  to.models.present = model_of(options.model);
  if (to.models.present == nullptr) return;
  to.driver.model = std::make_shared<policy::RunnableModel>(*to.models.present);
  to.driver.model_name = "file:" + options.model;
}

Result<void> ending_of(app::Attachment& attachment, const std::string& volume) {
  if (!attachment.driver().ended().is_set()) return {};
  Error error = attachment.driver().end_reason();
  const std::string reason =
      error.detail.empty() ? fmt::format("{} ({})", error.context, error_code_name(error.code)) : error.detail;
  error.context = "attach";
  error.detail = fmt::format("the driver of {} ended: {}", volume, reason);
  return fail(std::move(error));
}

Task<Result<void>> attach_and_serve(const Invocation& invocation, app::AttachmentOptions options, std::string address,
                                    runtime::RealRuntime& runtime) {
  Interrupt interrupt(runtime);
  const std::string name = options.driver.volume;
  CO_TRY_VOID(co_await check_region_answers(runtime, address));
  const std::unique_ptr<meta::RemoteMeta> meta = meta::RemoteMeta::create(runtime, address);
  Result<std::unique_ptr<app::Attachment>> attachment =
      co_await app::Attachment::start(runtime, *meta, std::move(options));
  Result<void> result;
  if (attachment) {
    app::Attachment& attached = **attachment;
    interrupt.on_request([&attached] { attached.over().set(); });
    tell_ready(invocation, attached, name);
    result = co_await serve_until_over(attached, name);
    interrupt.on_request([] {});
    end_if_disk_hangs(invocation, attached, result);
    attachment->reset();
  } else {
    result = fail(attachment.error());
  }
  co_await meta->close();
  co_return result;
}

}  // namespace

Result<app::AttachmentOptions> attachment_options(const AttachOptions& options, const std::string& volume,
                                                  const std::string& region_address) {
  app::AttachmentOptions to;
  to.driver.volume = volume;
  to.driver.zone = options.zone;
  to.driver.cache_bytes = options.cache_bytes;
  TRY_VOID(check_cache_fits(options.cache_bytes, 1, CacheContents::kPages));
  TRY_VOID(choose_cache_file(options, to.driver));
  TRY(to.driver.prefetch, app::parse_prefetch_mode(options.prefetch));
  to.driver.warm_servers = options.warm_servers;
  TRY(to.driver.prefetch_budget, app::parse_prefetch_budget(options.prefetch_budget));
  to.driver.prefetch_experts = options.prefetch_experts;
  choose_models(options, to);
  to.driver.io_timeout_ns = options.io_timeout_ns;
  to.driver.force = options.force;
  to.nbd = options.nbd;
  to.control_folder = control_folder(region_address, options.nbd);
  return to;
}

void tell_ready(const Invocation& invocation, const app::Attachment& attachment, const std::string& volume) {
  // One line also as JSON: who waits for it reads lines.
  std::string text;
  if (invocation.json()) {
    text = Json{{"ready", true}, {"volume", volume}, {"exports", attachment.uris()}}.dump() + "\n";
  } else {
    for (const std::string& uri : attachment.uris()) text += "ready " + uri + "\n";
  }
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

Task<Result<void>> serve_until_over(app::Attachment& attachment, std::string volume) {
  co_await attachment.over().wait();
  const Result<void> ending = ending_of(attachment, volume);
  LOG_INFO("detaching {}", volume);
  const Result<void> detached = co_await attachment.detach();
  if (!ending) co_return ending;
  if (!detached) {
    Error error = detached.error();
    const std::string reason =
        error.detail.empty() ? fmt::format("{} ({})", error.context, error_code_name(error.code)) : error.detail;
    error.context = "detach";
    error.detail = fmt::format(
        "{} was not let go in good order: {}. The next attach takes over; what was flushed is safe", volume, reason);
    co_return fail(std::move(error));
  }
  co_return Result<void>();
}

void end_if_disk_hangs(const Invocation& invocation, app::Attachment& attachment, const Result<void>& result) {
  if (!attachment.driver().status().flash.hangs) return;
  LOG_WARN("the disk of the cache file hangs, or did a moment ago: ending without waiting for it");
  const int code = tell_outcome(invocation, result);
  std::fflush(nullptr);
  _exit(code);
}

void add_attach_command(CLI::App& app, Invocation& invocation) {
  struct Options : AttachOptions {
    std::string name;
  };
  auto options = std::make_shared<Options>();
  CLI::App* attach = app.add_subcommand("attach", "Serve a volume to a VM on this host, until detached");
  add_volume_name(*attach, options->name);
  add_attach_options(*attach, *options);
  attach->get_option("--nbd")->required();
  attach->footer(
      "Runs in the foreground and prints 'ready URI' when clients can connect; the export's name is the volume's.\n"
      "It lives on while the region is away: clients wait and then go on. SIGTERM, or foreshard detach, flushes and\n"
      "lets the volume go. A volume whose driver has died is taken over; of a live one the host and pid are named.\n\n"
      "Examples:\n"
      "  foreshard attach disk1 --nbd unix:/run/disk1.sock --cache 1G --prefetch on\n"
      "  foreshard attach disk1 --nbd unix:/run/disk1.sock --cache 1G --cache-file /ssd/disk1 --cache-file-size 50G\n"
      "  foreshard attach disk1 --nbd tcp:127.0.0.1:10809 --zone b\n"
      "  foreshard attach disk1 --nbd unix:/run/disk1.sock --model region --train-online --train-cpu 5\n"
      "  qemu-system-x86_64 ... -drive file=nbd+unix:///disk1?socket=/run/disk1.sock,format=raw,if=virtio\n");
  attach->callback([&invocation, options] {
    invocation.run = [&invocation, options]() -> Result<void> {
      invocation.log_as_a_service();
      app::raise_open_files_limit();
      Interrupt::prepare();
      TRY(std::string address, app::region_address(invocation.region));
      TRY(app::AttachmentOptions attachment, attachment_options(*options, options->name, address));
      TRY(std::unique_ptr<runtime::RealRuntime> runtime, runtime::RealRuntime::create());
      return runtime->run(attach_and_serve(invocation, std::move(attachment), address, *runtime));
    };
  });
}

}  // namespace foreshard::cli
