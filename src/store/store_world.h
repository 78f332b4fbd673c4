// StoreWorld: a DiskStore in a simulated process, for tests: opened, killed and opened again on the same
// simulated disk and index.
#pragma once

#include <memory>

#include "index/map_index.h"
#include "runtime/sim_world.h"
#include "store/disk_store.h"

namespace foreshard::store {

class StoreWorld {
 public:
  StoreWorld(uint64_t seed, DiskStoreOptions options);

  // Starts a process and opens the store in it.
  Result<void> open();
  // The same, killed after a while: true when it had opened by then.
  bool open_and_crash(uint64_t after_ns, runtime::Crash kind);
  // Kills the process where it stands.
  void crash(runtime::Crash kind);
  // Closes the store in good order and ends the process.
  Result<void> close();

  // Runs a task of the process to its end. False when the world came to a standstill first.
  bool run(runtime::Task<void> task);
  void spawn(runtime::Task<void> task) { world_.runtime(node_).executor().spawn(std::move(task)); }

  runtime::SimWorld& world() { return world_; }
  runtime::SimStorage& storage() { return world_.storage(node_, kFolder); }
  runtime::Executor& executor() { return world_.runtime(node_).executor(); }
  index::MapIndexState& index_state() { return index_state_; }
  ChunkStore& store();
  runtime::Runtime& runtime() { return world_.runtime(node_); }
  DiskStoreOptions& options() { return options_; }

 private:
  static constexpr const char* kFolder = "store";
  struct Process;
  Process& process();
  static runtime::Task<void> open_in(StoreWorld* self, Result<void>* result);
  static runtime::Task<void> close_in(StoreWorld* self, Result<void>* result);
  static runtime::Task<void> note_end(runtime::Task<void> task, std::shared_ptr<bool> ended);

  DiskStoreOptions options_;
  index::MapIndexState index_state_;
  runtime::SimWorld world_;
  runtime::NodeId node_;
};

}  // namespace foreshard::store
