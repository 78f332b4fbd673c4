// PageCensus: counts different pages, by a bitmap for each chunk that was touched. Memory: some 80 bytes a chunk, so
// that a trace of a terabyte takes 80 MiB.
#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>

#include "base/bytes.h"

namespace foreshard::policy {

class PageCensus {
 public:
  // `page`: the key of a page; keys of one chunk are neighbours.
  void add(uint64_t first_page, uint64_t pages) {
    for (uint64_t page = first_page; page < first_page + pages; ++page) {
      uint64_t& word = chunks_[page / kPagesPerChunk][page % kPagesPerChunk / 64];
      const uint64_t bit = uint64_t{1} << page % 64;
      pages_ += (word & bit) == 0;
      word |= bit;
    }
  }
  uint64_t pages() const { return pages_; }

 private:
  // Only looked up, never walked: its order decides nothing.
  std::unordered_map<uint64_t, std::array<uint64_t, kPagesPerChunk / 64>> chunks_;
  uint64_t pages_ = 0;
};

}  // namespace foreshard::policy
