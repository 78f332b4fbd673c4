#include "store/chunk_store.h"

namespace foreshard::store {

bool PageMap::any_data() const {
  constexpr uint64_t kDataBits = 0x5555555555555555ull;
  for (uint64_t word : words_)
    if ((word & kDataBits) != 0) return true;
  return false;
}

}  // namespace foreshard::store
