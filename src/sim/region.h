// RegionRun: one seed's run of a whole region in one SimWorld: a metadata node, storage servers with simulated
// disks, volumes with drivers and clients on hosts of their own, an administrator, and faults drawn from the seed:
// bursts of them, then calm stretches in which everything must come back to work by itself. The models check every
// answer; at the end all is healed, read, scrubbed, powered off and read again, and sometimes a disk is lost for good.
//
// What is simulated is the world; servers, drivers, metadata and rpc are the real ones.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "index/map_index.h"
#include "runtime/sim_world.h"
#include "sim/model.h"
#include "sim/processes.h"
#include "sim/volume_run.h"
#include "sim/workload.h"

namespace foreshard::sim {

struct RegionOptions {
  uint64_t seed = 1;
  uint64_t operations_min = 1000;
  uint64_t faults_min = 10;
  uint64_t virtual_ns_min = 600'000'000'000;
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
  using Damage = runtime::SimStorage::Damage;
  struct Server {
    NodeId node = 0;
    index::MapIndexState index;
    std::unique_ptr<store::MemoryStore> kept;
    ServerPlace place;
    bool armed = false;  // a disk error may have cost it its memory
    uint64_t starts = 0;
    // Until then (of the world's time) requests may meet a full disk, or an unreadable one.
    uint64_t full_until_ns = 0, read_errors_until_ns = 0;
    std::vector<Damage> unplaced;  // in slots of which the index does not know yet whose they are
    uint32_t id() const { return static_cast<uint32_t>(place.id); }
  };
  using Fault = void (RegionRun::*)();

  // ---- building (region.cc)
  void build();
  VolumeRun& add_volume(std::string name);
  void configure_store(Server& server);
  bool create_main_volume();
  void start_meta();
  void start_server(Server& server);
  void start_driver(VolumeRun& volume, bool data_is_gone = false);
  DriverProcess* driver_on(const Host& host);
  DriverProcess* driver(VolumeRun& volume) { return driver_on(volume.host()); }
  Server& server_with(uint32_t id) { return *servers_[id - 1]; }
  bool run_until(const std::function<bool()>& predicate, uint64_t duration_ns);
  uint64_t operations();
  bool progress_in_time();
  void make_space();
  void look_after();
  void drive();
  void burst();
  void calm();
  void check_recovered();
  void violate(std::string what);
  bool violated() const;
  std::string states();
  RegionOutcome outcome();
  // What clients may be told (region.cc)
  bool excused(const VolumeRun& volume, ErrorCode code, uint64_t offset, uint64_t bytes, uint64_t begun_ns);

  // ---- what volumes go through (region_volumes.cc)
  AdminProcess* admin();
  void start_admin(AdminTask task);
  void stop_admin();
  void tend();
  void tend_growth(VolumeRun& volume);
  void tend_side_volume(VolumeRun& volume);
  void adopt_new_volume(VolumeRun& volume);
  void finish_leaving(VolumeRun& volume);

  // ---- the end (region_end.cc)
  void heal();
  bool settle_driver(VolumeRun& volume);
  bool settle_admin();
  bool do_task(VolumeRun& volume, DriverProcess::Wish wish, const char* what);
  using Unreadable = std::set<std::pair<uint64_t, uint64_t>>;  // volume id, page
  Unreadable scrub();
  void note_fault(const Server& server, uint64_t id, uint64_t page, Unreadable& found);
  bool read_everything(const char* what, Unreadable* unreadable);
  void check_nothing_left_behind();
  void lose_a_disk_for_good();
  ServerProcess* serving(const Server& server);
  void finish();

  // ---- faults (region_faults.cc)
  void inject();
  void kill_server(Server& server, runtime::Crash crash);
  void restart_later(Server& server);
  void kill_meta(runtime::Crash crash);
  void kill_driver(VolumeRun& volume, Host& host);
  void replace_driver(VolumeRun& volume);
  Server& any_server();
  VolumeRun& any_volume();
  uint64_t soon_ns(uint64_t max_ns);
  void fault_server_kill();
  void fault_server_power();
  void fault_all_servers_power();
  void fault_killed_in_sync();
  void fault_driver_kill();
  void fault_driver_and_server();
  void fault_everything();
  void fault_meta_kill();
  void fault_admin_kill();
  void fault_partition_server();
  void fault_partition_meta();
  void fault_reset();
  void fault_pause_server();
  void fault_pause_driver();
  void fault_takeover();
  void fault_slow_network();
  void fault_clean_server();
  void fault_detach();
  void fault_reset_then_power();
  void fault_clock_jump();

  // ---- faults of disks (region_disk_faults.cc)
  void fault_slow_disk();
  void fault_stuck_disk();
  void fault_disk_error();
  void fault_read_errors();
  void fault_disk_full();
  void fault_rot();
  void fault_spoilt_write();
  bool settle_server(Server& server, uint64_t starts);
  void place_damage(Server& server);
  bool place_one(Server& server, const Damage& damage);

  RegionOptions options_;
  runtime::SimWorld world_;
  Random random_;  // of what happens; the world's is of how
  Trouble trouble_;
  NodeId meta_node_ = 0, admin_node_ = 0;
  index::MapIndexState meta_index_;
  std::vector<std::unique_ptr<Server>> servers_;
  std::vector<std::unique_ptr<VolumeRun>> volumes_;  // the main one first
  AdminTask admin_task_;
  uint64_t drivers_ = 0;  // started so far, on all volumes
  std::set<std::pair<uint64_t, uint64_t>> epochs_;  // volume id and epoch of every driver that has attached
  uint64_t takeovers_ = 0;
  uint64_t last_operations_ = 0, last_progress_ns_ = 0;
  uint64_t last_full_ns_ = 0;  // a disk was full at least until then
  bool quiet_ = false;         // no more faults
  bool full_ = false;          // one store has fewer slots than its chunks need
  uint64_t damages_left_ = 0;  // how often disks may still spoil something
};

}  // namespace foreshard::sim
