// `foreshard server ls`: the servers of the region, with what each says of itself.
#include <memory>

#include <fmt/format.h>

#include "app/server_client.h"
#include "base/units.h"
#include "cli/region_session.h"
#include "cli/table.h"
#include "volume/volume_admin.h"

namespace foreshard::cli {
namespace {

constexpr uint64_t kAnswerWithinNs = 2'000'000'000;

Json server_json(const meta::pb::Server& server, const Result<server::StatsReply>& stats) {
  Json value = {{"id", server.id()},
                {"zone", server.zone()},
                {"address", server.address()},
                {"store_uuid", fmt::format("{:016x}", server.store_uuid())},
                {"capacity_bytes", server.capacity_bytes()},
                {"state", stats ? "up" : "down"}};
  if (!stats) return value;
  value["used_bytes"] = stats->slots_used * kChunkBytes;
  value["loss"] = stats->loss;
  value["volumes"] = stats->volumes;
  value["ranges"] = stats->ranges;
  value["reads"] = stats->reads;
  value["writes"] = stats->writes;
  value["flushes"] = stats->flushes;
  value["corrupt_pages"] = stats->corrupt_pages;
  value["cache_hits"] = stats->cache_hits;
  value["cache_misses"] = stats->cache_misses;
  value["cache_bytes"] = stats->cache_bytes;
  value["caches_bytes_max"] = stats->caches_bytes_max;
  return value;
}

std::vector<std::string> server_row(const meta::pb::Server& server, const Result<server::StatsReply>& stats) {
  std::vector<std::string> row = {std::to_string(server.id()), server.zone(), stats ? "up" : "down",
                                  format_size(server.capacity_bytes())};
  if (!stats) {
    row.insert(row.end(), 5, "-");
  } else {
    row.push_back(format_size(stats->slots_used * kChunkBytes));
    row.push_back(std::to_string(stats->ranges));
    row.push_back(format_count(static_cast<double>(stats->reads)));
    row.push_back(format_count(static_cast<double>(stats->writes)));
    row.push_back(std::to_string(stats->loss));
  }
  row.push_back(server.address());
  return row;
}

runtime::Task<Result<void>> list_servers(RegionSession& session) {
  CO_TRY(std::vector<meta::pb::Server> servers, co_await volume::list_servers(session.meta()));
  using enum Table::Align;
  Table table({{"SERVER", kRight},
               {"ZONE"},
               {"STATE"},
               {"CAPACITY", kRight},
               {"USED", kRight},
               {"VOLUMELETS", kRight},
               {"READS", kRight},
               {"WRITES", kRight},
               {"LOSS", kRight},
               {"ADDRESS"}});
  Json list = Json::array();
  for (const meta::pb::Server& server : servers) {
    const uint64_t deadline_ns = session.runtime().now_ns() + kAnswerWithinNs;
    const Result<server::StatsReply> stats =
        co_await app::server_stats(session.runtime(), server.address(), deadline_ns);
    list.push_back(server_json(server, stats));
    table.add(server_row(server, stats));
  }
  session.invocation().print(list, table.text());
  co_return Result<void>();
}

}  // namespace

void add_server_commands(CLI::App& app, Invocation& invocation) {
  CLI::App* server = app.add_subcommand("server", "Look at the region's servers");
  server->require_subcommand(1);
  CLI::App* ls = server->add_subcommand("ls", "List the servers: zone, state, capacity, load");
  ls->footer(
      "LOSS counts how often the server came up without a clean close, and may so have forgotten writes that were\n"
      "acknowledged but not flushed; drivers notice and write them again.\n");
  ls->callback([&invocation] { invocation.run = [&invocation] { return with_region(invocation, list_servers); }; });
}

}  // namespace foreshard::cli
