// History: a bounded table of what followed each position of a volume the last two times it was read. A neural model
// takes it as an input and can answer "as the last time", so that it names places that no vocabulary holds.
// Owner: the volume's tokens. Memory: 32 bytes an entry, sets of two; the one not touched for longer gives way.
#pragma once

#include <cstdint>
#include <vector>

namespace foreshard::policy {

class History {
 public:
  struct Entry {
    int64_t next = 0;             // what followed the last time
    int64_t next_before = 0;      // and the time before
    uint32_t tag = 0;             // of the position; 0: free
    uint32_t touched : 29 = 0;
    uint32_t followed : 3 = 0;    // how many times something has, up to 7
    uint32_t first_page = 0;      // where the last access lay: files within the file, block requests from 0
    uint32_t end_page = 0;
  };
  static_assert(sizeof(Entry) == 32);

  explicit History(uint32_t entries);  // a power of two, at least 2
  void clear();
  const Entry* find(uint64_t position) const;
  Entry& find_or_add(uint64_t position);
  uint32_t entries() const { return static_cast<uint32_t>(entries_.size()); }
  uint64_t memory_bytes_max() const { return entries_.size() * sizeof(Entry); }

 private:
  static uint32_t tag_of(uint64_t hash) { return static_cast<uint32_t>(hash >> 32) | 1; }
  std::vector<Entry> entries_;
  uint64_t mask_;  // of sets
  uint32_t clock_ = 0;
};

}  // namespace foreshard::policy
