// The replica service's durable records, kept as notes in the chunk store's index: hosted ranges and fences.
// Keys: "range/" or "fence/", then the volume's id and (ranges) the first chunk, big-endian. Values: fixed
// structs with a version and a checksum.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/result.h"
#include "store/chunk_store.h"

namespace foreshard::server {

inline constexpr std::string_view kRangeNotePrefix = "range/";
inline constexpr std::string_view kFenceNotePrefix = "fence/";

struct RangeNote {
  uint32_t format_version;
  uint32_t checksum;  // CRC32C of the key and of the struct with this field zero
  uint64_t chunks;
  uint64_t replica;
  uint32_t complete;  // 0: some of what was durable here has been lost (R-INDEX)
  uint32_t reserved;
};
static_assert(sizeof(RangeNote) == 32);

// How far the fence's epoch has come: which grants may be running is what a restart must know (R-GRANT).
enum class FenceState : uint32_t {
  kOpening = 1,  // fenced, but grants of an earlier epoch may run
  kOpen = 2,     // only grants of this epoch may run
  kClosed = 3,   // its driver said Close: none runs
};

struct FenceNote {
  uint32_t format_version;
  uint32_t checksum;
  uint64_t epoch;  // the highest that has opened the volume here
  uint32_t state;  // FenceState
  uint32_t reserved;
};
static_assert(sizeof(FenceNote) == 24);

struct ParsedRange {
  VolumeId volume;
  uint64_t first_chunk = 0;
  uint64_t chunks = 0;
  ReplicaId replica;
  bool complete = true;
};
struct ParsedFence {
  VolumeId volume;
  Epoch epoch;
  FenceState state = FenceState::kOpening;
};

std::string range_note_key(VolumeId volume, uint64_t first_chunk);
std::string fence_note_key(VolumeId volume);
store::ChunkStore::Note encode_range_note(const ParsedRange& range);
store::ChunkStore::Note encode_fence_note(VolumeId volume, Epoch epoch, FenceState state);
// kCorrupt or kUnsupported, naming the key.
Result<ParsedRange> decode_range_note(const std::string& key, const std::string& value);
Result<ParsedFence> decode_fence_note(const std::string& key, const std::string& value);

}  // namespace foreshard::server
