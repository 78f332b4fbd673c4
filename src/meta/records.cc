#include "meta/records.h"

#include <bit>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/units.h"
#include "meta/limits.h"

namespace foreshard::meta {
namespace {

constexpr size_t kHexIdDigits = 16;
constexpr uint64_t kVolumeBytesMax = 1ull << 56;
constexpr size_t kModelNameBytesMax = 32;

// What a record must say to be believed; each returns what is wrong, or nothing.

const char* fault_of(const pb::Region& record, const std::string& key) {
  if (key != region_key()) return "key";
  if (record.format_version() == 0) return "format version";
  if (record.zones().empty() || record.servers_per_zone() == 0) return "topology";
  return nullptr;
}

const char* fault_of(const pb::Server& record, const std::string& key) {
  if (record.id() == 0 || key != server_key(ServerId{record.id()})) return "id";
  if (record.address().empty()) return "address";
  return nullptr;
}

const char* fault_of(const pb::Volume& record, const std::string& key) {
  if (!check_name(record.name()) || key != volume_key(record.name())) return "name";
  if (record.id() == 0) return "id";
  if (!record.image().empty() && !check_name(record.image())) return "image";
  if (record.size_bytes() == 0 || record.size_bytes() % kSectorBytes != 0 || record.size_bytes() > kVolumeBytesMax)
    return "size";
  if (record.wanted_size_bytes() % kSectorBytes != 0 || record.wanted_size_bytes() > kVolumeBytesMax)
    return "wanted size";
  if (!std::has_single_bit(record.volumelet_bytes()) || record.volumelet_bytes() < kChunkBytes) return "volumelet size";
  if (record.replicas() == 0 || record.replicas() > kReplicasMax) return "replicas";
  if (!pb::VolumeState_IsValid(record.state()) || record.state() == pb::VOLUME_STATE_UNSPECIFIED) return "state";
  return nullptr;
}

const char* fault_of(const pb::Attachment& record, const std::string& key) {
  if (!key.ends_with("/attachment")) return "key";
  if (record.held() && (record.epoch() == 0 || record.driver() == 0)) return "holder";
  return nullptr;
}

const char* fault_of(const pb::DriverHint& record, const std::string& key) {
  if (!key.ends_with("/alive")) return "key";
  return nullptr;
}

const char* fault_of(const pb::VolumeServer&, const std::string& key) {
  if (!number_of_key(key)) return "key";
  return nullptr;
}

const char* fault_of(const pb::Volumelet& record, const std::string& key) {
  const Result<uint64_t> first_chunk = number_of_key(key);
  if (!first_chunk || record.first_chunk() != *first_chunk) return "first chunk";
  if (record.chunks() == 0 || record.chunks() > kVolumeBytesMax / kChunkBytes ||
      record.first_chunk() > kVolumeBytesMax / kChunkBytes)
    return "chunks";
  if (record.replicas().empty() || record.replicas_size() > static_cast<int>(kReplicasMax)) return "replicas";
  for (const pb::Replica& replica : record.replicas()) {
    if (replica.server() == 0) return "replica server";
    if (!pb::ReplicaState_IsValid(replica.state()) || replica.state() == pb::REPLICA_STATE_UNSPECIFIED)
      return "replica state";
  }
  return nullptr;
}

const char* fault_of(const pb::LearnedRecord& record, const std::string& key) {
  if (record.subject().empty() || key != learned_key(record.subject())) return "subject";
  if (record.bytes() > kValueBytesMax) return "size";
  return nullptr;
}

const char* fault_of(const pb::Model& record, const std::string& key) {
  if (record.number() == 0 || record.number() > INT64_MAX || key != model_key(record.number())) return "number";
  if (record.kind().size() > kModelNameBytesMax || !check_name(record.kind())) return "kind";
  if (record.symbols().size() > kModelNameBytesMax || !check_name(record.symbols())) return "symbols";
  if (record.file_bytes() == 0 || record.file_bytes() > kModelBytesMax) return "size";
  if (record.summary().size() > kModelSummaryBytesMax) return "summary";
  return nullptr;
}

const char* fault_of(const pb::ModelPart& record, const std::string& key) {
  const Result<uint64_t> part = number_of_key(key);
  if (!part || *part >= model_parts(kModelBytesMax)) return "key";
  if (record.data().empty() || record.data().size() > kModelPartBytes) return "size";
  return nullptr;
}

}  // namespace

std::string hex_id(uint64_t value) { return fmt::format("{:016x}", value); }

std::optional<uint64_t> parse_hex_id(std::string_view text) {
  if (text.size() != kHexIdDigits) return std::nullopt;
  uint64_t value = 0;
  for (const char c : text) {
    const bool digit = c >= '0' && c <= '9';
    if (!digit && !(c >= 'a' && c <= 'f')) return std::nullopt;
    value = value << 4 | static_cast<uint64_t>(digit ? c - '0' : c - 'a' + 10);
  }
  return value;
}

std::string region_key() { return "/region"; }
std::string servers_prefix() { return "/servers/"; }
std::string server_key(ServerId server) { return "/servers/" + hex_id(server.value); }
std::string server_alive_key(ServerId server) { return "/alive/servers/" + hex_id(server.value); }
std::string volumes_prefix() { return "/volumes/"; }
std::string volume_key(std::string_view name) { return fmt::format("/volumes/{}", name); }
std::string volume_prefix(VolumeId volume) { return fmt::format("/v/{}/", hex_id(volume.value)); }
std::string volume_exists_key(VolumeId volume) { return volume_prefix(volume) + "name"; }
std::string attachment_key(VolumeId volume) { return volume_prefix(volume) + "attachment"; }
std::string alive_key(VolumeId volume) { return volume_prefix(volume) + "alive"; }
std::string volume_servers_prefix(VolumeId volume) { return volume_prefix(volume) + "servers/"; }
std::string volume_server_key(VolumeId volume, ServerId server) {
  return volume_servers_prefix(volume) + hex_id(server.value);
}
std::string volumelets_prefix(VolumeId volume) { return volume_prefix(volume) + "map/"; }
std::string volumelet_key(VolumeId volume, uint64_t first_chunk) {
  return volumelets_prefix(volume) + hex_id(first_chunk);
}
std::string models_prefix() { return "/models/"; }
std::string model_key(uint64_t number) { return models_prefix() + hex_id(number); }
std::string model_parts_prefix() { return "/model-parts/"; }
std::string model_parts_prefix(uint64_t number) { return fmt::format("{}{}/", model_parts_prefix(), hex_id(number)); }
std::string model_part_key(uint64_t number, uint64_t part) { return model_parts_prefix(number) + hex_id(part); }

std::string learned_prefix() { return "/learned/"; }
std::string learned_key(std::string_view subject) { return fmt::format("/learned/{}", subject); }
std::string learned_state_key(std::string_view subject) { return fmt::format("/learned-state/{}", subject); }

Result<uint64_t> number_of_key(std::string_view key) {
  const size_t slash = key.rfind('/');
  const std::optional<uint64_t> number =
      slash == std::string_view::npos ? std::nullopt : parse_hex_id(key.substr(slash + 1));
  if (!number) return fail(ErrorCode::kCorrupt, "metadata key", std::string(key));
  return *number;
}

template <class Record>
Result<Record> decode(const Entry& entry) {
  Record record;
  if (!record.ParseFromString(entry.value)) return fail(ErrorCode::kCorrupt, "metadata record", entry.key);
  if (const char* fault = fault_of(record, entry.key))
    return fail(ErrorCode::kCorrupt, "metadata record", fmt::format("{}: its {} cannot be", entry.key, fault));
  return record;
}

template Result<pb::Region> decode(const Entry&);
template Result<pb::Server> decode(const Entry&);
template Result<pb::Volume> decode(const Entry&);
template Result<pb::Attachment> decode(const Entry&);
template Result<pb::DriverHint> decode(const Entry&);
template Result<pb::VolumeServer> decode(const Entry&);
template Result<pb::Volumelet> decode(const Entry&);
template Result<pb::LearnedRecord> decode(const Entry&);
template Result<pb::Model> decode(const Entry&);
template Result<pb::ModelPart> decode(const Entry&);

pb::Nonce make_nonce(uint64_t writer, uint64_t n) {
  pb::Nonce nonce;
  nonce.set_writer(writer);
  nonce.set_n(n);
  return nonce;
}

}  // namespace foreshard::meta
