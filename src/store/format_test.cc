// Proves that records come back as they went in, that any flipped bit is noticed, that a record does not pass
// under another key, and that a newer format is refused with what to do.
#include "store/format.h"

#include <gtest/gtest.h>

namespace foreshard::store {
namespace {

TEST(Format, KeysSortLikeWhatTheyName) {
  const ChunkKey a{VolumeId{1}, 7, 255}, b{VolumeId{1}, 0, 256}, c{VolumeId{256}, 0, 0};
  EXPECT_LT(chunk_key(a), chunk_key(b));
  EXPECT_LT(chunk_key(b), chunk_key(c));
  EXPECT_EQ(parse_chunk_key(chunk_key(a)), a);
  EXPECT_EQ(parse_slot_key(slot_key(77)), 77u);
  EXPECT_FALSE(parse_slot_key("t"));
  EXPECT_FALSE(parse_chunk_key(slot_key(77)));
  EXPECT_EQ(prefix_end("ab"), "ac");
  EXPECT_EQ(prefix_end("a\xff"), "b");
  EXPECT_EQ(prefix_end("\xff"), "");
}

TEST(Format, EveryFlippedBitOfARecordIsNoticed) {
  PageSums sums{};
  for (size_t i = 0; i < sums.size(); ++i) sums[i] = static_cast<uint32_t>(i * 7919);
  ChunkRecord record;
  record.slot = 12;
  record.generation = 34;
  record.map[3] = 0x5555;
  const std::string value = encode_chunk("key", record, &sums);
  const Result<ParsedChunk> parsed = parse_chunk("key", value);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->record.slot, 12u);
  EXPECT_EQ(parsed->record.map, record.map);
  EXPECT_EQ(*parsed->sums, sums);
  EXPECT_FALSE(parse_chunk("other key", value));
  for (size_t bit = 0; bit < value.size() * 8; ++bit) {
    std::string flipped = value;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ 1 << bit % 8);
    EXPECT_FALSE(parse_chunk("key", flipped)) << bit;
  }
  for (size_t length = 0; length < value.size(); ++length) EXPECT_FALSE(parse_chunk("key", value.substr(0, length)));
}

TEST(Format, DataNeedsASlot) {
  ChunkRecord record;
  record.map[0] = 1;
  EXPECT_FALSE(parse_chunk("key", encode_chunk("key", record, nullptr)));
  record.map[0] = 3;  // no such state
  EXPECT_FALSE(parse_chunk("key", encode_chunk("key", record, nullptr)));
  record.map[0] = 2;
  EXPECT_TRUE(parse_chunk("key", encode_chunk("key", record, nullptr)));
}

TEST(Format, SmallRecordsComeBack) {
  const std::string slot = encode_slot("s", {.generation = 5, .volume = 6, .chunk = 7, .layer = 8});
  EXPECT_EQ(parse_slot("s", slot)->chunk, 7u);
  EXPECT_FALSE(parse_slot("s", slot + "x"));
  EXPECT_FALSE(parse_slot("t", slot));
}

TEST(Format, ATornPageOfTheDirtyLogIsNoticed) {
  DirtyLogPage page;
  page.sequence = 9;
  page.count = 1;
  page.entries[0] = {.slot = 3, .pages = PageSet::range(3, 2).words()};
  seal_dirty_page(page);
  const Result<DirtyLogPage> parsed = parse_dirty_page(object_bytes(page));
  ASSERT_TRUE(parsed);
  EXPECT_EQ(PageSet(parsed->entries[0].pages).count(), 2u);
  for (size_t sector = 0; sector < kPageBytes; sector += kSectorBytes) {
    DirtyLogPage newer = page;
    newer.sequence = 10;
    newer.entries.fill({.slot = 4, .generation = 5});
    seal_dirty_page(newer);
    std::string torn(as_text(object_bytes(newer)));
    torn.replace(sector, kSectorBytes, as_text(object_bytes(page)).substr(sector, kSectorBytes));
    if (torn != as_text(object_bytes(newer))) EXPECT_FALSE(parse_dirty_page(as_bytes(torn))) << sector;
  }
  page.count = kDirtyEntriesPerPage + 1;
  seal_dirty_page(page);
  EXPECT_FALSE(parse_dirty_page(object_bytes(page)));
}

TEST(Format, ANewerFormatIsRefusedWithWhatToDo) {
  Superblock superblock;
  superblock.slot_file_bytes = kChunkBytes;
  seal_superblock(superblock);
  EXPECT_TRUE(parse_superblock(object_bytes(superblock)));
  superblock.format_version = kStoreFormatVersion + 1;
  seal_superblock(superblock);
  const Result<Superblock> parsed = parse_superblock(object_bytes(superblock));
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(parsed.error().detail.find("newer foreshard"), std::string::npos);
}

TEST(Format, APageElsewhereDoesNotMatch) {
  std::string page(kPageBytes, 'p');
  const PageIdentity here{1, 2, 3, 4};
  const uint32_t sum = page_checksum(here, as_bytes(page));
  EXPECT_EQ(page_checksum(here, as_bytes(page)), sum);
  EXPECT_NE(page_checksum({2, 2, 3, 4}, as_bytes(page)), sum);
  EXPECT_NE(page_checksum({1, 3, 3, 4}, as_bytes(page)), sum);
  EXPECT_NE(page_checksum({1, 2, 4, 4}, as_bytes(page)), sum);
  EXPECT_NE(page_checksum({1, 2, 3, 5}, as_bytes(page)), sum);
  page[17] ^= 1;
  EXPECT_NE(page_checksum(here, as_bytes(page)), sum);
}

}  // namespace
}  // namespace foreshard::store
