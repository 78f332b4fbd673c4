// The simulated processes of a region: metadata, storage server, driver with its clients, and the administrator
// who makes, grows and removes volumes. Each is a thin owner of the real parts, started by RegionRun on a node and
// destroyed where it stands when the node is killed.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "index/map_index.h"
#include "meta/embedded_meta.h"
#include "meta/meta_service.h"
#include "meta/remote_meta.h"
#include "runtime/sim_world.h"
#include "server/replica_server.h"
#include "sim/model.h"
#include "sim/workload.h"
#include "store/disk_store.h"
#include "store/memory_store.h"
#include "volume/driver.h"

namespace foreshard::sim {

inline constexpr const char* kMetaAddress = "tcp:meta:1";
inline constexpr const char* kZone = "z";
inline constexpr const char* kCacheFolder = "cache/";  // of a driver's host

// What something that should have worked came to.
struct Trouble {
  std::optional<std::string> text;
  void add(std::string what) {
    if (!text) text = std::move(what);
  }
};

class MetaProcess : public runtime::SimProcess {
 public:
  MetaProcess(runtime::SimRuntime& runtime, index::MapIndexState& index, uint64_t servers, Trouble& trouble);
  bool serving() const { return serving_; }

 private:
  runtime::Task<void> run();
  runtime::Task<Result<void>> open();
  runtime::SimRuntime& runtime_;
  index::MapIndexState& index_;
  const uint64_t servers_;
  Trouble& trouble_;
  std::unique_ptr<runtime::Disk> disk_;
  std::unique_ptr<meta::EmbeddedMeta> meta_;
  std::unique_ptr<rpc::Service> service_;
  std::unique_ptr<meta::MetaService> meta_service_;
  bool serving_ = false;
};

// Which server, and where; kept by RegionRun over restarts.
struct ServerPlace {
  uint64_t id = 0;
  std::string address;
  index::MapIndexState* index = nullptr;
  store::DiskStoreOptions store;
  store::MemoryStore* kept = nullptr;  // what the store holds, when it is to be one that never forgets
};

// The chunk store of a server, on its simulated disk.
runtime::Task<Result<std::unique_ptr<store::ChunkStore>>> open_store(runtime::SimRuntime& runtime, runtime::Disk& disk,
                                                                     const ServerPlace& place);

class ServerProcess : public runtime::SimProcess {
 public:
  ServerProcess(runtime::SimRuntime& runtime, const ServerPlace& place, Trouble& trouble);
  bool serving() const { return serving_; }
  bool failed() const { return failed_; }
  // Nothing waits for a checkpoint: no page may differ from its checksum.
  bool settled() const { return serving_ && !failed_ && store_->stats().dirty_chunks == 0; }
  // Ends in good order; then stopped().
  void stop();
  bool stopped() const { return stopped_; }
  // ... and the store was closed.
  bool stopped_well() const { return stopped_well_; }
  // Then scrubbed().
  void scrub();
  const std::optional<std::vector<store::PageFault>>& scrubbed() const { return scrubbed_; }

 private:
  runtime::Task<void> run();
  runtime::Task<Result<void>> open();
  runtime::Task<Result<void>> enter_record();
  runtime::Task<void> keep_lease();
  runtime::Task<void> watch_failure();
  runtime::Task<void> do_stop();
  runtime::Task<void> do_scrub();
  runtime::SimRuntime& runtime_;
  const ServerPlace& place_;
  Trouble& trouble_;
  std::unique_ptr<runtime::Disk> disk_;
  std::unique_ptr<meta::RemoteMeta> meta_;
  std::unique_ptr<store::ChunkStore> store_;
  std::unique_ptr<server::ReplicaServer> server_;
  meta::LeaseId lease_ = 0;
  bool serving_ = false, failed_ = false, stopping_ = false, stopped_ = false, stopped_well_ = false;
  std::optional<std::vector<store::PageFault>> scrubbed_;
};

// What an administrator is to do to a volume, trying until it is done.
struct AdminTask {
  enum class Kind : uint8_t { kCreate, kGrow, kRemove };
  Kind kind = Kind::kCreate;
  std::string volume;
  uint64_t size_bytes = 0;
  uint64_t volumelet_bytes = 0;
};

// What the metadata says of a volume.
struct VolumeFacts {
  uint64_t id = 0;
  uint64_t size_bytes = 0;
  std::vector<uint32_t> layout;  // the server of each volumelet
};

class AdminProcess : public runtime::SimProcess {
 public:
  AdminProcess(runtime::SimRuntime& runtime, AdminTask task, uint64_t servers, Trouble& trouble);
  bool done() const { return facts_.has_value(); }
  const VolumeFacts& facts() const { return *facts_; }
  const std::string& last_error() const { return last_error_; }

