// The typed records of the metadata store (records.proto): where each lies, and how it is written and read.
// Whatever comes out of the store is checked before anyone believes it: a record that does not parse, or does
// not fit its key, is kCorrupt with the key in the detail.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/random.h"
#include "base/result.h"
#include "meta/meta.h"
#include "meta/records.pb.h"

namespace foreshard::meta {

// ---- keys

// 16 lower-case hexadecimal digits, so that keys sort as numbers do.
std::string hex_id(uint64_t value);
std::optional<uint64_t> parse_hex_id(std::string_view text);

std::string region_key();
std::string servers_prefix();
std::string server_key(ServerId server);
// There, under a lease, while the server lives: a hint. The record itself stays.
std::string server_alive_key(ServerId server);
std::string volumes_prefix();
std::string volume_key(std::string_view name);
// Everything of a volume but its Volume record.
std::string volume_prefix(VolumeId volume);
// Exists exactly as long as the volume does; its value is the name. Servers look here before they delete (R-GC).
std::string volume_exists_key(VolumeId volume);
std::string attachment_key(VolumeId volume);
std::string alive_key(VolumeId volume);
std::string volume_servers_prefix(VolumeId volume);
std::string volume_server_key(VolumeId volume, ServerId server);
std::string volumelets_prefix(VolumeId volume);
std::string volumelet_key(VolumeId volume, uint64_t first_chunk);
// What prefetching has learned of a subject: the record, and the state itself.
std::string learned_prefix();
std::string learned_key(std::string_view subject);
std::string learned_state_key(std::string_view subject);
// Models are numbered upward.
std::string models_prefix();
std::string model_key(uint64_t number);
std::string model_parts_prefix();
std::string model_parts_prefix(uint64_t number);
std::string model_part_key(uint64_t number, uint64_t part);
// The number at the end of such a key: a server's id, a first chunk. kCorrupt when there is none.
Result<uint64_t> number_of_key(std::string_view key);

// ---- values

inline constexpr uint32_t kRegionFormatVersion = 1;
inline constexpr uint32_t kReplicasMax = 16;
inline constexpr uint64_t kModelBytesMax = 8u << 20;
inline constexpr uint64_t kModelPartBytes = 512u << 10;  // all but the last are as large
inline constexpr size_t kModelSummaryBytesMax = 200;
// Parts of a model's file of so many bytes.
constexpr uint64_t model_parts(uint64_t file_bytes) { return (file_bytes + kModelPartBytes - 1) / kModelPartBytes; }

template <class Record>
std::string encode(const Record& record) {
  return record.SerializeAsString();
}

// Defined for Region, Server, Volume, Attachment, DriverHint, VolumeServer, Volumelet, LearnedRecord, Model and
// ModelPart.
template <class Record>
Result<Record> decode(const Entry& entry);

// A number for one transaction of one writer; who writes keeps its own writer number, drawn once.
pb::Nonce make_nonce(uint64_t writer, uint64_t n);

}  // namespace foreshard::meta
