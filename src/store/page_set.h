// PageSet: a set of pages of one chunk.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "base/bytes.h"

namespace foreshard::store {

class PageSet {
 public:
  using Words = std::array<uint64_t, kPagesPerChunk / 64>;

  PageSet() = default;
  explicit PageSet(const Words& words) : words_(words) {}
  static PageSet range(uint32_t first, uint32_t count) {
    PageSet set;
    for (uint32_t page = first; page < first + count; ++page) set.add(page);
    return set;
  }

  bool contains(uint32_t page) const { return words_[page / 64] >> (page % 64) & 1; }
  void add(uint32_t page) { words_[page / 64] |= uint64_t{1} << (page % 64); }
  bool empty() const { return (words_[0] | words_[1] | words_[2] | words_[3]) == 0; }
  uint32_t count() const {
    uint32_t sum = 0;
    for (const uint64_t word : words_) sum += static_cast<uint32_t>(std::popcount(word));
    return sum;
  }
  PageSet& operator|=(const PageSet& other) {
    for (size_t i = 0; i < words_.size(); ++i) words_[i] |= other.words_[i];
    return *this;
  }
  PageSet& operator&=(const PageSet& other) {
    for (size_t i = 0; i < words_.size(); ++i) words_[i] &= other.words_[i];
    return *this;
  }
  PageSet& operator-=(const PageSet& other) {
    for (size_t i = 0; i < words_.size(); ++i) words_[i] &= ~other.words_[i];
    return *this;
  }
  friend PageSet operator|(PageSet a, const PageSet& b) { return a |= b; }
  friend PageSet operator&(PageSet a, const PageSet& b) { return a &= b; }
  friend PageSet operator-(PageSet a, const PageSet& b) { return a -= b; }
  bool operator==(const PageSet&) const = default;
  const Words& words() const { return words_; }

 private:
  static_assert(kPagesPerChunk == 256);
  Words words_{};
};

}  // namespace foreshard::store
