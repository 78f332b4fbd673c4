#include "server/format.h"

#include <fmt/format.h>

#include "base/crc32c.h"

namespace foreshard::server {
namespace {

constexpr uint32_t kNoteFormatVersion = 1;

template <class Note>
uint32_t note_checksum(const std::string& key, Note note) {
  note.checksum = 0;
  return crc32c(object_bytes(note), crc32c(as_bytes(key)));
}

template <class Note>
store::ChunkStore::Note seal(std::string key, Note note) {
  note.format_version = kNoteFormatVersion;
  note.checksum = note_checksum(key, note);
  const ConstByteSpan bytes = object_bytes(note);
  return {std::move(key), std::string(as_text(bytes))};
}

// The note behind a key, checked; `suffix_bytes` of integers follow the prefix in the key.
template <class Note>
Result<Note> unseal(const std::string& key, const std::string& value, std::string_view prefix, size_t suffix_bytes) {
  if (value.size() != sizeof(Note) || key.size() != prefix.size() + suffix_bytes || !key.starts_with(prefix))
    return fail(ErrorCode::kCorrupt, "server record",
                fmt::format("{} bytes under a key of {}", value.size(), key.size()));
  const Note note = load_object<Note>(as_bytes(value));
  if (note.checksum != note_checksum(key, note)) return fail(ErrorCode::kCorrupt, "server record: checksum");
  if (note.format_version != kNoteFormatVersion)
    return fail(
        ErrorCode::kUnsupported, "server record",
        fmt::format("format {} is newer than this program knows; run the newer foreshard", note.format_version));
  return note;
}

}  // namespace

std::string range_note_key(VolumeId volume, uint64_t first_chunk) {
  std::string key(kRangeNotePrefix);
  append_big_endian64(key, volume.value);
  append_big_endian64(key, first_chunk);
  return key;
}

std::string fence_note_key(VolumeId volume) {
  std::string key(kFenceNotePrefix);
  append_big_endian64(key, volume.value);
  return key;
}

store::ChunkStore::Note encode_range_note(const ParsedRange& range) {
  RangeNote note{};
  note.chunks = range.chunks;
  note.replica = range.replica.value;
  note.complete = range.complete ? 1 : 0;
  return seal(range_note_key(range.volume, range.first_chunk), note);
}

store::ChunkStore::Note encode_fence_note(VolumeId volume, Epoch epoch, FenceState state) {
  FenceNote note{};
  note.epoch = epoch.value;
  note.state = static_cast<uint32_t>(state);
  return seal(fence_note_key(volume), note);
}

Result<ParsedRange> decode_range_note(const std::string& key, const std::string& value) {
  TRY(const RangeNote note, unseal<RangeNote>(key, value, kRangeNotePrefix, 16));
  const std::string_view ids = std::string_view(key).substr(kRangeNotePrefix.size());
  const ParsedRange range{VolumeId{load_big_endian64(ids)}, load_big_endian64(ids.substr(8)), note.chunks,
                          ReplicaId{note.replica}, note.complete == 1};
  const bool overflows = range.first_chunk + range.chunks < range.first_chunk;
  if (range.chunks == 0 || overflows || note.complete > 1 || note.reserved != 0)
    return fail(ErrorCode::kCorrupt, "server record: range");
  return range;
}

Result<ParsedFence> decode_fence_note(const std::string& key, const std::string& value) {
  TRY(const FenceNote note, unseal<FenceNote>(key, value, kFenceNotePrefix, 8));
  const std::string_view id = std::string_view(key).substr(kFenceNotePrefix.size());
  if (note.state < 1 || note.state > 3 || note.reserved != 0)
    return fail(ErrorCode::kCorrupt, "server record: fence state");
  return ParsedFence{VolumeId{load_big_endian64(id)}, Epoch{note.epoch}, static_cast<FenceState>(note.state)};
}

}  // namespace foreshard::server
