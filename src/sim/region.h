// RegionRun: one seed's run of a whole region in one SimWorld: a metadata node, storage servers with simulated
// disks, hosts with drivers and their clients, and faults drawn from the seed. The model checks every answer; at
// the end everything is healed, read, scrubbed, powered off and read again.
//
// What is simulated is the world; servers, drivers, metadata and rpc are the real ones.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "index/map_index.h"
#include "runtime/sim_world.h"
#include "sim/model.h"
#include "sim/processes.h"
#include "sim/workload.h"

namespace foreshard::sim {

struct RegionOptions {
  uint64_t seed = 1;
  uint64_t operations_min = 1000;
  uint64_t faults_min = 10;
  bool perfect_store = false;  // servers whose stores never forget
  bool verbose = false;
};

struct RegionOutcome {
  std::optional<std::string> violation;
  uint64_t operations = 0;
  uint64_t faults = 0;
  uint64_t takeovers = 0;
  uint64_t virtual_ns = 0;
  uint64_t steps = 0;
  uint64_t fingerprint = 0;
  std::map<std::string, uint64_t, std::less<>> counters;
  std::vector<std::string> recent;  // the last lines of the trace
  std::string summary() const;
};

class RegionRun {
 public:
  explicit RegionRun(RegionOptions options);
  ~RegionRun();
  RegionOutcome run();

 private:
  using NodeId = runtime::NodeId;
  struct Server {
    NodeId node = 0;
    index::MapIndexState index;
    std::unique_ptr<store::MemoryStore> kept;
    ServerPlace place;
    bool armed = false;  // a disk error may have cost it its memory
    uint64_t starts = 0;
  };
  struct Host {
    NodeId node = 0;
    uint64_t driver = 0;  // number of the driver there; 0: none
  };
  using Fault = void (RegionRun::*)();

  // ---- building (region.cc)
  void build();
  void configure_store(Server& server);
  bool create_volume();
  void start_meta();
  void start_server(Server& server);
  void start_driver(Host& host);
  DriverProcess* driver();
  bool run_until(const std::function<bool()>& predicate, uint64_t duration_ns);
  uint64_t operations() const;
  void look_after();
  void drive();
  void finish();
  void heal();
  bool settle_driver();
  bool do_task(DriverProcess::Wish wish, const char* what);
  void scrub();
  ServerProcess* serving(const Server& server);
  bool violated() const { return model_.violation() || trouble_.text; }
  RegionOutcome outcome();

  // ---- faults (region_faults.cc)
  void inject();
  void kill_server(Server& server, runtime::Crash crash);
  void restart_later(Server& server);
  void kill_meta(runtime::Crash crash);
  void kill_driver(Host& host);
  Server& any_server();
  uint64_t soon_ns(uint64_t max_ns);
  void fault_server_kill();
  void fault_server_power();
  void fault_all_servers_power();
  void fault_driver_kill();
  void fault_driver_and_server();
  void fault_everything();
  void fault_meta_kill();
  void fault_partition_server();
  void fault_partition_meta();
  void fault_reset();
  void fault_pause_server();
  void fault_pause_driver();
  void fault_takeover();
  void fault_slow_disk();
  void fault_slow_network();
  void fault_disk_error();
  void fault_clean_server();
  void fault_detach();
  void fault_reset_then_power();
  void fault_rot();

  RegionOptions options_;
  runtime::SimWorld world_;
  Random random_;  // of what happens; the world's is of how
  uint64_t volume_bytes_ = 0, volumelet_bytes_ = 0;
  VolumeModel model_;
  std::vector<uint32_t> layout_;  // the server of each volumelet
  Trouble trouble_;
  NodeId meta_node_ = 0;
  index::MapIndexState meta_index_;
  std::vector<std::unique_ptr<Server>> servers_;
  std::vector<Host> hosts_;
  size_t active_ = 0;             // the host whose driver is, or is to be, the volume's
  uint64_t drivers_ = 0;          // started so far
  uint64_t refused_ = 0;          // requests, for want of space or because of rot
  uint64_t operations_done_ = 0;  // of drivers that are gone
  uint64_t takeovers_ = 0;
  bool quiet_ = false;   // no more faults
  bool hammer_ = false;  // all clients at the same few pages
  bool full_ = false;    // one store has fewer slots than its chunks need
  uint64_t rots_max_ = 0, rots_ = 0;
};

}  // namespace foreshard::sim
