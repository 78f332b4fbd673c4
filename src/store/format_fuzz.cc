// Any bytes for the decoders of what is on disk: they answer with an error or with a record that encodes to the
// same bytes again.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "store/format.h"

namespace {

using namespace foreshard;
using namespace foreshard::store;

// Puts the right checksum where a record has it, so that the fuzzer gets past that check.
std::string with_checksum(std::string_view key, std::string value, bool is_chunk) {
  if (is_chunk && value.size() >= sizeof(ChunkRecord)) {
    const auto record = load_object<ChunkRecord>(as_bytes(value));
    if (value.size() == sizeof(ChunkRecord) + sizeof(PageSums)) {
      const auto sums = load_object<PageSums>(as_bytes(value).subspan(sizeof(ChunkRecord)));
      return encode_chunk(key, record, &sums);
    }
    return encode_chunk(key, record, nullptr);
  }
  if (value.size() >= sizeof(SlotRecord)) return encode_slot(key, load_object<SlotRecord>(as_bytes(value)));
  return value;
}

void check(bool holds) {
  if (!holds) std::abort();
}

void decode(std::string_view key, std::string_view value) {
  if (const Result<ParsedChunk> chunk = parse_chunk(key, value))
    check(encode_chunk(key, chunk->record, chunk->sums ? &*chunk->sums : nullptr) == value);
  if (const Result<SlotRecord> slot = parse_slot(key, value)) check(encode_slot(key, *slot) == value);
}

void decode_superblock(std::string_view bytes) {
  std::string page(bytes.substr(0, kPageBytes));
  page.resize(kPageBytes);
  (void)parse_superblock(as_bytes(page));
  auto superblock = load_object<Superblock>(as_bytes(page));
  superblock.magic = kStoreMagic;
  seal_superblock(superblock);
  if (const Result<Superblock> parsed = parse_superblock(object_bytes(superblock)))
    check(as_text(object_bytes(*parsed)) == as_text(object_bytes(superblock)));
}

void decode_dirty_page(std::string_view bytes) {
  std::string page(bytes.substr(0, kPageBytes));
  page.resize(kPageBytes);
  (void)parse_dirty_page(as_bytes(page));
  auto sealed = load_object<DirtyLogPage>(as_bytes(page));
  sealed.magic = kDirtyLogMagic;
  seal_dirty_page(sealed);
  if (const Result<DirtyLogPage> parsed = parse_dirty_page(object_bytes(sealed)))
    check(parsed->count <= kDirtyEntriesPerPage);
}

}  // namespace

// The page map of a chunk with its pages as the bytes say, which is what most records look like.
void decode_likely_chunk(std::string_view bytes) {
  ChunkRecord record{};
  record.format_version = kStoreFormatVersion;
  record.slot = bytes.size() % 2 == 0 ? kNoSlot : bytes.size();
  std::memcpy(record.map.data(), bytes.data(), std::min(bytes.size(), sizeof(record.map)));
  const std::string key = chunk_key({VolumeId{1}, 0, bytes.size()});
  const PageSums sums{};
  for (const PageSums* with : {static_cast<const PageSums*>(nullptr), &sums})
    decode(key, encode_chunk(key, record, with));
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const size_t key_bytes = bytes.empty() ? 0 : std::min<size_t>(static_cast<uint8_t>(bytes[0]) % 24, size - 1);
  const std::string_view key = bytes.substr(bytes.empty() ? 0 : 1, key_bytes);
  const std::string_view value = bytes.substr(bytes.empty() ? 0 : 1 + key_bytes);
  if (const auto parsed = parse_chunk_key(key)) check(chunk_key(*parsed) == key);
  if (const auto slot = parse_slot_key(key)) check(slot_key(*slot) == key);
  decode(key, value);
  decode(key, with_checksum(key, std::string(value), true));
  decode(key, with_checksum(key, std::string(value), false));
  decode_likely_chunk(value);
  (void)slot_key(0);
  if (!value.empty()) {
    const std::string end = prefix_end(std::string(value));
    check(end.empty() || end > value);
  }
  const PageIdentity identity{};
  (void)page_checksum(identity, as_bytes(value));
  (void)parse_superblock(as_bytes(value));
  (void)parse_dirty_page(as_bytes(value));
  check(note_key(value).size() == value.size() + 1);
  decode_superblock(value);
  decode_dirty_page(value);
  return 0;
}
