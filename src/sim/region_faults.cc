// The faults of a run: what is broken, for how long, and what the model is told of it.
#include <algorithm>
#include <iterator>

#include <fmt/format.h>

#include "sim/region.h"

namespace foreshard::sim {

using runtime::Crash;

namespace {

constexpr uint64_t kMillisecond = 1'000'000;
constexpr uint64_t kSecond = 1'000 * kMillisecond;

}  // namespace

uint64_t RegionRun::soon_ns(uint64_t max_ns) {
  // Short and long alike: uniform in the exponent.
  uint64_t limit = kMillisecond;
  while (limit < max_ns && random_.chance(0.8)) limit *= 2;
  return random_.below(std::min(limit, max_ns)) + 1;
}

RegionRun::Server& RegionRun::any_server() {
  // In a hammered volume most faults go where the hammering is.
  if (hammer_ && random_.chance(0.7)) return *servers_[layout_[random_.below(2)] - 1];
  return *servers_[random_.below(servers_.size())];
}

void RegionRun::inject() {
  struct Choice {
    uint32_t weight;
    Fault fault;
  };
  static constexpr Choice kChoices[] = {
      {10, &RegionRun::fault_server_kill},      {14, &RegionRun::fault_server_power},
      {4, &RegionRun::fault_all_servers_power}, {8, &RegionRun::fault_driver_kill},
      {8, &RegionRun::fault_driver_and_server}, {5, &RegionRun::fault_everything},
      {5, &RegionRun::fault_meta_kill},         {6, &RegionRun::fault_partition_server},
      {4, &RegionRun::fault_partition_meta},    {8, &RegionRun::fault_reset},
      {5, &RegionRun::fault_pause_server},      {4, &RegionRun::fault_pause_driver},
      {6, &RegionRun::fault_takeover},          {4, &RegionRun::fault_slow_disk},
      {4, &RegionRun::fault_slow_network},      {6, &RegionRun::fault_disk_error},
      {4, &RegionRun::fault_clean_server},      {4, &RegionRun::fault_detach},
      {10, &RegionRun::fault_reset_then_power}, {6, &RegionRun::fault_rot},
  };
  uint32_t sum = 0;
  for (const Choice& choice : kChoices) sum += choice.weight;
  uint64_t drawn = random_.below(sum);
  for (const Choice& choice : kChoices) {
    if (drawn < choice.weight) return (this->*choice.fault)();
    drawn -= choice.weight;
  }
}

// ---- servers

void RegionRun::kill_server(Server& server, Crash crash) {
  if (!world_.running(server.node)) return;
  world_.kill(server.node, crash);
  if (crash == Crash::kPower) server.index.crash(random_);
  server.index.repair();
  model_.server_lost(static_cast<uint32_t>(server.place.id));
}

void RegionRun::restart_later(Server& server) {
  world_.at(world_.now_ns() + soon_ns(4 * kSecond), [this, &server] {
    if (!world_.running(server.node)) start_server(server);
  });
}

void RegionRun::fault_server_kill() {
  Server& server = any_server();
  kill_server(server, Crash::kProcess);
  restart_later(server);
}

void RegionRun::fault_server_power() {
  Server& server = any_server();
  kill_server(server, Crash::kPower);
  restart_later(server);
}

void RegionRun::fault_all_servers_power() {
  for (const auto& server : servers_) {
    kill_server(*server, Crash::kPower);
    restart_later(*server);
  }
}

void RegionRun::fault_pause_server() {
  Server& server = any_server();
  if (!world_.running(server.node)) return;
  world_.pause(server.node);
  world_.at(world_.now_ns() + soon_ns(5 * kSecond), [this, &server, starts = server.starts] {
    if (world_.running(server.node) && server.starts == starts) world_.resume(server.node);
  });
}

void RegionRun::fault_slow_disk() {
  for (runtime::SimStorage* storage : world_.storages(any_server().node)) {
    storage->knobs().slow_chance = 0.05;
    storage->knobs().slow_ns_max = soon_ns(kSecond);
    world_.at(world_.now_ns() + soon_ns(2 * kSecond), [storage] { storage->knobs().slow_chance = 0; });
  }
}

// The next sync or write of the disk, or operation of the index, fails.
void RegionRun::fault_disk_error() {
  Server& server = any_server();
  if (!world_.running(server.node)) return;
  server.armed = true;
  const uint64_t kind = random_.below(4);
  if (kind == 0) {
    world_.timeline().fault("index error", fmt::format("server-{}", server.place.id));
    server.index.fail_after(random_.below(20));
    return;
  }
  for (runtime::SimStorage* storage : world_.storages(server.node)) {
    if (kind == 1)
      storage->fail_next_write();
    else
      storage->fail_next_sync();
  }
}

void RegionRun::fault_clean_server() {
  Server& server = any_server();
  if (!world_.running(server.node)) return;
  auto& process = static_cast<ServerProcess&>(*world_.process(server.node));
  if (!process.serving() || process.failed()) return;
  world_.timeline().fault("clean restart", fmt::format("server-{}", server.place.id));
  const uint64_t starts = server.starts;
  process.stop();
  run_until([&] { return server.starts != starts || !world_.running(server.node) || process.stopped(); }, 10 * kSecond);
  if (server.starts != starts) return;
  kill_server(server, Crash::kProcess);
  restart_later(server);
}

// What one page of a slot holds is changed by itself. Only where nothing waits for a checkpoint: a page that a crash
// could have torn is taken as it is found (R-TORN), and so rot there cannot be told.
void RegionRun::fault_rot() {
  if (rots_ >= rots_max_) return;
  Server& server = any_server();
  const auto settled = [&] {
    const ServerProcess* process = serving(server);
    return process != nullptr && process->settled();
  };
  if (!run_until(settled, 10 * kSecond)) return;
  for (runtime::SimStorage* storage : world_.storages(server.node)) {
    if (storage->rot("slots/")) ++rots_;
  }
}

// ---- metadata

void RegionRun::kill_meta(Crash crash) {
  if (!world_.running(meta_node_)) return;
  world_.kill(meta_node_, crash);
  if (crash == Crash::kPower) meta_index_.crash(random_);
}

void RegionRun::fault_meta_kill() {
  kill_meta(random_.chance(0.5) ? Crash::kPower : Crash::kProcess);
  world_.at(world_.now_ns() + soon_ns(8 * kSecond), [this] {
    if (!world_.running(meta_node_)) start_meta();
  });
}

// ---- drivers

void RegionRun::kill_driver(Host& host) {
  if (host.driver == 0) return;
  auto& process = static_cast<DriverProcess&>(*world_.process(host.node));
  operations_done_ += process.done();
  refused_ += process.refused();
  const bool active = &host == &hosts_[active_];
  if (active) {
    for (const auto& server : servers_) {
      if (server->armed) model_.server_lost(static_cast<uint32_t>(server->place.id));
    }
    model_.driver_gone();
  }
  world_.kill(host.node, Crash::kProcess);
  host.driver = 0;
}

void RegionRun::fault_driver_kill() {
  kill_driver(hosts_[active_]);
  if (random_.chance(0.4)) {
    const size_t other = 1 - active_;
    if (hosts_[other].driver != 0) kill_driver(hosts_[other]);
    active_ = other;
  }
  ++takeovers_;
  start_driver(hosts_[active_]);
}

void RegionRun::fault_driver_and_server() {
  const Crash crash = random_.chance(0.7) ? Crash::kPower : Crash::kProcess;
  Server& server = any_server();
  const bool server_first = random_.chance(0.5);
  if (server_first) kill_server(server, crash);
  kill_driver(hosts_[active_]);
  if (!server_first) kill_server(server, crash);
  restart_later(server);
  ++takeovers_;
  start_driver(hosts_[active_]);
}

void RegionRun::fault_everything() {
  kill_driver(hosts_[active_]);
  kill_meta(Crash::kPower);
  fault_all_servers_power();
  world_.at(world_.now_ns() + soon_ns(2 * kSecond), [this] {
    if (!world_.running(meta_node_)) start_meta();
  });
  ++takeovers_;
  start_driver(hosts_[active_]);
}

void RegionRun::fault_pause_driver() {
  const Host& host = hosts_[active_];
  const uint64_t driver = host.driver;
  world_.pause(host.node);
  world_.at(world_.now_ns() + soon_ns(8 * kSecond), [this, &host, driver] {
    if (world_.running(host.node) && host.driver == driver) world_.resume(host.node);
  });
}

// Another host takes the volume over from a driver that stands still or cannot be reached, and that comes back.
void RegionRun::fault_takeover() {
  Host& old = hosts_[active_];
  Host& next = hosts_[1 - active_];
  if (!static_cast<DriverProcess*>(world_.process(old.node))->attached()) return;
  if (next.driver != 0) kill_driver(next);
  const uint64_t how = random_.below(3);
  if (how == 0) world_.pause(old.node);
  if (how >= 1) world_.fabric().partition(old.node, meta_node_);
  if (how == 2) {
    for (const auto& server : servers_) {
      if (random_.chance(0.5)) world_.fabric().partition(old.node, server->node);
    }
  }
  world_.timeline().fault("takeover", fmt::format("from driver {}", old.driver));
  ++takeovers_;
  for (const auto& server : servers_) {
    if (server->armed) model_.server_lost(static_cast<uint32_t>(server->place.id));
  }
  model_.driver_gone();
  active_ = 1 - active_;
  start_driver(next);
  const uint64_t driver = old.driver;
  world_.at(world_.now_ns() + 2 * kSecond + soon_ns(10 * kSecond), [this, &old, driver] {
    // Also when another driver runs there by now: it would stay cut off.
    world_.fabric().heal_all();
    if (old.driver != driver) return;
    world_.resume(old.node);
    // The old one renewed its hint in time: then somebody has to turn it off.
    if (this->driver() == nullptr || !this->driver()->attached()) kill_driver(old);
  });
}

void RegionRun::fault_detach() {
  Host& host = hosts_[active_];
  DriverProcess& process = *driver();
  if (!process.attached()) return;
  world_.timeline().fault("detach", fmt::format("driver {}", host.driver));
  process.stop_clients();
  if (run_until([&] { return process.finished(); }, 20 * kSecond)) {
    process.wish(DriverProcess::Wish::kTryDetach);
    run_until([&] { return process.wish_done(); }, 60 * kSecond);
  }
  fault_driver_kill();
}

// ---- the network

void RegionRun::fault_partition_server() {
  const NodeId host = hosts_[active_].node, server = any_server().node;
  const uint64_t way = random_.below(4);
  if (way == 0)
    world_.fabric().block(host, server);
  else if (way == 1)
    world_.fabric().block(server, host);
  else
    world_.fabric().partition(host, server);
  world_.at(world_.now_ns() + soon_ns(8 * kSecond), [this, host, server] { world_.fabric().heal(host, server); });
}

void RegionRun::fault_partition_meta() {
  const NodeId node = random_.chance(0.5) ? hosts_[active_].node : any_server().node;
  world_.fabric().partition(node, meta_node_);
  world_.at(world_.now_ns() + soon_ns(10 * kSecond), [this, node] { world_.fabric().heal(node, meta_node_); });
}

void RegionRun::fault_reset() {
  const NodeId host = hosts_[active_].node;
  world_.fabric().reset_one(host, random_.chance(0.2) ? meta_node_ : any_server().node);
}

// The answer to a write is lost, and soon after so is the write.
void RegionRun::fault_reset_then_power() {
  Server& server = any_server();
  world_.fabric().reset_one(hosts_[active_].node, server.node);
  world_.at(world_.now_ns() + random_.below(6 * kMillisecond), [this, &server] {
    if (quiet_) return;
    kill_server(server, Crash::kPower);
    restart_later(server);
  });
}

void RegionRun::fault_slow_network() {
  world_.timeline().fault("slow network", "");
  runtime::SimNetworkKnobs& knobs = world_.fabric().knobs();
  knobs.spike_chance = 0.02;
  knobs.spike_ns_max = soon_ns(kSecond);
  knobs.reset_chance = random_.chance(0.3) ? 0.002 : 0;
  world_.at(world_.now_ns() + soon_ns(4 * kSecond), [this] { world_.fabric().knobs() = {}; });
}

}  // namespace foreshard::sim
