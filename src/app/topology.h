// Topology: what a region consists of: zones, servers in each, round trips between zones. It is fixed when the
// region is made and stored in its record; a restart with another one is refused with the difference, since
// servers that vanish take their data with them. Latencies are a setting and may change.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "meta/records.pb.h"

namespace foreshard::app {

inline constexpr uint32_t kZonesMax = 64;
inline constexpr uint32_t kServersPerZoneMax = 256;

struct ZoneLatency {
  std::string a, b;  // a <= b
  uint64_t round_trip_ns = 0;
  bool operator==(const ZoneLatency&) const = default;
};

struct Topology {
  std::vector<std::string> zones;
  uint32_t servers_per_zone = 0;
  std::vector<ZoneLatency> latencies;  // sorted, each pair once

  uint32_t servers() const { return static_cast<uint32_t>(zones.size()) * servers_per_zone; }
  // Servers are numbered from 1, zone after zone.
  const std::string& zone_of_server(uint64_t id) const { return zones[(id - 1) / servers_per_zone]; }
  // Added to each round trip between two zones; 0 when nothing is said of them.
  uint64_t round_trip_ns(std::string_view a, std::string_view b) const;
  bool has_zone(std::string_view zone) const;
};

// What `foreshard up` was told; what is absent comes from the record, or from the defaults for a new region.
struct TopologyWish {
  std::optional<std::vector<std::string>> zones;
  std::optional<uint32_t> servers_per_zone;
  std::optional<std::vector<ZoneLatency>> latencies;
};

// "a,b,c": names, each once.
Result<std::vector<std::string>> parse_zones(std::string_view text);
// "a:b=1ms".
Result<ZoneLatency> parse_latency(std::string_view text);
Result<TopologyWish> parse_topology(const std::optional<std::string>& zones, std::optional<uint32_t> servers_per_zone,
                                    const std::vector<std::string>& latencies);

Topology topology_from_record(const meta::pb::Region& record);
void topology_to_record(const Topology& topology, meta::pb::Region& record);

// A new region's topology. kInvalid when a latency names a zone that is not there.
Result<Topology> new_topology(const TopologyWish& wish);
// A restarted region's. kConflict, with every difference, when the wish is for other zones or servers.
Result<Topology> restarted_topology(const Topology& recorded, const TopologyWish& wish);

}  // namespace foreshard::app
