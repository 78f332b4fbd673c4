// `foreshard volume create|ls|info|resize|rm|layout`: the life of volumes, and where they lie.
#include <algorithm>
#include <map>
#include <memory>

#include <fmt/format.h>

#include "app/control_client.h"
#include "app/process.h"
#include "app/region_folder.h"
#include "base/units.h"
#include "cli/driver_session.h"
#include "cli/region_session.h"
#include "cli/table.h"
#include "cli/usage.h"
#include "volume/volume_admin.h"

namespace foreshard::cli {
namespace {

using runtime::Task;
using MaybeAttachment = std::optional<meta::pb::Attachment>;

std::string state_name(meta::pb::VolumeState state) {
  switch (state) {
    case meta::pb::VOLUME_READY: return "ready";
    case meta::pb::VOLUME_CREATING: return "creating";
    case meta::pb::VOLUME_IMPORTING: return "importing";
    case meta::pb::VOLUME_DELETING: return "deleting";
    default: return "unknown";
  }
}

std::string replica_state_name(meta::pb::ReplicaState state) {
  switch (state) {
    case meta::pb::REPLICA_IN_SYNC: return "in-sync";
    case meta::pb::REPLICA_SYNCING: return "syncing";
    case meta::pb::REPLICA_STALE: return "stale";
    default: return "unknown";
  }
}

std::string attached_text(const MaybeAttachment& attachment) {
  if (!attachment) return "-";
  return fmt::format("{} pid {}", attachment->host(), attachment->pid());
}

Json volume_json(const meta::pb::Volume& volume, const MaybeAttachment& attachment) {
  Json value = {{"name", volume.name()},
                {"id", volume.id()},
                {"size_bytes", volume.size_bytes()},
                {"volumelet_bytes", volume.volumelet_bytes()},
                {"state", state_name(volume.state())},
                {"zone", volume.zone()},
                {"type", volume.workload_type()},
                {"image", volume.image()},
                {"replicas", volume.replicas()},
                {"created", time_text(volume.created_wall_ns())}};
  if (volume.wanted_size_bytes() != 0) value["wanted_size_bytes"] = volume.wanted_size_bytes();
  value["attached"] = attachment.has_value();
  if (attachment) {
    value["attachment"] = {{"host", attachment->host()},         {"pid", attachment->pid()},
                           {"zone", attachment->zone()},         {"epoch", attachment->epoch()},
                           {"export", attachment->export_uri()}, {"control", attachment->address()}};
  }
  return value;
}

void add_usage(Json& value, const Usage& usage, uint64_t volume) {
  value["used_bytes"] = usage.bytes_of(volume);
  value["used_complete"] = usage.complete;
}

std::string usage_text(const Usage& usage, uint64_t volume) {
  return (usage.complete ? "" : ">= ") + format_size(usage.bytes_of(volume));
}

Task<Result<Usage>> look_at_usage(RegionSession& session) {
  CO_TRY(std::vector<meta::pb::Server> servers, co_await volume::list_servers(session.meta()));
  Usage usage = co_await usage_of_region(session.runtime(), std::move(servers));
  co_return usage;
}

// ---- create

Task<Result<void>> create_volume(RegionSession& session, volume::CreateOptions options) {
  CO_TRY(meta::pb::Volume volume, co_await volume::create_volume(session.runtime(), session.meta(), options));
  const uint64_t volumelets = (volume.size_bytes() + volume.volumelet_bytes() - 1) / volume.volumelet_bytes();
  std::string text;
  if (!session.invocation().quiet) {
    text = fmt::format(
        "created {} of {} in {} volumelet{}; serve it with:\n  foreshard attach {} --nbd unix:/tmp/{}.sock\n",
        volume.name(), format_size(volume.size_bytes()), volumelets, volumelets == 1 ? "" : "s", volume.name(),
        volume.name());
  }
  session.invocation().print(volume_json(volume, std::nullopt), text);
  co_return Result<void>();
}

void add_create(CLI::App& volume, Invocation& invocation) {
  auto options = std::make_shared<volume::CreateOptions>();
  CLI::App* create = volume.add_subcommand("create", "Make an empty volume");
  add_volume_name(*create, options->name);
  add_size_option(*create, "-s,--size", options->size_bytes, "Its size, any multiple of 512 bytes")->required();
  create->add_option("--zone", options->zone, "Place it on servers of this zone only")->type_name("ZONE");
  add_size_option(*create, "--volumelet-size", options->volumelet_bytes,
                  "The unit of placement, a power of two from 1M (default 1G)");
  create->add_option("--type", options->workload_type, "What will use it")
      ->check(one_of({"general", "database", "video", "simulation"}))
      ->type_name("general|database|video|simulation")
      ->capture_default_str();
  create
      ->add_option("--image", options->image,
                   "What it will hold: VMs of the same image share what prefetching learns of it")
      ->type_name("NAME");
  create->footer(
      "Space is taken when it is written, so a volume may be larger than the region.\n"
      "Names are 1 to 63 of a-z, 0-9, '.', '_' and '-', and begin with a letter or digit.\n\n"
      "Examples:\n"
      "  foreshard volume create disk1 --size 10G\n"
      "  foreshard volume create db --size 200G --zone a --type database --volumelet-size 256M\n");
  create->callback([&invocation, options] {
    invocation.run = [&invocation, options] {
      return with_region(invocation, [options](RegionSession& session) { return create_volume(session, *options); });
    };
  });
}

// ---- ls

Task<Result<void>> list_volumes(RegionSession& session) {
  CO_TRY(std::vector<meta::pb::Volume> volumes, co_await volume::list_volumes(session.meta()));
  using enum Table::Align;
  Table table({{"NAME"}, {"SIZE", kRight}, {"USED", kRight}, {"STATE"}, {"ZONE"}, {"TYPE"}, {"ATTACHED"}});
  CO_TRY(const Usage usage, co_await look_at_usage(session));
  Json list = Json::array();
  for (const meta::pb::Volume& volume : volumes) {
    CO_TRY(MaybeAttachment attachment, co_await volume::get_attachment(session.meta(), VolumeId{volume.id()}));
    Json value = volume_json(volume, attachment);
    add_usage(value, usage, volume.id());
    list.push_back(std::move(value));
    table.add({volume.name(), format_size(volume.size_bytes()), usage_text(usage, volume.id()),
               state_name(volume.state()), volume.zone().empty() ? "-" : volume.zone(), volume.workload_type(),
               attached_text(attachment)});
  }
  std::string text = table.text();
  if (volumes.empty()) text = "no volumes; make one with: foreshard volume create NAME --size 10G\n";
  session.invocation().print(list, text);
  co_return Result<void>();
}

void add_ls(CLI::App& volume, Invocation& invocation) {
  CLI::App* ls = volume.add_subcommand("ls", "List the volumes");
  ls->footer("USED is what a volume takes on the servers' disks, in chunks of 1 MiB; '>=' when a server is away.\n");
  ls->callback([&invocation] { invocation.run = [&invocation] { return with_region(invocation, list_volumes); }; });
}

// ---- info

Json driver_json(const app::pb::DriverStatus& status) {
  Json servers = Json::array();
  for (const app::pb::ServerLink& link : status.servers()) {
    servers.push_back({{"server", link.server()},
                       {"zone", link.zone()},
                       {"state", link.state()},
                       {"reconnects", link.reconnects()},
                       {"replays", link.replays()}});
  }
  return {{"waiting_for", status.waiting_for()},
          {"requests_in_flight", status.requests_in_flight()},
          {"clients", status.clients()},
          {"reads", status.reads()},
          {"read_bytes", status.read_bytes()},
          {"writes", status.writes()},
          {"written_bytes", status.written_bytes()},
          {"flushes", status.flushes()},
          {"zeroes", status.zeroes()},
          {"cache_hits", status.cache_hits()},
          {"cache_misses", status.cache_misses()},
          {"cache_bytes", status.cache_bytes()},
          {"cache_bytes_max", status.cache_bytes_max()},
          {"flash_hits", status.flash().hits()},
          {"flash_misses", status.flash().misses()},
          {"flash_bytes", status.flash().bytes()},
          {"flash_bytes_max", status.flash().bytes_max()},
          {"flash_memory_bytes", status.flash().memory_bytes()},
          {"flash_put_pages", status.flash().put_pages()},
          {"flash_dropped_pages", status.flash().dropped_pages()},
          {"flash_skipped_pages", status.flash().skipped_pages()},
          {"flash_mismatches", status.flash().mismatches()},
          {"flash_read_errors", status.flash().read_errors()},
          {"flash_overdue_reads", status.flash().overdue_reads()},
          {"flash_written_bytes", status.flash().written_bytes()},
          {"flash_failed", status.flash().failed()},
          {"flash_hangs", status.flash().hangs()},
          {"retained_bytes", status.retained_bytes()},
          {"prefetch",
           {{"mode", status.prefetch().mode()},
            {"issued_pages", status.prefetch().total().issued()},
            {"used_pages", status.prefetch().total().used()},
            {"late_pages", status.prefetch().total().late()},
            {"wasted_pages", status.prefetch().total().wasted()}}},
          {"servers", servers}};
}

using Fields = std::vector<std::pair<std::string, std::string>>;

std::string cache_text(uint64_t bytes, uint64_t bytes_max, uint64_t hits, uint64_t misses) {
  const double lookups = static_cast<double>(hits + misses);
  return fmt::format("{} of {}, {:.1f} % of {} page lookups hit", format_size(bytes), format_size(bytes_max),
                     lookups > 0 ? 100 * static_cast<double>(hits) / lookups : 0.0, format_count(lookups));
}

void append_flash_fields(Fields& fields, const app::pb::Flash& flash) {
  if (flash.failed()) {
    fields.emplace_back("cache file", "failed, and is not used any more");
    return;
  }
  std::string text = flash.hangs() ? "hangs, servers are asked instead; " : "";
  text += cache_text(flash.bytes(), flash.bytes_max(), flash.hits(), flash.misses());
  text += fmt::format("; {} written, {} pages damaged, {} reads given up, index {} of memory",
                      format_size(flash.written_bytes()), flash.mismatches(), flash.overdue_reads(),
                      format_size(flash.memory_bytes()));
  fields.emplace_back("cache file", text);
}

void append_driver_fields(Fields& fields, const app::pb::DriverStatus& status) {
  fields.emplace_back(
      "clients", fmt::format("{} connected, {} requests in flight", status.clients(), status.requests_in_flight()));
  fields.emplace_back("waiting for", status.waiting_for().empty() ? "nothing" : status.waiting_for());
  fields.emplace_back("reads", fmt::format("{} ({})", format_count(static_cast<double>(status.reads())),
                                           format_size(status.read_bytes())));
  fields.emplace_back("writes", fmt::format("{} ({})", format_count(static_cast<double>(status.writes())),
                                            format_size(status.written_bytes())));
  fields.emplace_back("flushes", std::to_string(status.flushes()));
  fields.emplace_back(
      "cache", cache_text(status.cache_bytes(), status.cache_bytes_max(), status.cache_hits(), status.cache_misses()));
  if (status.has_flash()) append_flash_fields(fields, status.flash());
  fields.emplace_back("not yet flushed", format_size(status.retained_bytes()));
  for (const app::pb::ServerLink& link : status.servers()) {
    fields.emplace_back(fmt::format("server {}", link.server()),
                        fmt::format("{}, zone {}, reconnected {} times", link.state(), link.zone(), link.reconnects()));
  }
}

Fields volume_fields(const meta::pb::Volume& volume, const MaybeAttachment& attachment, bool alive,
                     const Usage& usage) {
  Fields fields = {{"name", volume.name()},
                   {"id", std::to_string(volume.id())},
                   {"size", fmt::format("{} ({} bytes)", format_size(volume.size_bytes()), volume.size_bytes())},
                   {"used", usage_text(usage, volume.id())},
                   {"volumelet size", format_size(volume.volumelet_bytes())},
                   {"state", state_name(volume.state())},
                   {"zone", volume.zone().empty() ? "all" : volume.zone()},
                   {"type", volume.workload_type()},
                   {"image", volume.image().empty() ? "-" : volume.image()},
                   {"created", time_text(volume.created_wall_ns())}};
  if (volume.state() == meta::pb::VOLUME_IMPORTING) {
    fields.emplace_back("hint",
                        fmt::format("not whole: run the import again, or: foreshard volume rm {}", volume.name()));
  }
  if (volume.wanted_size_bytes() != 0) fields.emplace_back("to grow to", format_size(volume.wanted_size_bytes()));
  if (!attachment) {
    fields.emplace_back("attached", "no");
    return fields;
  }
  fields.emplace_back("attached", fmt::format("host {}, pid {}, zone {}, epoch {}", attachment->host(),
                                              attachment->pid(), attachment->zone(), attachment->epoch()));
  const bool dead = app::surely_dead(*attachment);
  fields.emplace_back("driver", dead    ? "dead; the next attach takes over"
                                : alive ? "alive"
                                        : "gave no sign lately; the next attach takes over");
  if (!attachment->export_uri().empty()) fields.emplace_back("export", attachment->export_uri());
  return fields;
}

Task<Result<void>> show_volume(RegionSession& session, std::string name) {
  CO_TRY(meta::pb::Volume volume, co_await volume::get_volume(session.meta(), name));
  CO_TRY(MaybeAttachment attachment, co_await volume::get_attachment(session.meta(), VolumeId{volume.id()}));
  CO_TRY(bool alive, co_await volume::driver_seems_alive(session.meta(), VolumeId{volume.id()}));
  CO_TRY(const Usage usage, co_await look_at_usage(session));
  Json value = volume_json(volume, attachment);
  add_usage(value, usage, volume.id());
  Fields fields = volume_fields(volume, attachment, alive, usage);
  if (attachment) {
    value["attachment"]["alive"] = alive;
    const uint64_t deadline_ns = session.runtime().now_ns() + kDriverAnswersWithinNs;
    const Result<app::pb::DriverStatus> status = co_await app::ask_control<app::pb::DriverStatus>(
        session.runtime(), attachment->address(), app::kMethodDriverStatus, app::pb::Empty(), deadline_ns);
    if (status) {
      value["driver"] = driver_json(*status);
      append_driver_fields(fields, *status);
    } else {
      value["driver"] = nullptr;
      fields.emplace_back("driver's counters", "out of reach at " + attachment->address());
    }
  }
  session.invocation().print(value, fields_text(fields));
  co_return Result<void>();
}

// While the region is away its drivers live on: the one of this volume, if its socket is where it usually is, tells
// what its clients wait for.
Task<Result<void>> show_volume_of_driver(RegionSession& session, std::string name) {
  CO_TRY(const std::string address, app::socket_in(app::folder_of_address(session.address()), "attach-" + name));
  const uint64_t deadline_ns = session.runtime().now_ns() + kDriverAnswersWithinNs;
  CO_TRY(const app::pb::DriverStatus status,
         co_await app::ask_control<app::pb::DriverStatus>(session.runtime(), address, app::kMethodDriverStatus,
                                                          app::pb::Empty(), deadline_ns));
  Fields fields = {{"name", status.volume()},
                   {"id", std::to_string(status.volume_id())},
                   {"size", fmt::format("{} ({} bytes)", format_size(status.size_bytes()), status.size_bytes())},
                   {"region", "does not answer at " + session.address() + "; this is what the driver knows"}};
  append_driver_fields(fields, status);
  const Json value = {{"name", status.volume()}, {"id", status.volume_id()}, {"size_bytes", status.size_bytes()},
                      {"region_answers", false}, {"attached", true},         {"driver", driver_json(status)}};
  session.invocation().print(value, fields_text(fields));
  co_return Result<void>();
}

void add_info(CLI::App& volume, Invocation& invocation) {
  auto name = std::make_shared<std::string>();
  CLI::App* info = volume.add_subcommand("info", "Show one volume: state, attachment, what its clients wait for");
  add_volume_name(*info, *name);
  info->footer("'waiting for' names the server that requests wait for: they go on by themselves when it is back.\n");
  info->callback([&invocation, name] {
    invocation.run = [&invocation, name] {
      return with_region(
          invocation, [name](RegionSession& session) { return show_volume(session, *name); }, Signals::kDefault,
          [name](RegionSession& session) { return show_volume_of_driver(session, *name); });
    };
  });
}

// ---- resize, rm

Task<Result<void>> resize_volume(RegionSession& session, std::string name, uint64_t size_bytes) {
  CO_TRY(bool done, co_await volume::resize_volume(session.runtime(), session.meta(), name, size_bytes));
  const std::string text = done ? fmt::format("{} is now {}\n", name, format_size(size_bytes))
                                : fmt::format(
                                      "{} is attached: its driver will grow it to {}; NBD clients see it when they "
                                      "connect anew\n",
                                      name, format_size(size_bytes));
  session.invocation().print({{"name", name}, {"size_bytes", size_bytes}, {"done", done}},
                             session.invocation().quiet ? "" : text);
  co_return Result<void>();
}

void add_resize(CLI::App& volume, Invocation& invocation) {
  struct Options {
    std::string name;
    uint64_t size_bytes = 0;
  };
  auto options = std::make_shared<Options>();
  CLI::App* resize = volume.add_subcommand("resize", "Grow a volume, attached or not");
  add_volume_name(*resize, options->name);
  add_size_option(*resize, "-s,--size", options->size_bytes, "The new size, a multiple of 512 bytes")->required();
  resize->footer("Volumes never shrink.\n\nExample:\n  foreshard volume resize disk1 --size 20G\n");
  resize->callback([&invocation, options] {
    invocation.run = [&invocation, options] {
      return with_region(invocation, [options](RegionSession& session) {
        return resize_volume(session, options->name, options->size_bytes);
      });
    };
  });
}

Task<Result<void>> remove_volume(RegionSession& session, std::string name) {
  CO_TRY(const meta::pb::Volume volume, co_await volume::get_volume(session.meta(), name));
  CO_TRY_VOID(co_await driver_lives(session, VolumeId{volume.id()}));
  CO_TRY_VOID(co_await volume::remove_volume(session.runtime(), session.meta(), name));
  session.invocation().print({{"name", name}, {"removed", true}},
                             session.invocation().quiet ? "" : fmt::format("removed {}\n", name));
  co_return Result<void>();
}

void add_rm(CLI::App& volume, Invocation& invocation) {
  auto name = std::make_shared<std::string>();
  CLI::App* rm = volume.add_subcommand("rm", "Remove a volume and its data");
  add_volume_name(*rm, *name);
  rm->footer("Refused while it is attached: foreshard detach NAME comes first. There is no way back.\n");
  rm->callback([&invocation, name] {
    invocation.run = [&invocation, name] {
      return with_region(invocation, [name](RegionSession& session) { return remove_volume(session, *name); });
    };
  });
}

// ---- layout

struct ServerShare {
  std::string zone;
  uint64_t volumelets = 0;
  uint64_t bytes = 0;
};

Task<Result<void>> show_layout(RegionSession& session, std::string name, bool all) {
  CO_TRY(meta::pb::Volume volume, co_await volume::get_volume(session.meta(), name));
  CO_TRY(std::vector<meta::pb::Server> servers, co_await volume::list_servers(session.meta()));
  CO_TRY(std::vector<meta::pb::Volumelet> volumelets,
         co_await volume::list_volumelets(session.meta(), VolumeId{volume.id()}));
  std::map<uint64_t, ServerShare> shares;
  for (const meta::pb::Server& server : servers) shares[server.id()].zone = server.zone();

  using enum Table::Align;
  Table table({{"OFFSET", kRight}, {"SIZE", kRight}, {"SERVER", kRight}, {"ZONE"}, {"STATE"}});
  Json list = Json::array();
  for (const meta::pb::Volumelet& volumelet : volumelets) {
    const uint64_t offset = volumelet.first_chunk() * kChunkBytes;
    const uint64_t bytes =
        std::min(volumelet.chunks() * kChunkBytes, volume.size_bytes() - std::min(offset, volume.size_bytes()));
    Json replicas = Json::array();
    for (const meta::pb::Replica& replica : volumelet.replicas()) {
      ServerShare& share = shares[replica.server()];
      ++share.volumelets;
      share.bytes += bytes;
      replicas.push_back(
          {{"server", replica.server()}, {"zone", share.zone}, {"state", replica_state_name(replica.state())}});
      table.add({format_size(offset), format_size(bytes), std::to_string(replica.server()), share.zone,
                 replica_state_name(replica.state())});
    }
    list.push_back(
        {{"offset", offset}, {"bytes", bytes}, {"map_version", volumelet.map_version()}, {"replicas", replicas}});
  }
  Table by_server({{"SERVER", kRight}, {"ZONE"}, {"VOLUMELETS", kRight}, {"SPACE", kRight}, {"SHARE"}});
  Json json_by_server = Json::array();
  for (const auto& [id, share] : shares) {
    const double fraction =
        volumelets.empty() ? 0 : static_cast<double>(share.volumelets) / static_cast<double>(volumelets.size());
    by_server.add({std::to_string(id), share.zone, std::to_string(share.volumelets), format_size(share.bytes),
                   bar(fraction, 30)});
    json_by_server.push_back(
        {{"server", id}, {"zone", share.zone}, {"volumelets", share.volumelets}, {"bytes", share.bytes}});
  }
  const Json value = {{"name", name}, {"volumelets", list}, {"servers", json_by_server}};
  const std::string text = fmt::format("{} of {} in {} volumelets of {}\n\n", name, format_size(volume.size_bytes()),
                                       volumelets.size(), format_size(volume.volumelet_bytes())) +
                           by_server.text() + (all ? "\n" + table.text() : "");
  session.invocation().print(value, text);
  co_return Result<void>();
}

void add_layout(CLI::App& volume, Invocation& invocation) {
  struct Options {
    std::string name;
    bool all = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* layout = volume.add_subcommand("layout", "Show on which servers a volume lies");
  add_volume_name(*layout, options->name);
  layout->add_flag("--all", options->all, "List every volumelet too (JSON always does)");
  layout->callback([&invocation, options] {
    invocation.run = [&invocation, options] {
      return with_region(
          invocation, [options](RegionSession& session) { return show_layout(session, options->name, options->all); });
    };
  });
}

}  // namespace

void add_volume_commands(CLI::App& volume, Invocation& invocation) {
  add_create(volume, invocation);
  add_ls(volume, invocation);
  add_info(volume, invocation);
  add_layout(volume, invocation);
  add_resize(volume, invocation);
  add_rm(volume, invocation);
}

}  // namespace foreshard::cli
