// What is asked of an attached volume's driver over its control socket: `volume heat`, `prefetch stats|mode`, `detach`.
#include <algorithm>
#include <memory>

#include <fmt/format.h>

#include "app/control_client.h"
#include "app/process.h"
#include "base/units.h"
#include "cli/driver_session.h"
#include "cli/table.h"
#include "volume/volume_admin.h"

namespace foreshard::cli {
namespace {

using runtime::Task;

// ---- heat

double accesses_per_s(const app::pb::VolumeletHeat& heat) { return heat.reads_per_s() + heat.writes_per_s(); }

Task<Result<void>> show_heat(RegionSession& session, std::string name, size_t top) {
  CO_TRY(meta::pb::Attachment attachment, co_await attachment_of(session, name));
  CO_TRY(app::pb::HeatReply reply,
         co_await ask_driver<app::pb::HeatReply>(session, attachment, app::kMethodDriverHeat, app::pb::Empty()));
  std::vector<app::pb::VolumeletHeat> volumelets(reply.volumelets().begin(), reply.volumelets().end());
  Json list = Json::array();
  for (const app::pb::VolumeletHeat& heat : volumelets) {
    list.push_back({{"offset", heat.first_chunk() * kChunkBytes},
                    {"bytes", heat.chunks() * kChunkBytes},
                    {"server", heat.server()},
                    {"zone", heat.zone()},
                    {"reads_per_s", heat.reads_per_s()},
                    {"writes_per_s", heat.writes_per_s()},
                    {"reads", heat.reads()},
                    {"writes", heat.writes()},
                    {"read_bytes", heat.read_bytes()},
                    {"written_bytes", heat.written_bytes()}});
  }
  std::stable_sort(volumelets.begin(), volumelets.end(), [](const auto& a, const auto& b) {
    if (accesses_per_s(a) != accesses_per_s(b)) return accesses_per_s(a) > accesses_per_s(b);
    return a.reads() + a.writes() > b.reads() + b.writes();
  });
  const double hottest = volumelets.empty() ? 0 : accesses_per_s(volumelets.front());
  using enum Table::Align;
  Table table({{"OFFSET", kRight},
               {"SERVER", kRight},
               {"ZONE"},
               {"READS/S", kRight},
               {"WRITES/S", kRight},
               {"READ", kRight},
               {"WRITTEN", kRight},
               {"HEAT"}});
  const size_t shown = top == 0 ? volumelets.size() : std::min(top, volumelets.size());
  for (size_t i = 0; i < shown; ++i) {
    const app::pb::VolumeletHeat& heat = volumelets[i];
    table.add({format_size(heat.first_chunk() * kChunkBytes), std::to_string(heat.server()), heat.zone(),
               format_count(heat.reads_per_s()), format_count(heat.writes_per_s()), format_size(heat.read_bytes()),
               format_size(heat.written_bytes()), bar(hottest > 0 ? accesses_per_s(heat) / hottest : 0, 20)});
  }
  std::string text = table.text();
  if (shown < volumelets.size())
    text += fmt::format("and {} cooler volumelets; --top 0 lists all\n", volumelets.size() - shown);
  session.invocation().print(list, text);
  co_return Result<void>();
}

void add_heat(CLI::App& volume, Invocation& invocation) {
  struct Options {
    std::string name;
    size_t top = 16;
  };
  auto options = std::make_shared<Options>();
  CLI::App* heat = volume.add_subcommand("heat", "Show which volumelets of an attached volume are hot");
  add_volume_name(*heat, options->name);
  heat->add_option("--top", options->top, "How many to list, the hottest first; 0: all (JSON always does)")
      ->type_name("N")
      ->capture_default_str();
  heat->footer("Rates decay over a minute; READ and WRITTEN count since the volume was attached.\n");
  heat->callback([&invocation, options] {
    invocation.run = [&invocation, options] {
      return with_region(invocation,
                         [options](RegionSession& session) { return show_heat(session, options->name, options->top); });
    };
  });
}

// ---- prefetch

Json counts_json(const app::pb::PrefetchCounts& counts) {
  return {{"issued", counts.issued()},
          {"used", counts.used()},
          {"late", counts.late()},
          {"wasted", counts.wasted()},
          {"dropped", counts.dropped()},
          {"waiting", counts.waiting()},
          {"in_flight", counts.in_flight()},
          {"shadow_issued", counts.shadow_issued()},
          {"shadow_used", counts.shadow_used()},
          {"shadow_wasted", counts.shadow_wasted()},
          {"shadow_waiting", counts.shadow_waiting()}};
}

std::vector<std::string> counts_row(const std::string& name, const std::string& state,
                                    const app::pb::PrefetchCounts& counts, bool shadow) {
  const auto pages = [](uint64_t count) { return format_count(static_cast<double>(count)); };
  const uint64_t used = shadow ? counts.shadow_used() : counts.used();
  const uint64_t wasted = shadow ? counts.shadow_wasted() : counts.wasted();
  const double settled = static_cast<double>(used + wasted);
  return {name,
          state,
          pages(shadow ? counts.shadow_issued() : counts.issued()),
          pages(used),
          shadow ? "-" : pages(counts.late()),
          pages(wasted),
          pages(shadow ? counts.shadow_waiting() : counts.waiting()),
          settled > 0 ? fmt::format("{:.1f} %", 100 * static_cast<double>(used) / settled) : "-"};
}

Json warming_json(const app::pb::Warming& warming) {
  return {{"pays", warming.pays()},           {"disk_share", warming.disk_share()},
          {"threshold", warming.threshold()}, {"budget_tokens", warming.budget_tokens()},
          {"issued", warming.issued()},       {"used", warming.used()},
          {"wasted", warming.wasted()},       {"taken", warming.taken()},
          {"in_flight", warming.in_flight()}};
}

Json payback_json(const app::pb::Payback& payback) {
  if (!payback.watched()) return nullptr;
  return {{"pays", payback.pays()},
          {"gain", payback.has_gain() ? Json(payback.gain()) : Json(nullptr)},
          {"stops", payback.stops()}};
}

std::string payback_text(const app::pb::Payback& payback) {
  if (payback.watched() && !payback.pays())
    return "stopped for a while: what was fetched spared no reads, for it displaced what was read as often\n";
  if (!payback.has_gain()) return "";
  return fmt::format("of 100 pages fetched lately {:.0f} spared one that would have been missed\n",
                     std::max(payback.gain(), 0.0) * 100);
}

Task<Result<void>> show_prefetch(RegionSession& session, std::string name) {
  CO_TRY(meta::pb::Attachment attachment, co_await attachment_of(session, name));
  CO_TRY(app::pb::DriverStatus status,
         co_await ask_driver<app::pb::DriverStatus>(session, attachment, app::kMethodDriverStatus, app::pb::Empty()));
  const app::pb::Prefetch& prefetch = status.prefetch();
  const bool shadow = prefetch.mode() == "shadow";
  using enum Table::Align;
  Table table({{"EXPERT"},
               {"STATE"},
               {"ISSUED", kRight},
               {"USED", kRight},
               {"LATE", kRight},
               {"WASTED", kRight},
               {"WAITING", kRight},
               {"PRECISION", kRight}});
  Json experts = Json::array();
  for (const app::pb::PrefetchExpert& expert : prefetch.experts()) {
    experts.push_back({{"name", expert.name()}, {"active", expert.active()}, {"pages", counts_json(expert.counts())}});
    table.add(counts_row(expert.name(), expert.active() ? "active" : "stopped", expert.counts(), shadow));
  }
  table.add(counts_row("all", "", prefetch.total(), shadow));
  const Json value = {{"volume", name},
                      {"mode", prefetch.mode()},
                      {"read_requests", prefetch.read_requests()},
                      {"read_pages", prefetch.read_pages()},
                      {"missed_requests", prefetch.missed_requests()},
                      {"missed_pages", prefetch.missed_pages()},
                      {"issued_pages", prefetch.total().issued()},
                      {"used_pages", prefetch.total().used()},
                      {"late_pages", prefetch.total().late()},
                      {"wasted_pages", prefetch.total().wasted()},
                      {"precision", prefetch.precision()},
                      {"shadow_precision", prefetch.shadow_precision()},
                      {"refused_budget", prefetch.refused_budget()},
                      {"refused_in_flight", prefetch.refused_in_flight()},
                      {"payback", payback_json(prefetch.payback())},
                      {"servers_memory", warming_json(prefetch.warming())},
                      {"crowded_requests", prefetch.crowded_requests()},
                      {"stops", prefetch.stops()},
                      {"starts", prefetch.starts()},
                      {"pages", counts_json(prefetch.total())},
                      {"experts", experts}};
  const app::pb::Warming& warming = prefetch.warming();
  const std::string text =
      fmt::format("mode {}; {} of {} pages read were not in the cache; counts are pages\n", prefetch.mode(),
                  prefetch.missed_pages(), prefetch.read_pages()) +
      table.text() + payback_text(prefetch.payback()) +
      fmt::format("into the servers' memory: {} issued, {} used, {} wasted, {} taken into the cache later{}\n",
                  warming.issued(), warming.used(), warming.wasted(), warming.taken(),
                  warming.pays() ? "" : "; it does not pay at present");
  session.invocation().print(value, text);
  co_return Result<void>();
}

Task<Result<void>> set_prefetch_mode(RegionSession& session, std::string name, std::string mode) {
  CO_TRY(meta::pb::Attachment attachment, co_await attachment_of(session, name));
  app::pb::PrefetchModeRequest request;
  request.set_mode(mode);
  CO_TRY_VOID(co_await ask_driver<app::pb::Empty>(session, attachment, app::kMethodDriverPrefetchMode, request));
  session.invocation().print({{"volume", name}, {"mode", mode}}, fmt::format("prefetch of {} is {}\n", name, mode));
  co_return Result<void>();
}

void add_prefetch(CLI::App& app, Invocation& invocation) {
  struct Options {
    std::string name, mode;
  };
  auto options = std::make_shared<Options>();
  CLI::App* prefetch = app.add_subcommand("prefetch", "See what prefetching does for a volume, and switch it");
  prefetch->require_subcommand(1);
  CLI::App* stats = prefetch->add_subcommand("stats", "Show what was fetched ahead, used, late and wasted");
  add_volume_name(*stats, options->name);
  stats->footer(
      "used: read by a client before it left the cache. late: asked for while still on its way.\n"
      "wasted: left the cache unread. waiting: in the cache, not read yet. The last line is exact; by expert only the\n"
      "last pages are followed (65,536 at most), and older ones count as wasted. In mode shadow nothing is fetched,\n"
      "and the numbers say what would have been. An expert that does not pay is stopped, and keeps watching.\n");
  stats->callback([&invocation, options] {
    invocation.run = [&invocation, options] {
      return with_region(invocation,
                         [options](RegionSession& session) { return show_prefetch(session, options->name); });
    };
  });
  CLI::App* mode = prefetch->add_subcommand("mode", "Switch the prefetching of an attached volume");
  add_volume_name(*mode, options->name);
  mode->add_option("MODE", options->mode, "off, shadow (decide and count, fetch nothing) or on")
      ->required()
      ->check(one_of({"off", "shadow", "on"}))
      ->type_name("");
  mode->footer("Example:\n  foreshard prefetch mode disk1 shadow\n");
  mode->callback([&invocation, options] {
    invocation.run = [&invocation, options] {
      return with_region(invocation, [options](RegionSession& session) {
        return set_prefetch_mode(session, options->name, options->mode);
      });
    };
  });
}

// ---- detach

constexpr uint64_t kLookAgainNs = 20'000'000;

// Waits until the attachment with this epoch is released.
Task<Result<void>> wait_released(RegionSession& session, meta::pb::Attachment attachment, std::string name, VolumeId id,
                                 uint64_t deadline_ns) {
  for (;;) {
    CO_TRY(std::optional<meta::pb::Attachment> now, co_await volume::get_attachment(session.meta(), id));
    if (!now || now->epoch() != attachment.epoch()) co_return Result<void>();
    if (app::surely_dead(attachment)) {
      co_return fail(
          ErrorCode::kIo, "detach",
          fmt::format("the driver (pid {}) ended without a clean detach; its log says why. The next attach of {} "
                      "takes over",
                      attachment.pid(), name));
    }
    if (session.runtime().now_ns() >= deadline_ns) {
      co_return fail(
          ErrorCode::kTimeout, "detach",
          fmt::format("the driver (host {}, pid {}) is still at it; foreshard volume info {} says what it waits for",
                      attachment.host(), attachment.pid(), name));
    }
    co_await session.runtime().executor().sleep_for(kLookAgainNs);
  }
}

Task<Result<void>> detach(RegionSession& session, std::string name, uint64_t timeout_ns) {
  CO_TRY(meta::pb::Volume volume, co_await volume::get_volume(session.meta(), name));
  CO_TRY(meta::pb::Attachment attachment, co_await attachment_of(session, name));
  CO_TRY_VOID(co_await ask_driver<app::pb::Empty>(session, attachment, app::kMethodDriverDetach, app::pb::Empty()));
  const uint64_t deadline_ns = session.runtime().now_ns() + timeout_ns;
  CO_TRY_VOID(co_await wait_released(session, attachment, name, VolumeId{volume.id()}, deadline_ns));
  session.invocation().print({{"volume", name}, {"detached", true}},
                             session.invocation().quiet ? "" : fmt::format("detached {}\n", name));
  co_return Result<void>();
}

void add_detach(CLI::App& app, Invocation& invocation) {
  struct Options {
    std::string name;
    uint64_t timeout_ns = 60'000'000'000;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("detach", "End the driver of a volume in good order: flush, close, release");
  add_volume_name(*command, options->name);
  add_duration_option(*command, "--timeout", options->timeout_ns, "How long to wait for it (default 60s)");
  command->footer(
      "The same as SIGTERM to the process of `foreshard attach`. NBD clients lose their connections: unmount first.\n\n"
      "Example:\n  foreshard detach disk1\n");
  command->callback([&invocation, options] {
    invocation.run = [&invocation, options] {
      return with_region(invocation, [options](RegionSession& session) {
        return detach(session, options->name, options->timeout_ns);
      });
    };
  });
}

}  // namespace

Task<Result<meta::pb::Attachment>> attachment_of(RegionSession& session, std::string name) {
  CO_TRY(meta::pb::Volume volume, co_await volume::get_volume(session.meta(), name));
  CO_TRY(std::optional<meta::pb::Attachment> attachment,
         co_await volume::get_attachment(session.meta(), VolumeId{volume.id()}));
  if (!attachment) {
    co_return fail(ErrorCode::kNotFound, "attachment",
                   fmt::format("{} is not attached; attach it with: foreshard attach {} --nbd unix:/tmp/{}.sock", name,
                               name, name));
  }
  co_return std::move(*attachment);
}

Task<Result<bool>> driver_lives(RegionSession& session, VolumeId volume) {
  constexpr uint64_t kHintPassesWithinNs = 10'000'000'000;
  const uint64_t deadline_ns = session.runtime().now_ns() + kHintPassesWithinNs;
  for (;;) {
    CO_TRY(const std::optional<meta::pb::Attachment> attachment,
           co_await volume::get_attachment(session.meta(), volume));
    CO_TRY(const bool seems_alive, co_await volume::driver_seems_alive(session.meta(), volume));
    if (!attachment || !seems_alive) co_return false;
    if (!app::surely_dead(*attachment) || session.runtime().now_ns() >= deadline_ns) co_return true;
    co_await session.runtime().executor().sleep_for(kLookAgainNs);
  }
}

Error driver_out_of_reach(const meta::pb::Attachment& attachment, const std::string& volume, Error error) {
  if (error.code != ErrorCode::kUnavailable && error.code != ErrorCode::kTimeout && error.code != ErrorCode::kNotFound)
    return error;
  const bool dead = app::surely_dead(attachment);
  return {ErrorCode::kUnavailable, "driver", 0,
          fmt::format("the driver of {} (host {}, pid {}) {} at {}; {}", volume, attachment.host(), attachment.pid(),
                      dead ? "runs no more, nobody answers" : "does not answer", attachment.address(),
                      dead ? "attach it again: the new driver takes over by itself"
                           : "if it is gone for good, attach it again (with --force if need be)")};
}

void add_driver_commands(CLI::App& app, CLI::App& volume, Invocation& invocation) {
  add_heat(volume, invocation);
  add_record_command(volume, invocation);
  add_prefetch(app, invocation);
  add_predict_command(app, invocation);
  add_detach(app, invocation);
}

}  // namespace foreshard::cli
