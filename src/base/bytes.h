// Spans of bytes, little-endian loads and stores, and the sizes that everything agrees on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

namespace foreshard {

using ByteSpan = std::span<std::byte>;
using ConstByteSpan = std::span<const std::byte>;

inline constexpr uint64_t kSectorBytes = 512;      // the smallest unit that a client may address
inline constexpr uint64_t kPageBytes = 4096;       // unit of checksums, caching, transfer
inline constexpr uint64_t kChunkBytes = 1u << 20;  // unit of storage and copying
inline constexpr uint32_t kPagesPerChunk = kChunkBytes / kPageBytes;

inline ConstByteSpan as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view as_text(ConstByteSpan bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
template <class T>
  requires std::is_trivially_copyable_v<T>
ConstByteSpan object_bytes(const T& object) {
  return {reinterpret_cast<const std::byte*>(&object), sizeof(T)};
}
// Copies a fixed-size record out of bytes; the caller has checked the length.
template <class T>
  requires std::is_trivially_copyable_v<T>
T load_object(ConstByteSpan bytes) {
  T object;
  std::memcpy(&object, bytes.data(), sizeof(T));
  return object;
}

// Big-endian integers sort as bytes in the order of their values: the form of integers in keys.
inline void append_big_endian64(std::string& out, uint64_t value) {
  for (int shift = 56; shift >= 0; shift -= 8) out.push_back(static_cast<char>(value >> shift));
}
inline uint64_t load_big_endian64(std::string_view bytes) {
  uint64_t value = 0;
  for (int i = 0; i < 8; ++i) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

bool is_all_zero(ConstByteSpan bytes);

}  // namespace foreshard
