#include "store/store_world.h"

namespace foreshard::store {

using runtime::Task;

struct StoreWorld::Process : runtime::SimProcess {
  explicit Process(runtime::SimRuntime& r) : runtime(r) {}
  runtime::SimRuntime& runtime;
  std::unique_ptr<runtime::Disk> disk;
  std::unique_ptr<ChunkStore> store;
};

StoreWorld::StoreWorld(uint64_t seed, DiskStoreOptions options)
    : options_(options), world_(seed), node_(world_.add_node("server")) {}

StoreWorld::Process& StoreWorld::process() { return static_cast<Process&>(*world_.process(node_)); }
ChunkStore& StoreWorld::store() { return *process().store; }

Result<void> StoreWorld::open() {
  ASSERT(!world_.running(node_));
  world_.start(node_, [](runtime::SimRuntime& runtime) { return std::make_unique<Process>(runtime); });
  Result<void> result;
  const bool ended = run(open_in(this, &result));
  ASSERT(ended);
  if (!result) world_.kill(node_, runtime::Crash::kProcess);
  return result;
}

bool StoreWorld::open_and_crash(uint64_t after_ns, runtime::Crash kind) {
  world_.start(node_, [](runtime::SimRuntime& runtime) { return std::make_unique<Process>(runtime); });
  auto result = std::make_unique<Result<void>>();
  auto ended = std::make_shared<bool>(false);
  spawn(note_end(open_in(this, result.get()), ended));
  world_.run_for(after_ns);
  crash(kind);
  return *ended && *result;
}

Task<void> StoreWorld::open_in(StoreWorld* self, Result<void>* result) {
  Process& process = self->process();
  Result<std::unique_ptr<runtime::Disk>> disk = process.runtime.open_disk(kFolder);
  ASSERT(disk.has_value());
  process.disk = std::move(*disk);
  index::OpenIndex opener =
      index::map_index_opener(self->index_state_, {.read_latency_ns = 20'000, .sync_latency_ns = 150'000});
  Result<std::unique_ptr<ChunkStore>> store =
      co_await DiskStore::open(process.runtime, *process.disk, opener, self->options_);
  if (store) {
    process.store = std::move(*store);
  } else {
    *result = fail(std::move(store.error()));
  }
}

void StoreWorld::crash(runtime::Crash kind) {
  world_.kill(node_, kind);
  if (kind == runtime::Crash::kPower) index_state_.crash(world_.random());
}

Result<void> StoreWorld::close() {
  Result<void> result;
  const bool ended = run(close_in(this, &result));
  ASSERT(ended);
  world_.kill(node_, runtime::Crash::kProcess);
  return result;
}

Task<void> StoreWorld::close_in(StoreWorld* self, Result<void>* result) { *result = co_await self->store().close(); }

bool StoreWorld::run(Task<void> task) {
  auto ended = std::make_shared<bool>(false);
  spawn(note_end(std::move(task), ended));
  return world_.run_until([ended] { return *ended; }, world_.now_ns() + 3600'000'000'000);
}

Task<void> StoreWorld::note_end(Task<void> task, std::shared_ptr<bool> ended) {
  co_await task;
  *ended = true;
}

}  // namespace foreshard::store
