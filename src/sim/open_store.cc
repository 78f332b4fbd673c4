#include "sim/durable_store.h"
#include "sim/processes.h"

namespace foreshard::sim {

runtime::Task<Result<std::unique_ptr<store::ChunkStore>>> open_store(runtime::SimRuntime& runtime, runtime::Disk& disk,
                                                                     const ServerPlace& place) {
  std::unique_ptr<store::ChunkStore> store = std::make_unique<DurableStore>(*place.kept);
  co_return store;
}

}  // namespace foreshard::sim
