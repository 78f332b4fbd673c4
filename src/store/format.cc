#include "store/format.h"

#include <cstddef>

#include <fmt/format.h>

#include "base/crc32c.h"

namespace foreshard::store {
namespace {

Error newer_format(uint32_t version) {
  return Error{ErrorCode::kUnsupported, "chunk store", version,
               fmt::format("written by a newer foreshard (format {}, this one knows {}): start it with that version",
                           version, kStoreFormatVersion)};
}

template <class Record>
std::string seal(std::string_view key, Record record, ConstByteSpan tail = {}) {
  record.checksum = 0;
  uint32_t sum = crc32c(as_bytes(key));
  sum = crc32c(object_bytes(record), sum);
  record.checksum = crc32c(tail, sum);
  std::string value(as_text(object_bytes(record)));
  value.append(as_text(tail));
  return value;
}

template <class Record>
Result<Record> unseal(std::string_view key, std::string_view value) {
  if (value.size() < sizeof(Record)) return fail(ErrorCode::kCorrupt, "index record too short", value.size());
  Record record = load_object<Record>(as_bytes(value));
  const uint32_t wanted = record.checksum;
  record.checksum = 0;
  uint32_t sum = crc32c(as_bytes(key));
  sum = crc32c(object_bytes(record), sum);
  sum = crc32c(as_bytes(value.substr(sizeof(Record))), sum);
  if (sum != wanted) return fail(ErrorCode::kCorrupt, "index record checksum", sum);
  record.checksum = wanted;
  if (record.format_version > kStoreFormatVersion) return fail(newer_format(record.format_version));
  return record;
}

template <class Record>
Result<Record> unseal_exactly(std::string_view key, std::string_view value) {
  TRY(const Record record, unseal<Record>(key, value));
  if (value.size() != sizeof(Record)) return fail(ErrorCode::kCorrupt, "index record length", value.size());
  return record;
}

void append_big_endian32(std::string& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(value >> shift));
}

constexpr size_t kChunkKeyBytes = 1 + 8 + 8 + 4;

}  // namespace

uint32_t page_checksum(const PageIdentity& identity, ConstByteSpan page) {
  return crc32c(page, crc32c(object_bytes(identity)));
}

// ---- keys

std::string chunk_key(const ChunkKey& key) {
  std::string text = "c";
  append_big_endian64(text, key.volume.value);
  append_big_endian64(text, key.chunk);
  append_big_endian32(text, key.layer);
  return text;
}

std::string slot_key(uint64_t slot) {
  std::string text = "s";
  append_big_endian64(text, slot);
  return text;
}

std::string note_key(std::string_view key) { return "n" + std::string(key); }

std::string prefix_end(std::string prefix) {
  while (!prefix.empty() && static_cast<uint8_t>(prefix.back()) == 0xff) prefix.pop_back();
  if (!prefix.empty()) prefix.back() = static_cast<char>(static_cast<uint8_t>(prefix.back()) + 1);
  return prefix;
}

std::optional<ChunkKey> parse_chunk_key(std::string_view key) {
  if (key.size() != kChunkKeyBytes || key[0] != 'c') return std::nullopt;
  ChunkKey parsed;
  parsed.volume = VolumeId{load_big_endian64(key.substr(1))};
  parsed.chunk = load_big_endian64(key.substr(9));
  for (int i = 17; i < 21; ++i) parsed.layer = parsed.layer << 8 | static_cast<uint8_t>(key[i]);
  return parsed;
}

std::optional<uint64_t> parse_slot_key(std::string_view key) {
  if (key.size() != 9 || key[0] != 's') return std::nullopt;
  return load_big_endian64(key.substr(1));
}

// ---- values

void seal_superblock(Superblock& superblock) {
  superblock.checksum = 0;
  superblock.checksum = crc32c(object_bytes(superblock));
}

Result<Superblock> parse_superblock(ConstByteSpan page) {
  if (page.size() != sizeof(Superblock)) return fail(ErrorCode::kCorrupt, "superblock length", page.size());
  auto superblock = load_object<Superblock>(page);
  if (superblock.magic != kStoreMagic) return fail(ErrorCode::kCorrupt, "superblock magic", superblock.magic);
  const uint32_t wanted = superblock.checksum;
  seal_superblock(superblock);
  if (superblock.checksum != wanted) return fail(ErrorCode::kCorrupt, "superblock checksum", wanted);
  if (superblock.format_version > kStoreFormatVersion) return fail(newer_format(superblock.format_version));
  if (superblock.chunk_bytes != kChunkBytes || superblock.page_bytes != kPageBytes || superblock.slot_file_bytes == 0 ||
      superblock.slot_file_bytes % kChunkBytes != 0)
    return fail(ErrorCode::kCorrupt, "superblock geometry", superblock.slot_file_bytes);
  return superblock;
}

std::string encode_chunk(std::string_view key, ChunkRecord record, const PageSums* sums) {
  return seal(key, record, sums == nullptr ? ConstByteSpan() : object_bytes(*sums));
}

Result<ParsedChunk> parse_chunk(std::string_view key, std::string_view value) {
  TRY(const ChunkRecord record, unseal<ChunkRecord>(key, value));
  const size_t tail = record.slot == kNoSlot ? 0 : sizeof(PageSums);
  if (value.size() != sizeof(ChunkRecord) + tail) return fail(ErrorCode::kCorrupt, "chunk record length", value.size());
  bool any_data = false;
  for (const uint64_t word : record.map) {
    if ((word & word >> 1 & 0x5555555555555555ull) != 0) return fail(ErrorCode::kCorrupt, "chunk record page map");
    any_data |= (word & 0x5555555555555555ull) != 0;
  }
  if (any_data && tail == 0) return fail(ErrorCode::kCorrupt, "chunk record without a slot for its data");
  ParsedChunk parsed{record, std::nullopt};
  if (tail != 0) parsed.sums = load_object<PageSums>(as_bytes(value.substr(sizeof(ChunkRecord))));
  return parsed;
}

std::string encode_slot(std::string_view key, SlotRecord record) { return seal(key, record); }
Result<SlotRecord> parse_slot(std::string_view key, std::string_view value) {
  return unseal_exactly<SlotRecord>(key, value);
}

void seal_dirty_page(DirtyLogPage& page) {
  page.checksum = 0;
  page.checksum = crc32c(object_bytes(page));
}

Result<DirtyLogPage> parse_dirty_page(ConstByteSpan bytes) {
  if (bytes.size() != sizeof(DirtyLogPage)) return fail(ErrorCode::kCorrupt, "dirty log page length", bytes.size());
  auto page = load_object<DirtyLogPage>(bytes);
  if (page.magic != kDirtyLogMagic) return fail(ErrorCode::kCorrupt, "dirty log page magic");
  const uint32_t wanted = page.checksum;
  seal_dirty_page(page);
  if (page.checksum != wanted) return fail(ErrorCode::kCorrupt, "dirty log page checksum", wanted);
  if (page.format_version > kStoreFormatVersion) return fail(newer_format(page.format_version));
  if (page.count > kDirtyEntriesPerPage) return fail(ErrorCode::kCorrupt, "dirty log page count", page.count);
  return page;
}

}  // namespace foreshard::store
