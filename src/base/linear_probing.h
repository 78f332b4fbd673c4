// Taking an element out of a table with linear probing without leaving a tombstone: what was displaced by it moves back
// (Knuth, The Art of Computer Programming 3, 6.4, algorithm R). Owner: nobody; plain arithmetic on the owner's table.
#pragma once

#include <cstddef>
#include <vector>

namespace foreshard {

// Frees place `hole`. The table's size is a power of two, and some place is free. `home`: of an element, where its
// search begins, below the size; `is_free`: of a place.
template <typename Place, typename Home, typename IsFree>
void take_out(std::vector<Place>& table, size_t hole, Home home, IsFree is_free) {
  const size_t mask = table.size() - 1;
  for (size_t next = (hole + 1) & mask; !is_free(table[next]); next = (next + 1) & mask) {
    if (((next - home(table[next])) & mask) < ((next - hole) & mask)) continue;
    table[hole] = table[next];
    hole = next;
  }
  table[hole] = Place{};
}

}  // namespace foreshard
