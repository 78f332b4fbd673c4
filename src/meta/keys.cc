#include "meta/keys.h"

#include <charconv>

#include <fmt/format.h>

namespace foreshard::meta {

std::string hex_id(uint64_t value) { return fmt::format("{:016x}", value); }

std::optional<uint64_t> parse_hex_id(std::string_view text) {
  uint64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (text.size() != 16 || code != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string region_key() { return "/region"; }
std::string servers_prefix() { return "/servers/"; }
std::string server_key(ServerId server) { return servers_prefix() + hex_id(server.value); }
std::string volumes_prefix() { return "/volumes/"; }
std::string volume_key(std::string_view name) { return volumes_prefix() + std::string(name); }

std::string volume_prefix(VolumeId volume) { return "/v/" + hex_id(volume.value) + "/"; }
std::string volume_exists_key(VolumeId volume) { return volume_prefix(volume) + "name"; }
std::string attachment_key(VolumeId volume) { return volume_prefix(volume) + "attachment"; }
std::string alive_key(VolumeId volume) { return volume_prefix(volume) + "alive"; }
std::string volume_servers_prefix(VolumeId volume) { return volume_prefix(volume) + "servers/"; }
std::string volume_server_key(VolumeId volume, ServerId server) {
  return volume_servers_prefix(volume) + hex_id(server.value);
}
std::string map_prefix(VolumeId volume) { return volume_prefix(volume) + "map/"; }
std::string map_key(VolumeId volume, uint64_t first_chunk) { return map_prefix(volume) + hex_id(first_chunk); }

}  // namespace foreshard::meta
