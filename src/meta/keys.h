// The keys of the metadata store, as documented in records.proto.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/ids.h"

namespace foreshard::meta {

// 16 hexadecimal digits, so that keys sort as numbers do; and back.
std::string hex_id(uint64_t value);
std::optional<uint64_t> parse_hex_id(std::string_view text);

std::string region_key();
std::string servers_prefix();
std::string server_key(ServerId server);
std::string volumes_prefix();
std::string volume_key(std::string_view name);

// Everything of a volume but its named record lies under this prefix.
std::string volume_prefix(VolumeId volume);
// Exists exactly as long as the volume does; its value is the name. Servers look here before they delete (R-GC).
std::string volume_exists_key(VolumeId volume);
std::string attachment_key(VolumeId volume);
std::string alive_key(VolumeId volume);
std::string volume_servers_prefix(VolumeId volume);
std::string volume_server_key(VolumeId volume, ServerId server);
std::string map_prefix(VolumeId volume);
std::string map_key(VolumeId volume, uint64_t first_chunk);

}  // namespace foreshard::meta
