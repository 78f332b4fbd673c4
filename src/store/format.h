// What a chunk store keeps on disk: the superblock, the keys and values of its index, and how pages are summed.
// docs/internals/chunk-store.md is its prose twin. All integers are little-endian; in keys big-endian.
//
// A store is a folder:
//   superblock   two copies of Superblock, a page each, written in turn
//   slots/N      slots of kChunkBytes, in files of slot_file_bytes
//   dirty        a ring of DirtyLogPage: the pages that may mismatch after a crash (dirty_log.h)
//   index/       "c" volume chunk layer -> ChunkRecord (and checksums when it has a slot)
//                "s" slot               -> SlotRecord, for every slot that a chunk record names
//                "n" key                -> a note of the server
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/result.h"
#include "store/chunk_store.h"
#include "store/page_set.h"

namespace foreshard::store {

inline constexpr uint64_t kStoreMagic = 0x3165726f74736466ull;  // "fdstore1"
inline constexpr uint32_t kStoreFormatVersion = 1;
inline constexpr uint64_t kNoSlot = UINT64_MAX;

// The copy with the higher write_count of those that are whole is the one that counts. The first four fields
// keep their place and meaning in every format.
struct Superblock {
  uint64_t magic = kStoreMagic;
  uint32_t format_version = kStoreFormatVersion;
  uint32_t checksum = 0;     // CRC32C of the page with this field zero
  uint64_t write_count = 0;  // the copy in page write_count % 2
  uint64_t uuid = 0;
  uint64_t loss = 0;            // R-LOSS
  uint64_t opens = 0;           // the high half of slot generations drawn since
  uint64_t index_sequence = 0;  // the index opens at this sequence or later, or is short (R-INDEX)
  uint64_t slot_file_bytes = 0;
  uint64_t prepared_slots = 0;  // slots below have been written at least once; only a hint
  uint32_t chunk_bytes = kChunkBytes;
  uint32_t page_bytes = kPageBytes;
  uint32_t clean = 0;       // closed in good order: nothing to recover
  uint32_t incomplete = 0;  // the index has opened short and the server has not yet settled it
  std::array<uint8_t, kPageBytes - 88> reserved{};
};
static_assert(sizeof(Superblock) == kPageBytes);

// A chunk's pages. Followed, when slot is not kNoSlot, by kPagesPerChunk uint32_t: the checksums of its pages,
// which count for data pages only.
struct ChunkRecord {
  uint32_t format_version = kStoreFormatVersion;
  uint32_t checksum = 0;  // CRC32C of the key and of the value with this field zero; so in all records
  uint64_t slot = kNoSlot;
  uint64_t generation = 0;
  uint64_t epoch = 0;
  uint64_t sequence = 0;
  uint64_t names_from = 0;  // records of the dirty log below this sequence are made up for by these checksums
  std::array<uint64_t, kPagesPerChunk / 32> map{};  // two bits a page: PageState
};
static_assert(sizeof(ChunkRecord) == 112);

// Who has a slot.
struct SlotRecord {
  uint32_t format_version = kStoreFormatVersion;
  uint32_t checksum = 0;
  uint64_t generation = 0;
  uint64_t volume = 0;
  uint64_t chunk = 0;
  uint32_t layer = 0;
  uint32_t reserved = 0;
};
static_assert(sizeof(SlotRecord) == 40);

inline constexpr uint64_t kDirtyLogMagic = 0x31676f6c64736466ull;  // "fdsdlog1"

// Pages of a slot that are about to be written in place (R-TORN).
struct DirtyEntry {
  uint64_t slot = 0;
  uint64_t generation = 0;
  uint64_t volume = 0;
  uint64_t chunk = 0;
  uint32_t layer = 0;
  uint32_t reserved = 0;
  PageSet::Words pages{};
};
static_assert(sizeof(DirtyEntry) == 72);

inline constexpr size_t kDirtyEntriesPerPage = 56;

struct DirtyLogPage {
  uint64_t magic = kDirtyLogMagic;
  uint32_t format_version = kStoreFormatVersion;
  uint32_t checksum = 0;  // CRC32C of the page with this field zero
  uint64_t store = 0;
  uint64_t sequence = 0;
  uint32_t count = 0;  // of the entries
  uint32_t reserved = 0;
  std::array<DirtyEntry, kDirtyEntriesPerPage> entries{};
  std::array<uint8_t, 24> padding{};
};
static_assert(sizeof(DirtyLogPage) == kPageBytes);

using PageSums = std::array<uint32_t, kPagesPerChunk>;

// What is summed before a page's bytes: the right bytes in the wrong place do not match.
struct PageIdentity {
  uint64_t store = 0;
  uint64_t slot = 0;
  uint64_t generation = 0;
  uint64_t page = 0;
};
static_assert(sizeof(PageIdentity) == 32);
uint32_t page_checksum(const PageIdentity& identity, ConstByteSpan page);

// ---- keys
std::string chunk_key(const ChunkKey& key);
std::string slot_key(uint64_t slot);
std::string note_key(std::string_view key);
// The first key after all that start with the prefix.
std::string prefix_end(std::string prefix);
std::optional<ChunkKey> parse_chunk_key(std::string_view key);
std::optional<uint64_t> parse_slot_key(std::string_view key);

// ---- values; the parsers take any bytes and give kCorrupt, or kUnsupported for a newer format
void seal_superblock(Superblock& superblock);
Result<Superblock> parse_superblock(ConstByteSpan page);

struct ParsedChunk {
  ChunkRecord record;
  std::optional<PageSums> sums;
};
std::string encode_chunk(std::string_view key, ChunkRecord record, const PageSums* sums);
Result<ParsedChunk> parse_chunk(std::string_view key, std::string_view value);
std::string encode_slot(std::string_view key, SlotRecord record);
Result<SlotRecord> parse_slot(std::string_view key, std::string_view value);
void seal_dirty_page(DirtyLogPage& page);
Result<DirtyLogPage> parse_dirty_page(ConstByteSpan page);

}  // namespace foreshard::store