 private:
  runtime::Task<void> run();
  runtime::Task<Result<void>> try_once();
  runtime::Task<Result<void>> create();
  runtime::Task<Result<void>> grow();
  runtime::Task<Result<VolumeFacts>> look();
  runtime::SimRuntime& runtime_;
  const AdminTask task_;
  const uint64_t servers_;
  Trouble& trouble_;
  std::unique_ptr<meta::RemoteMeta> meta_;
  std::optional<VolumeFacts> facts_;
  std::string last_error_;
};

struct DriverPlan {
  std::string volume;
  uint64_t volume_id = 0;
  uint64_t number = 0;  // 1, 2, ... of all drivers of the run
  std::set<std::pair<uint64_t, uint64_t>>* epochs = nullptr;  // (volume id, epoch) of all that have attached
  WorkloadOptions workload;
  uint64_t cache_bytes = 0, retained_bytes = 0;
  bool cache_file = false;  // behind the cache in memory, on a disk that often errs
  uint64_t io_timeout_ns = UINT64_MAX;
  bool data_is_gone = false;  // a server has lost what only it had: attaching must be refused
};

// Attaches, taking over when it must, and lets the clients work.
class DriverProcess : public runtime::SimProcess {
 public:
  DriverProcess(runtime::SimRuntime& runtime, VolumeModel& model, DriverPlan plan, Trouble& trouble);
  bool attached() const { return driver_ != nullptr; }
  // The attach was refused because data is gone.
  bool refused() const { return refused_; }
  bool finished() const { return !workload_ || workload_->finished(); }
  bool detaching() const { return detaching_; }
  bool ended() const { return driver_ != nullptr && driver_->ended().is_set(); }
  uint64_t done() const { return workload_ ? workload_->done() : 0; }
  uint64_t size_bytes() const { return driver_->size_bytes(); }
  const std::set<uint64_t>& unreadable() const { return workload_->unreadable(); }
  void allow(uint64_t more) {
    allowed_ = done() + more;
    if (workload_) workload_->set_limit(allowed_);
  }
  void stop_clients() {
    if (workload_) workload_->stop();
  }
  std::string state() const;

  // What the run asks of it besides the clients; wish_done() when it has been done, wish_error() with what result.
  enum class Wish : uint8_t { kReadAll, kDetach };
  void wish(Wish wish);
  bool wish_done() const { return wish_done_; }
  const std::optional<std::string>& wish_error() const { return wish_error_; }

 private:
  runtime::Task<void> run();
  runtime::Task<void> carry_out(Wish wish);
  runtime::SimRuntime& runtime_;
  VolumeModel& model_;
  const DriverPlan plan_;
  Trouble& trouble_;
  std::unique_ptr<meta::RemoteMeta> meta_;
  std::unique_ptr<volume::Driver> driver_;
  std::optional<Workload> workload_;
  uint64_t allowed_ = 50;
  bool refused_ = false;
  bool detaching_ = false;
  bool wish_done_ = false;
  std::optional<std::string> wish_error_;
  std::string last_error_;
};

}  // namespace foreshard::sim
