#include "app/topology.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/units.h"

namespace foreshard::app {
namespace {

constexpr uint64_t kRoundTripMax_ns = 60'000'000'000;

bool contains(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

Result<void> check_latencies(const Topology& topology) {
  for (const ZoneLatency& latency : topology.latencies) {
    for (const std::string& zone : {latency.a, latency.b}) {
      if (topology.has_zone(zone)) continue;
      return fail(ErrorCode::kInvalid, "latency",
                  fmt::format("zone '{}' is not one of {}", zone, fmt::join(topology.zones, ",")));
    }
  }
  return {};
}

}  // namespace

uint64_t Topology::round_trip_ns(std::string_view a, std::string_view b) const {
  for (const ZoneLatency& latency : latencies) {
    if ((latency.a == a && latency.b == b) || (latency.a == b && latency.b == a)) return latency.round_trip_ns;
  }
  return 0;
}

bool Topology::has_zone(std::string_view zone) const { return contains(zones, zone); }

Result<std::vector<std::string>> parse_zones(std::string_view text) {
  std::vector<std::string> zones;
  for (size_t begin = 0;;) {
    const size_t comma = text.find(',', begin);
    const std::string zone(text.substr(begin, comma == text.npos ? text.npos : comma - begin));
    TRY_VOID(check_name(zone));
    if (contains(zones, zone)) return fail(ErrorCode::kInvalid, "zones", fmt::format("'{}' is there twice", zone));
    zones.push_back(zone);
    if (comma == text.npos) break;
    begin = comma + 1;
  }
  if (zones.size() > kZonesMax) return fail(ErrorCode::kTooLarge, "zones", fmt::format("at most {}", kZonesMax));
  return zones;
}

Result<ZoneLatency> parse_latency(std::string_view text) {
  const size_t colon = text.find(':');
  const size_t equals = text.find('=');
  if (colon == text.npos || equals == text.npos || colon > equals) {
    return fail(ErrorCode::kInvalid, "latency",
                fmt::format("'{}' is not understood; write ZONE:ZONE=TIME, such as a:b=1ms", text));
  }
  ZoneLatency latency;
  latency.a = text.substr(0, colon);
  latency.b = text.substr(colon + 1, equals - colon - 1);
  TRY_VOID(check_name(latency.a));
  TRY_VOID(check_name(latency.b));
  TRY(latency.round_trip_ns, parse_duration_ns(text.substr(equals + 1)));
  if (latency.round_trip_ns > kRoundTripMax_ns) {
    return fail(ErrorCode::kTooLarge, "latency", fmt::format("{} is over the bound of 1m", text.substr(equals + 1)));
  }
  if (latency.b < latency.a) std::swap(latency.a, latency.b);
  return latency;
}

Result<TopologyWish> parse_topology(const std::optional<std::string>& zones, std::optional<uint32_t> servers_per_zone,
                                    const std::vector<std::string>& latencies) {
  TopologyWish wish;
  if (zones) {
    TRY(std::vector<std::string> names, parse_zones(*zones));
    wish.zones = std::move(names);
  }
  if (servers_per_zone && (*servers_per_zone == 0 || *servers_per_zone > kServersPerZoneMax)) {
    return fail(ErrorCode::kInvalid, "servers per zone", fmt::format("must be 1 to {}", kServersPerZoneMax));
  }
  wish.servers_per_zone = servers_per_zone;
  if (latencies.empty()) return wish;
  std::vector<ZoneLatency> parsed;
  for (const std::string& text : latencies) {
    TRY(ZoneLatency latency, parse_latency(text));
    for (const ZoneLatency& earlier : parsed) {
      if (earlier.a == latency.a && earlier.b == latency.b) {
        return fail(ErrorCode::kInvalid, "latency", fmt::format("{}:{} is given twice", latency.a, latency.b));
      }
    }
    parsed.push_back(std::move(latency));
  }
  std::sort(parsed.begin(), parsed.end(),
            [](const ZoneLatency& x, const ZoneLatency& y) { return std::tie(x.a, x.b) < std::tie(y.a, y.b); });
  wish.latencies = std::move(parsed);
  return wish;
}

Topology topology_from_record(const meta::pb::Region& record) {
  Topology topology;
  topology.zones.assign(record.zones().begin(), record.zones().end());
  topology.servers_per_zone = record.servers_per_zone();
  for (const meta::pb::ZoneLatency& latency : record.latencies()) {
    topology.latencies.push_back({latency.a(), latency.b(), latency.round_trip_ns()});
  }
  return topology;
}

void topology_to_record(const Topology& topology, meta::pb::Region& record) {
  record.clear_zones();
  for (const std::string& zone : topology.zones) record.add_zones(zone);
  record.set_servers_per_zone(topology.servers_per_zone);
  record.clear_latencies();
  for (const ZoneLatency& latency : topology.latencies) {
    meta::pb::ZoneLatency& to = *record.add_latencies();
    to.set_a(latency.a);
    to.set_b(latency.b);
    to.set_round_trip_ns(latency.round_trip_ns);
  }
}

Result<Topology> new_topology(const TopologyWish& wish) {
  Topology topology;
  topology.zones = wish.zones.value_or(std::vector<std::string>{"a", "b", "c"});
  topology.servers_per_zone = wish.servers_per_zone.value_or(2);
  topology.latencies = wish.latencies.value_or(std::vector<ZoneLatency>{});
  TRY_VOID(check_latencies(topology));
  return topology;
}

Result<Topology> restarted_topology(const Topology& recorded, const TopologyWish& wish) {
  std::vector<std::string> differences;
  if (wish.zones && *wish.zones != recorded.zones) {
    differences.push_back(
        fmt::format("zones are {}, not {}", fmt::join(recorded.zones, ","), fmt::join(*wish.zones, ",")));
  }
  if (wish.servers_per_zone && *wish.servers_per_zone != recorded.servers_per_zone) {
    differences.push_back(
        fmt::format("servers per zone are {}, not {}", recorded.servers_per_zone, *wish.servers_per_zone));
  }
  if (!differences.empty()) {
    return fail(ErrorCode::kConflict, "the region there has another topology",
                fmt::format("{}; leave the options out to start it as it is, or give another --dir",
                            fmt::join(differences, "; ")));
  }
  Topology topology = recorded;
  if (wish.latencies) topology.latencies = *wish.latencies;
  TRY_VOID(check_latencies(topology));
  return topology;
}

}  // namespace foreshard::app
