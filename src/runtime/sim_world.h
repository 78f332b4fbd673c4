// SimWorld: a whole region of simulated processes in one thread, under virtual time, from one seed.
//
// A node is a host: its storages survive a crash; on it runs at most one process, an incarnation with a
// SimRuntime and whatever the start function made. The world picks by seed which ready coroutine of which
// process runs next; when nothing is ready, time jumps to the next timer or event. Same seed and same calls:
// same run, bit for bit (fingerprint()).
//
// Faults and other interventions are called from outside of processes: between run_until() calls or from
// at(). A process never calls the world.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/io.h"
#include "runtime/sim_disk.h"
#include "runtime/sim_executor.h"
#include "runtime/sim_network.h"
#include "runtime/sim_timeline.h"

namespace foreshard::runtime {

class SimWorld;

// The world of one incarnation of a process. Owned by its node.
class SimRuntime final : public Runtime {
 public:
  Executor& executor() override { return executor_; }
  Network& network() override { return network_; }
  Result<std::unique_ptr<Disk>> open_disk(const std::string& folder) override;
  Random& random() override { return random_; }
  uint64_t wall_ns() override;
  SimWorld& world() { return world_; }
  NodeId node() const { return node_; }

 private:
  friend class SimWorld;
  SimRuntime(SimWorld& world, NodeId node, Random random, uint64_t clock_offset_ns, int64_t clock_drift_ppm);
  SimWorld& world_;
  const NodeId node_;
  SimExecutor executor_;
  SimNetwork network_;
  Random random_;
};

// What runs on a node: made by the node's start function, destroyed after its tasks when it is killed.
class SimProcess {
 public:
  virtual ~SimProcess() = default;
};

using StartProcess = std::function<std::unique_ptr<SimProcess>(SimRuntime&)>;

enum class Crash : uint8_t {
  kProcess,  // kill -9: the kernel keeps what had been written
  kPower,    // unsynced writes are lost or torn
};

class SimWorld {
 public:
  explicit SimWorld(uint64_t seed);
  SimWorld(const SimWorld&) = delete;
  SimWorld& operator=(const SimWorld&) = delete;
  ~SimWorld();

  // ---- building
  NodeId add_node(std::string name);
  // Starts the node's process; none runs there.
  SimRuntime& start(NodeId node, StartProcess start);
  // With the start function of the last time.
  SimRuntime& restart(NodeId node);
  bool running(NodeId node) const;
  SimRuntime& runtime(NodeId node);
  SimProcess* process(NodeId node);

  // ---- running
  // Runs until the predicate holds (checked after every step), the time has come, or nothing can happen any
  // more. True when the predicate held.
  bool run_until(const std::function<bool()>& predicate, uint64_t time_ns);
  void run_for(uint64_t duration_ns);
  uint64_t now_ns() const { return timeline_.now_ns(); }
  void at(uint64_t time_ns, std::function<void()> action) { timeline_.at(time_ns, std::move(action)); }
  // Coroutines run without time moving except by their own work: more than that is a livelock and ends run_until
  // with livelocked().
  bool livelocked() const { return busy_steps_ > kBusyStepsMax; }

  // Ends the node's process, which has done what it was there for.
  void stop(NodeId node);

  // ---- faults
  void kill(NodeId node, Crash crash);
  // The process stands still (SIGSTOP, a VM migrated): time passes, bytes arrive, nothing runs.
  void pause(NodeId node);
  void resume(NodeId node);
  // The wall clock of the node is set; its monotonic clock is not.
  void jump_wall_clock(NodeId node, int64_t by_ns);
  SimFabric& fabric() { return fabric_; }
  // Made at first use, as open_disk makes it.
  SimStorage& storage(NodeId node, const std::string& folder);
  std::vector<SimStorage*> storages(NodeId node);

  // ---- what happened
  SimTimeline& timeline() { return timeline_; }
  Random& random() { return timeline_.random(); }
  const std::map<std::string, uint64_t, std::less<>>& counters() const { return timeline_.counters(); }
  uint64_t fingerprint() const { return timeline_.fingerprint(); }
  uint64_t steps() const { return steps_; }

 private:
  friend class SimRuntime;
  struct Node {
    std::string name;
    std::map<std::string, std::unique_ptr<SimStorage>> storages;
    StartProcess start;
    std::unique_ptr<SimRuntime> runtime;
    std::unique_ptr<SimProcess> process;
    bool paused = false;
    bool lost_power = false;
    int64_t wall_offset_ns = 0;
  };
  static constexpr uint64_t kStepNs = 150;  // CPU time of one step
  static constexpr uint64_t kBusyStepsMax = 20'000'000;

  Node& at_node(NodeId node);
  void end_process(NodeId node, Crash crash);
  bool step(uint64_t until_ns);
  bool run_one_ready();
  uint64_t next_timer_ns() const;

  SimTimeline timeline_;
  SimFabric fabric_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<Node*> ready_;  // of run_one_ready
  uint64_t steps_ = 0;
  uint64_t busy_steps_ = 0;
};

}  // namespace foreshard::runtime
