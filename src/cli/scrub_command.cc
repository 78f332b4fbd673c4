// `foreshard scrub`: reads what the servers store, compares it with its checksums, and tells what does not match.
#include <algorithm>
#include <map>
#include <memory>

#include <fmt/format.h>

#include "app/server_client.h"
#include "base/units.h"
#include "cli/exit_code.h"
#include "cli/progress.h"
#include "cli/region_session.h"
#include "cli/table.h"
#include "cli/usage.h"
#include "volume/join.h"
#include "volume/volume_admin.h"

namespace foreshard::cli {
namespace {

using runtime::Task;

struct ScrubOptions {
  std::string name;
  bool all = false;
  uint64_t bytes_per_second = 0;
};

struct ServerScrub {
  meta::pb::Server server;
  app::ScrubProgress progress;
  Result<void> result;
};

struct Scrub {
  uint64_t volume = 0;  // 0: all
  uint64_t bytes_per_second = 0;
  std::vector<ServerScrub> servers;
  std::map<uint64_t, std::string> names;  // of volumes
};

std::string volume_name(const Scrub& scrub, uint64_t id) {
  const auto found = scrub.names.find(id);
  return found == scrub.names.end() ? fmt::format("#{}", id) : found->second;
}

Task<Result<void>> scrub_one(RegionSession& session, Scrub& scrub, ServerScrub& one, Progress& progress) {
  const auto on_progress = [&session, &scrub, &progress] {
    uint64_t slots = 0;
    for (const ServerScrub& server : scrub.servers) slots += server.progress.slots;
    progress.update(slots * kChunkBytes, session.runtime().now_ns());
    return !session.interrupt().requested();
  };
  one.result = co_await app::scrub_server(session.runtime(), one.server.address(), scrub.volume, scrub.bytes_per_second,
                                          one.progress, on_progress);
  co_return Result<void>();  // the others go on
}

void print_scrub(const Invocation& invocation, const Scrub& scrub) {
  using enum Table::Align;
  Table bad({{"VOLUME"}, {"OFFSET", kRight}, {"BYTES", kRight}, {"SERVER", kRight}, {"ZONE"}});
  Table servers({{"SERVER", kRight}, {"ZONE"}, {"COMPARED", kRight}, {"BAD", kRight}, {"RESULT"}});
  Json bad_list = Json::array(), server_list = Json::array();
  bool any_bad = false;
  for (const ServerScrub& one : scrub.servers) {
    const uint64_t id = one.server.id();
    uint64_t bad_bytes = 0;
    for (const server::ScrubFault& fault : one.progress.faults) {
      const uint64_t offset = fault.chunk * kChunkBytes + fault.page * kPageBytes;
      const uint64_t bytes = fault.pages * kPageBytes;
      const std::string name = volume_name(scrub, fault.volume);
      any_bad = true;
      bad_bytes += bytes;
      bad.add({name, std::to_string(offset), std::to_string(bytes), std::to_string(id), one.server.zone()});
      bad_list.push_back({{"volume", name},
                          {"volume_id", fault.volume},
                          {"offset", offset},
                          {"bytes", bytes},
                          {"server", id},
                          {"zone", one.server.zone()}});
    }
    const std::string result = !one.result ? describe(one.result.error()) : one.progress.done ? "done" : "interrupted";
    servers.add(
        {std::to_string(id), one.server.zone(), format_size(one.progress.bytes), format_size(bad_bytes), result});
    server_list.push_back({{"server", id},
                           {"zone", one.server.zone()},
                           {"compared_bytes", one.progress.bytes},
                           {"bad_bytes", bad_bytes},
                           {"done", one.result.has_value() && one.progress.done},
                           {"result", result}});
  }
  invocation.print({{"bad", bad_list}, {"servers", server_list}},
                   (any_bad ? bad.text() + "\n" : std::string()) + servers.text());
}

// What the exit status says: damage first, then what could not be looked at.
Result<void> verdict(const Scrub& scrub, bool interrupted) {
  uint64_t faults = 0;
  for (const ServerScrub& one : scrub.servers) faults += one.progress.faults.size();
  if (faults > 0) {
    return fail(ErrorCode::kCorrupt, "scrub",
                fmt::format("{} place{} not match {} checksum: reads of it fail; writing all of it anew mends it",
                            faults, faults == 1 ? " does" : "s do", faults == 1 ? "its" : "their"));
  }
  if (interrupted) return fail(ErrorCode::kCancelled, "scrub", std::string("interrupted"));
  for (const ServerScrub& one : scrub.servers) {
    if (one.result) continue;
    Error error = one.result.error();
    error.detail = fmt::format("server {} was not scrubbed to its end: {}", one.server.id(), describe(error));
    error.context = "scrub";
    return fail(std::move(error));
  }
  return {};
}

Task<Result<void>> scrub_region(RegionSession& session, ScrubOptions options) {
  session.interrupt().on_request([] {});
  Scrub scrub;
  scrub.bytes_per_second = options.bytes_per_second;
  CO_TRY(const std::vector<meta::pb::Volume> volumes, co_await volume::list_volumes(session.meta()));
  for (const meta::pb::Volume& volume : volumes) scrub.names[volume.id()] = volume.name();
  if (!options.all) {
    CO_TRY(const meta::pb::Volume volume, co_await volume::get_volume(session.meta(), options.name));
    scrub.volume = volume.id();
  }
  CO_TRY(const std::vector<meta::pb::Server> servers, co_await volume::list_servers(session.meta()));
  const Usage usage = co_await usage_of_region(session.runtime(), servers);
  Progress progress(options.all ? "scrubbing" : "scrubbing " + options.name,
                    options.all ? usage.total_bytes() : usage.bytes_of(scrub.volume), session.invocation().quiet);
  for (const meta::pb::Server& server : servers) scrub.servers.push_back({server, {}, {}});
  volume::Join join(session.runtime().executor());
  for (ServerScrub& one : scrub.servers) join.add(scrub_one(session, scrub, one, progress));
  CO_TRY_VOID(co_await join.wait());
  progress.finish(session.runtime().now_ns());
  print_scrub(session.invocation(), scrub);
  co_return verdict(scrub, session.interrupt().requested());
}

}  // namespace

void add_scrub_command(CLI::App& app, Invocation& invocation) {
  auto options = std::make_shared<ScrubOptions>();
  CLI::App* scrub = app.add_subcommand("scrub", "Compare what is stored with its checksums");
  CLI::Option* const name = add_volume_name(*scrub, options->name)->required(false);
  CLI::Option* const all = scrub->add_flag("--all", options->all, "Everything that the region stores");
  all->excludes(name);
  add_size_option(*scrub, "--rate", options->bytes_per_second,
                  "Bytes a second to read on each server, such as 200M (default: 32M)");
  scrub->footer(
      "Runs beside other I/O; nothing is changed. What does not match is told with volume, offset and server, and the\n"
      "exit status is then 7. Reads of such pages fail; writing all of a page anew mends it.\n\n"
      "Examples:\n"
      "  foreshard scrub disk1\n"
      "  foreshard scrub --all --rate 200M -o json\n");
  scrub->callback([&invocation, options] {
    invocation.run = [&invocation, options]() -> Result<void> {
      if (!options->all && options->name.empty())
        return fail(ErrorCode::kInvalid, "scrub", std::string("name a volume, or say --all"));
      return with_region(
          invocation, [options](RegionSession& session) { return scrub_region(session, *options); }, Signals::kHandled);
    };
  });
}

}  // namespace foreshard::cli
