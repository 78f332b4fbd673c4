// What a client of a region reads of it before it does anything: its topology and its servers.
#pragma once

#include <string>
#include <vector>

#include "app/topology.h"
#include "meta/meta.h"
#include "meta/records.pb.h"

namespace foreshard::app {

struct RegionView {
  Topology topology;
  std::vector<meta::pb::Server> servers;
};

// kNotFound when there is no region record; kUnsupported when a newer foreshard wrote it.
runtime::Task<Result<RegionView>> look_at_region(meta::Meta& meta);
// The zone of a driver: the one given (kNotFound when the region has none such), else the volume's own, else the first.
Result<std::string> driver_zone(const RegionView& region, const meta::pb::Volume& volume, const std::string& given);

}  // namespace foreshard::app
