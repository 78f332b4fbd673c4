#include "store/chunk_store.h"

namespace foreshard::store {

bool PageMap::any_data() const {
  constexpr uint64_t kDataBits = 0x5555555555555555ull;
  for (uint64_t word : words_)
    if ((word & kDataBits) != 0) return true;
  return false;
}

runtime::Task<Result<std::vector<PageFault>>> scrub_all(ChunkStore& store) {
  std::vector<PageFault> faults;
  std::optional<ChunkKey> at = ChunkKey();
  while (at) {
    CO_TRY(const ScrubPart part, co_await store.scrub(*at, kChunkKeysEnd, 0, nullptr));
    faults.insert(faults.end(), part.faults.begin(), part.faults.end());
    at = part.next;
  }
  co_return faults;
}

}  // namespace foreshard::store
