// StorageServer: one server of a region: its chunk store, the replica service before it, its entry in the metadata
// under a lease. When the store fails (R-EIO) the service is stopped, the store opened anew with its loss raised, and
// served again.
//
// Lifecycle: start(), then stop() (closes the store clean) before destruction. Owner: Region. One executor. World and
// metadata outlive it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "meta/meta.h"
#include "server/replica_server.h"
#include "store/chunk_store.h"

namespace foreshard::app {

// Opens (makes, when missing) the chunk store of a server, one of `servers` on this disk. Injected: the disk's in the
// real world, memory in tests.
using OpenStore = std::function<runtime::Task<Result<std::unique_ptr<store::ChunkStore>>>(
    ServerId id, std::string folder, uint32_t servers)>;

struct StorageServerOptions {
  ServerId id;
  std::string zone;
  std::string folder;
  uint32_t servers = 1;             // of the region
  std::string address;              // what the metadata tells drivers
  std::vector<std::string> listen;  // where it listens; address is one of them
  rpc::Service* shared_service = nullptr;  // of the process: it is also reached there, as endpoint `id`
  std::string shared_address;              // of that, for drivers
  OpenStore open_store;
  server::ReplicaServerOptions server;
};

class StorageServer {
 public:
  StorageServer(runtime::Runtime& world, meta::Meta& meta, StorageServerOptions options);
  ~StorageServer();
  runtime::Task<Result<void>> start();
  // Ends the service, then closes the store clean. The error of the store, when that could not be.
  runtime::Task<Result<void>> stop();

  ServerId id() const { return options_.id; }
  const std::string& address() const { return options_.address; }
  bool serving() const { return server_ != nullptr && fault_.empty(); }
  uint64_t restarts() const { return restarts_; }
  const std::string& fault() const { return fault_; }

 private:
  runtime::Task<Result<void>> open();
  runtime::Task<void> close_service();
  runtime::Task<void> close_store();
  runtime::Task<Result<void>> enter_record();
  runtime::Task<void> supervise(runtime::Gate::Pass pass);
  runtime::Task<void> keep_lease(runtime::Gate::Pass pass);

  runtime::Runtime& world_;
  meta::Meta& meta_;
  StorageServerOptions options_;
  std::unique_ptr<store::ChunkStore> store_;
  std::unique_ptr<server::ReplicaServer> server_;
  meta::LeaseId lease_ = 0;
  uint64_t restarts_ = 0;
  std::string fault_;
  runtime::Signal stopping_;
  runtime::Gate gate_;
};

}  // namespace foreshard::app
