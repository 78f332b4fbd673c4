#include "app/region_view.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "meta/records.h"
#include "volume/volume_admin.h"

namespace foreshard::app {

runtime::Task<Result<RegionView>> look_at_region(meta::Meta& meta) {
  CO_TRY(std::optional<meta::Entry> entry, co_await meta.get(meta::region_key()));
  if (!entry) co_return fail(ErrorCode::kNotFound, "region", std::string("the metadata holds no region"));
  CO_TRY(meta::pb::Region record, meta::decode<meta::pb::Region>(*entry));
  if (record.format_version() > meta::kRegionFormatVersion) {
    co_return fail(ErrorCode::kUnsupported, "region",
                   fmt::format("format {} is newer than this program", record.format_version()));
  }
  RegionView view;
  view.topology = topology_from_record(record);
  CO_TRY(view.servers, co_await volume::list_servers(meta));
  co_return std::move(view);
}

Result<std::string> driver_zone(const RegionView& region, const meta::pb::Volume& volume, const std::string& given) {
  if (!given.empty()) {
    if (region.topology.has_zone(given)) return given;
    return fail(
        ErrorCode::kNotFound, "zone",
        fmt::format("'{}' is not a zone of this region, which has {}", given, fmt::join(region.topology.zones, ", ")));
  }
  if (!volume.zone().empty() && region.topology.has_zone(volume.zone())) return volume.zone();
  return region.topology.zones.empty() ? std::string() : region.topology.zones.front();
}

}  // namespace foreshard::app
