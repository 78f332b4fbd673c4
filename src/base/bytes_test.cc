// Proved here: checksums are CRC32C as published and continue over cuts, big-endian integers sort as their values,
// zero is told from almost zero, and buffers are aligned, whole and do not leak another's bytes as zeros.
#include "base/bytes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "base/buffer.h"
#include "base/crc32c.h"
#include "base/random.h"

namespace foreshard {
namespace {

// Bit by bit, from the polynomial.
uint32_t slow_crc32c(ConstByteSpan bytes) {
  uint32_t crc = ~0u;
  for (const std::byte b : bytes) {
    crc ^= static_cast<uint8_t>(b);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0);
  }
  return ~crc;
}

TEST(Crc32c, IsThePublishedOne) {
  EXPECT_EQ(crc32c(as_bytes("123456789")), 0xe3069283u);
  Random random(1);
  for (size_t size : {0, 1, 7, 8, 63, 64, 4096, 5000}) {
    Buffer buffer = Buffer::allocate(size);
    for (std::byte& b : buffer.span()) b = static_cast<std::byte>(random.next());
    EXPECT_EQ(crc32c(buffer.span()), slow_crc32c(buffer.span())) << size;
    const size_t cut = size == 0 ? 0 : random.below(size);
    const uint32_t head = crc32c(buffer.subspan(0, cut));
    EXPECT_EQ(crc32c(buffer.subspan(cut, size - cut), head), crc32c(buffer.span())) << size << " cut " << cut;
  }
}

TEST(Bytes, BigEndianSortsAsNumbersDo) {
  Random random(2);
  for (int i = 0; i < 1000; ++i) {
    const uint64_t a = random.next() >> random.below(64), b = random.next() >> random.below(64);
    std::string text_a, text_b;
    append_big_endian64(text_a, a);
    append_big_endian64(text_b, b);
    ASSERT_EQ(text_a < text_b, a < b);
    ASSERT_EQ(load_big_endian64(text_a), a);
  }
}

TEST(Bytes, AllZeroSeesEveryByte) {
  for (size_t size : {1, 8, 100, 4096}) {
    Buffer buffer = Buffer::zeroed(size);
    EXPECT_TRUE(is_all_zero(buffer.span()));
    for (size_t at = 0; at < size; ++at) {
      buffer.data()[at] = std::byte{1};
      ASSERT_FALSE(is_all_zero(buffer.span())) << size << " " << at;
      buffer.data()[at] = std::byte{0};
    }
  }
  EXPECT_TRUE(is_all_zero({}));
}

TEST(Buffer, IsAlignedAndReused) {
  for (int round = 0; round < 3; ++round) {
    for (size_t size : {1, 4096, 4097, 1 << 20, 5 << 20}) {
      Buffer dirty = Buffer::allocate(size);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(dirty.data()) % kPageBytes, 0u);
      EXPECT_EQ(dirty.size(), size);
      std::memset(dirty.data(), 0xee, size);
      dirty = Buffer();
      const Buffer clean = Buffer::zeroed(size);
      EXPECT_TRUE(is_all_zero(clean.span())) << size;
    }
  }
}

// Sizes that share a list of freed memory and sizes that do not, held all at once and written in full: none runs into
// another, whatever was freed before.
TEST(Buffer, HoldsWhatWasAskedForAtEverySize) {
  for (int round = 0; round < 2; ++round) {
    std::vector<Buffer> held;
    for (size_t pages = 1; pages <= 600; pages += pages < 70 ? 1 : 37) {
      for (const size_t size : {(pages - 1) * kPageBytes + 1, pages * kPageBytes}) {
        Buffer& buffer = held.emplace_back(Buffer::allocate(size));
        std::memset(buffer.data(), static_cast<int>(held.size() % 251), size);
      }
      if (pages % 3 == 0) held[pages % held.size()] = Buffer();
    }
    for (size_t i = 0; i < held.size(); ++i) {
      const auto wanted = static_cast<std::byte>((i + 1) % 251);
      const ConstByteSpan bytes = held[i].span();
      EXPECT_TRUE(std::ranges::all_of(bytes, [&](std::byte b) { return b == wanted; })) << i;
    }
  }
}

TEST(Buffer, MovesItsMemory) {
  Buffer one = Buffer::copy_of(as_bytes("hello"));
  const std::byte* data = one.data();
  Buffer two = std::move(one);
  EXPECT_EQ(two.data(), data);
  EXPECT_EQ(as_text(two.span()), "hello");
  Buffer three;
  three = std::move(two);
  EXPECT_EQ(three.data(), data);
  EXPECT_TRUE(Buffer().empty());
}

}  // namespace
}  // namespace foreshard
