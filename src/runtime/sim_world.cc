#include "runtime/sim_world.h"

#include <algorithm>

#include "base/assert.h"

namespace foreshard::runtime {

SimRuntime::SimRuntime(SimWorld& world, NodeId node, Random random, uint64_t clock_offset_ns, int64_t clock_drift_ppm)
    : world_(world),
      node_(node),
      executor_(world.timeline(), clock_offset_ns, clock_drift_ppm),
      network_(world.fabric(), node, executor_),
      random_(random) {}

Result<std::unique_ptr<Disk>> SimRuntime::open_disk(const std::string& folder) {
  return std::make_unique<SimDisk>(world_.storage(node_, folder), executor_);
}

uint64_t SimRuntime::wall_ns() {
  return 1'700'000'000'000'000'000 + world_.now_ns() + static_cast<uint64_t>(world_.at_node(node_).wall_offset_ns);
}

SimWorld::SimWorld(uint64_t seed) : timeline_(seed), fabric_(timeline_) {}

SimWorld::~SimWorld() {
  for (NodeId node = 0; node < nodes_.size(); ++node) {
    if (running(node)) kill(node, Crash::kProcess);
  }
}

SimWorld::Node& SimWorld::at_node(NodeId node) {
  ASSERT(node < nodes_.size(), node);
  return *nodes_[node];
}

NodeId SimWorld::add_node(std::string name) {
  nodes_.push_back(std::make_unique<Node>());
  nodes_.back()->name = std::move(name);
  return static_cast<NodeId>(nodes_.size() - 1);
}

SimRuntime& SimWorld::start(NodeId node, StartProcess start) {
  at_node(node).start = std::move(start);
  return restart(node);
}

SimRuntime& SimWorld::restart(NodeId id) {
  Node& node = at_node(id);
  ASSERT(node.runtime == nullptr && node.start);
  constexpr uint64_t kHourNs = 3'600'000'000'000;
  const uint64_t offset_ns = random().below(kHourNs);
  const int64_t drift_ppm = static_cast<int64_t>(random().below(401)) - 200;
  node.runtime.reset(new SimRuntime(*this, id, random().fork(), offset_ns, drift_ppm));
  node.paused = false;
  if (std::exchange(node.lost_power, false)) fabric_.set_powered(id, true);
  timeline_.note(fmt::format("start {}", node.name));
  node.process = node.start(*node.runtime);
  return *node.runtime;
}

bool SimWorld::running(NodeId node) const { return node < nodes_.size() && nodes_[node]->runtime != nullptr; }

SimRuntime& SimWorld::runtime(NodeId node) {
  ASSERT(running(node), node);
  return *at_node(node).runtime;
}

SimProcess* SimWorld::process(NodeId node) { return at_node(node).process.get(); }

void SimWorld::kill(NodeId node, Crash crash) {
  if (at_node(node).runtime == nullptr) return;
  timeline_.fault(crash == Crash::kPower ? "power loss" : "process kill", at_node(node).name);
  end_process(node, crash);
}

void SimWorld::stop(NodeId node) {
  if (at_node(node).runtime != nullptr) end_process(node, Crash::kProcess);
}

void SimWorld::end_process(NodeId id, Crash crash) {
  Node& node = at_node(id);
  node.runtime->executor_.destroy_tasks();
  fabric_.process_gone(id, crash == Crash::kPower);
  for (auto& [folder, storage] : node.storages) {
    if (crash == Crash::kPower)
      storage->power_loss();
    else
      storage->process_crash();
  }
  if (crash == Crash::kPower) {
    node.lost_power = true;
    fabric_.set_powered(id, false);
  }
  node.process.reset();
  node.runtime.reset();
}

void SimWorld::pause(NodeId node) {
  at_node(node).paused = true;
  timeline_.fault("process pause", at_node(node).name);
}

void SimWorld::resume(NodeId node) {
  at_node(node).paused = false;
  timeline_.note(fmt::format("resume {}", at_node(node).name));
}

void SimWorld::jump_wall_clock(NodeId node, int64_t by_ns) {
  at_node(node).wall_offset_ns += by_ns;
  timeline_.fault("clock jump", at_node(node).name);
}

SimStorage& SimWorld::storage(NodeId node, const std::string& folder) {
  std::unique_ptr<SimStorage>& storage = at_node(node).storages[folder];
  if (storage == nullptr) {
    storage = std::make_unique<SimStorage>(timeline_, fmt::format("{}:{}", at_node(node).name, folder));
  }
  return *storage;
}

std::vector<SimStorage*> SimWorld::storages(NodeId node) {
  std::vector<SimStorage*> all;
  for (auto& [folder, storage] : at_node(node).storages) all.push_back(storage.get());
  return all;
}

// ---- the loop

bool SimWorld::run_one_ready() {
  ready_.clear();
  for (const std::unique_ptr<Node>& node : nodes_) {
    if (node->runtime != nullptr && !node->paused && node->runtime->executor_.has_ready()) ready_.push_back(node.get());
  }
  if (ready_.empty()) return false;
  Random& random = timeline_.random();
  Node& node = *ready_[ready_.size() == 1 ? 0 : random.below(ready_.size())];
  SimExecutor& executor = node.runtime->executor_;
  const size_t count = executor.ready_count();
  // Half of the time the oldest, so that nothing waits for ever.
  const size_t index = count == 1 || random.chance(0.5) ? 0 : random.below(count);
  timeline_.record(timeline_.now_ns() << 16 ^ node.runtime->node() << 8 ^ index);
  executor.run_ready(index);
  return true;
}

uint64_t SimWorld::next_timer_ns() const {
  uint64_t next = UINT64_MAX;
  for (const std::unique_ptr<Node>& node : nodes_) {
    if (node->runtime == nullptr || node->paused) continue;
    next = std::min(next, node->runtime->executor_.next_timer_ns());
  }
  return next;
}

// False when nothing can happen until then.
bool SimWorld::step(uint64_t until_ns) {
  ++steps_;
  if (timeline_.next_event_ns() <= timeline_.now_ns()) {
    timeline_.run_event();
    return true;
  }
  if (next_timer_ns() <= timeline_.now_ns()) {
    for (size_t i = 0; i < nodes_.size(); ++i) {
      Node& node = *nodes_[i];
      if (node.runtime != nullptr && !node.paused) node.runtime->executor_.run_due_timers();
    }
    return true;
  }
  if (run_one_ready()) {
    ++busy_steps_;
    timeline_.advance_to(timeline_.now_ns() + kStepNs);
    return !livelocked();
  }
  busy_steps_ = 0;
  const uint64_t next = std::min(timeline_.next_event_ns(), next_timer_ns());
  if (next > until_ns) {
    if (until_ns != UINT64_MAX && until_ns > timeline_.now_ns()) timeline_.advance_to(until_ns);
    return false;
  }
  timeline_.advance_to(std::max(next, timeline_.now_ns()));
  return true;
}

bool SimWorld::run_until(const std::function<bool()>& predicate, uint64_t time_ns) {
  while (!predicate()) {
    if (timeline_.now_ns() >= time_ns) return false;
    if (!step(time_ns)) return predicate();
  }
  return true;
}

void SimWorld::run_for(uint64_t duration_ns) {
  const uint64_t end = timeline_.now_ns() + duration_ns;
  while (timeline_.now_ns() < end) {
    if (!step(end)) return;
  }
}

}  // namespace foreshard::runtime
