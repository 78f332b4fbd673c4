// Region: a whole region in one process: the metadata, all servers of all zones, and the socket where clients find them
// (metadata and control on one). `foreshard up` runs one; tests and an attachment in the same process use it directly.
//
// Lifecycle: start(); stop() closes everything clean, in the order clients, servers, metadata. Owner: main. One
// executor.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "app/control_messages.h"
#include "app/region_folder.h"
#include "app/region_meta.h"
#include "app/storage_server.h"
#include "app/topology.h"
#include "index/index.h"
#include "meta/meta_service.h"
#include "rpc/rpc.h"

namespace foreshard::app {

struct RegionOptions {
  std::string folder;  // absolute
  TopologyWish topology;
  index::OpenIndex open_index;
  OpenStore open_store;
  server::ReplicaServerOptions server;  // of each
  std::string version;
};

class Region {
 public:
  // kConflict when the folder holds a region of another topology.
  static runtime::Task<Result<std::unique_ptr<Region>>> start(runtime::Runtime& world, RegionOptions options);
  ~Region();
  // The first error met, if any; everything is ended all the same.
  runtime::Task<Result<void>> stop();

  meta::Meta& meta() { return *meta_; }
  const Topology& topology() const { return topology_; }
  const std::string& address() const { return address_; }
  // How a driver in this process reaches the servers without the kernel.
  std::map<std::string, std::string> local_servers() const;

 private:
  Region(runtime::Runtime& world, RegionOptions options);
  runtime::Task<Result<void>> open();
  runtime::Task<Result<void>> open_meta();
  runtime::Task<Result<void>> settle_topology();
  runtime::Task<Result<void>> start_servers();
  runtime::Task<void> start_server(StorageServer& server, Result<void>& result, runtime::Gate::Pass pass);
  runtime::Task<void> stop_server(StorageServer& server, Result<void>& result, runtime::Gate::Pass pass);
  Result<void> serve();
  runtime::Task<Result<rpc::Reply>> on_status(rpc::Peer& peer, rpc::Request& request);

  runtime::Runtime& world_;
  RegionOptions options_;
  uint64_t started_wall_ns_;
  std::string address_;
  std::unique_ptr<runtime::Disk> disk_;
  std::unique_ptr<RegionMeta> meta_;
  Topology topology_;
  std::unique_ptr<rpc::Service> shared_service_;  // all servers behind one socket
  std::vector<std::unique_ptr<StorageServer>> servers_;
  std::unique_ptr<rpc::Service> service_;
  std::unique_ptr<meta::MetaService> meta_service_;
};

}  // namespace foreshard::app
