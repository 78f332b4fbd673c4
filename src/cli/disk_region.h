// The parts of a region that belong to the real world: RocksDB under the metadata, chunk stores on the disk.
#pragma once

#include <string>

#include "app/region.h"

namespace foreshard::cli {

// capacity_bytes: of each server; 0: its share of what the disk has free.
app::RegionOptions disk_region_options(runtime::Runtime& runtime, const std::string& folder,
                                       const app::TopologyWish& topology, uint64_t capacity_bytes);

}  // namespace foreshard::cli
