#include "sim/durable_store.h"
#include "sim/processes.h"
#include "store/disk_store.h"

namespace foreshard::sim {

runtime::Task<Result<std::unique_ptr<store::ChunkStore>>> open_store(runtime::SimRuntime& runtime, runtime::Disk& disk,
                                                                     const ServerPlace& place) {
  if (place.kept != nullptr) {
    std::unique_ptr<store::ChunkStore> store = std::make_unique<DurableStore>(*place.kept);
    co_return store;
  }
  index::OpenIndex open_index = index::map_index_opener(*place.index, {0, 150'000});
  co_return co_await store::DiskStore::open(runtime, disk, std::move(open_index), place.store);
}

}  // namespace foreshard::sim
