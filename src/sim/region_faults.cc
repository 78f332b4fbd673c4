// The faults of a run that strike processes and the network: what is broken, for how long, and what the models are
// told of it.
#include <algorithm>
#include <iterator>

#include <fmt/format.h>

#include "sim/region.h"

namespace foreshard::sim {

using runtime::Crash;
using runtime::SimDiskKnobs;
using runtime::SimStorage;

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
  const VolumeRun& main = *volumes_[0];
  if (main.hammer && random_.chance(0.7)) {
    const uint64_t volumelet_sectors = main.volumelet_bytes / kSectorBytes;
    return server_with(main.model->server_of(random_.below(2) * volumelet_sectors));
  }
  return *servers_[random_.below(servers_.size())];
}

// One with a driver.
VolumeRun& RegionRun::any_volume() {
  if (volumes_.size() > 1 && random_.chance(0.25)) {
    VolumeRun& side = *volumes_[1];
    if (side.has_driver() && side.life == VolumeRun::Life::kLive) return side;
  }
  return *volumes_[0];
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
      {8, &RegionRun::fault_takeover},          {4, &RegionRun::fault_slow_disk},
      {4, &RegionRun::fault_slow_network},      {6, &RegionRun::fault_disk_error},
      {4, &RegionRun::fault_clean_server},      {4, &RegionRun::fault_detach},
      {10, &RegionRun::fault_reset_then_power}, {4, &RegionRun::fault_rot},
      {4, &RegionRun::fault_spoilt_write},      {4, &RegionRun::fault_read_errors},
      {3, &RegionRun::fault_disk_full},         {3, &RegionRun::fault_admin_kill},
      {2, &RegionRun::fault_clock_jump},        {4, &RegionRun::fault_stuck_disk},
      {10, &RegionRun::fault_killed_in_sync},
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
  place_damage(server);
  const auto& process = static_cast<ServerProcess&>(*world_.process(server.node));
  // One that had ended in good order forgets nothing.
  const bool forgets = !process.stopped_well();
  world_.kill(server.node, crash);
  if (crash == Crash::kPower) server.index.crash(random_);
  server.index.repair();
  // What no record in the index shows as somebody's is nobody's after a crash.
  place_damage(server);
  server.unplaced.clear();
  if (!forgets) return;
  for (const auto& volume : volumes_) {
    if (volume->model) volume->model->server_lost(server.id());
  }
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

// A server ends, and often the driver with it, while syncs take their time: what lies between a write that others see
// already and the sync that makes it last is wide open then.
void RegionRun::fault_killed_in_sync() {
  VolumeRun& volume = any_volume();
  Server& server = any_server();
  if (!world_.running(server.node)) return;
  const uint64_t starts = server.starts, drivers = drivers_;
  const SimDiskKnobs before;
  for (SimStorage* storage : world_.storages(server.node)) {
    world_.timeline().fault("slow syncs", storage->name());
    storage->knobs().sync_ns_min = kMillisecond;
    storage->knobs().sync_ns_max = 10 * kMillisecond;
  }
  if (DriverProcess* process = driver(volume)) process->allow(200);
  run_until([] { return false; }, 1 + random_.below(30 * kMillisecond));
  for (SimStorage* storage : world_.storages(server.node)) {
    storage->knobs().sync_ns_min = before.sync_ns_min;
    storage->knobs().sync_ns_max = before.sync_ns_max;
  }
  if (violated() || server.starts != starts || drivers_ != drivers) return;
  kill_server(server, random_.chance(0.5) ? Crash::kPower : Crash::kProcess);
  restart_later(server);
  if (random_.chance(0.5)) replace_driver(volume);
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

void RegionRun::fault_admin_kill() {
  if (admin() == nullptr || admin()->done()) return;
  world_.timeline().count("administrator killed", admin_task_.volume);
  world_.kill(admin_node_, Crash::kProcess);
}

// ---- drivers

void RegionRun::kill_driver(VolumeRun& volume, Host& host) {
  if (host.driver == 0) return;
  const auto& process = static_cast<DriverProcess&>(*world_.process(host.node));
  volume.operations_gone += process.done();
  if (&host == &volume.host()) {
    for (const auto& server : servers_) {
      if (server->armed) volume.model->server_lost(server->id());
    }
    volume.model->driver_gone();
  }
  const bool detached = process.detaching() && process.wish_done() && !process.wish_error();
  if (detached)
    world_.stop(host.node);
  else
    world_.kill(host.node, Crash::kProcess);
  host.driver = 0;
}

// On the same host or on the other one.
void RegionRun::replace_driver(VolumeRun& volume) {
  kill_driver(volume, volume.host());
  if (random_.chance(0.4)) {
    kill_driver(volume, volume.other());
    volume.active = 1 - volume.active;
  }
  ++takeovers_;
  start_driver(volume);
}

void RegionRun::fault_driver_kill() { replace_driver(any_volume()); }

void RegionRun::fault_driver_and_server() {
  const Crash crash = random_.chance(0.7) ? Crash::kPower : Crash::kProcess;
  VolumeRun& volume = any_volume();
  Server& server = any_server();
  const bool server_first = random_.chance(0.5);
  if (server_first) kill_server(server, crash);
  kill_driver(volume, volume.host());
  if (!server_first) kill_server(server, crash);
  restart_later(server);
  ++takeovers_;
  start_driver(volume);
}

void RegionRun::fault_everything() {
  VolumeRun& volume = any_volume();
  kill_driver(volume, volume.host());
  kill_meta(Crash::kPower);
  fault_all_servers_power();
  world_.at(world_.now_ns() + soon_ns(2 * kSecond), [this] {
    if (!world_.running(meta_node_)) start_meta();
  });
  ++takeovers_;
  start_driver(volume);
}

void RegionRun::fault_pause_driver() {
  const Host& host = any_volume().host();
  const uint64_t driver = host.driver;
  world_.pause(host.node);
  world_.at(world_.now_ns() + soon_ns(8 * kSecond), [this, &host, driver] {
    if (world_.running(host.node) && host.driver == driver) world_.resume(host.node);
  });
}

// Another host takes the volume over from a driver that stands still or cannot be reached, and that comes back.
void RegionRun::fault_takeover() {
  VolumeRun& volume = any_volume();
  Host& old = volume.host();
  if (!driver_on(old)->attached()) return;
  kill_driver(volume, volume.other());
  const uint64_t how = random_.below(3);
  // It was about to leave: what it still says to the metadata comes too late.
  if (how > 0 && random_.chance(0.3) && !driver_on(old)->detaching()) {
    world_.timeline().fault("takeover of a detach", fmt::format("from driver {}", old.driver));
    driver_on(old)->stop_clients();
    driver_on(old)->wish(DriverProcess::Wish::kDetach);
    if (random_.chance(0.5)) run_until([] { return false; }, soon_ns(20 * kMillisecond));
    if (violated()) return;
  }
  // In the midst of its work.
  driver_on(old)->allow(100);
  run_until([] { return false; }, 1 + random_.below(2 * kMillisecond));
  if (violated()) return;
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
    if (server->armed) volume.model->server_lost(server->id());
  }
  volume.model->driver_gone();
  volume.active = 1 - volume.active;
  start_driver(volume);
  const uint64_t driver = old.driver;
  const uint64_t away_ns = random_.chance(0.5) ? 2 * kSecond + soon_ns(10 * kSecond)
                                               : 5 * kSecond + random_.below(9 * kSecond);
  world_.at(world_.now_ns() + away_ns, [this, &volume, &old, driver] {
    // Also when another driver runs there by now: it would stay cut off.
    world_.fabric().heal_all();
    if (old.driver != driver) return;
    world_.resume(old.node);
    driver_on(old)->allow(200);
    // The old one renewed its hint in time: then somebody has to turn it off.
    const DriverProcess* now = this->driver(volume);
    if (&old != &volume.host() && (now == nullptr || !now->attached())) kill_driver(volume, old);
  });
}

void RegionRun::fault_detach() {
  VolumeRun& volume = *volumes_[0];
  DriverProcess& process = *driver(volume);
  if (!process.attached() || process.detaching()) return;
  world_.timeline().fault("detach", fmt::format("driver {}", volume.host().driver));
  process.stop_clients();
  if (run_until([&] { return process.finished(); }, 20 * kSecond)) {
    process.wish(DriverProcess::Wish::kDetach);
    run_until([&] { return process.wish_done(); }, 60 * kSecond);
  }
  if (!violated()) replace_driver(volume);
}

// ---- the network

void RegionRun::fault_partition_server() {
  const NodeId host = any_volume().host().node, server = any_server().node;
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
  const NodeId node = random_.chance(0.5) ? any_volume().host().node : any_server().node;
  world_.fabric().partition(node, meta_node_);
  world_.at(world_.now_ns() + soon_ns(10 * kSecond), [this, node] { world_.fabric().heal(node, meta_node_); });
}

void RegionRun::fault_reset() {
  const NodeId host = any_volume().host().node;
  world_.fabric().reset_one(host, random_.chance(0.2) ? meta_node_ : any_server().node);
}

// The answer to a write is lost, and soon after so is the write.
void RegionRun::fault_reset_then_power() {
  Server& server = any_server();
  world_.fabric().reset_one(any_volume().host().node, server.node);
  world_.at(world_.now_ns() + random_.below(6 * kMillisecond), [this, &server] {
    if (quiet_) return;
    kill_server(server, Crash::kPower);
    restart_later(server);
  });
}

// By hours, forwards or backwards.
void RegionRun::fault_clock_jump() {
  const int64_t by_ns = static_cast<int64_t>(random_.below(7200 * kSecond)) - static_cast<int64_t>(3600 * kSecond);
  const NodeId nodes[] = {meta_node_, admin_node_, any_server().node, any_volume().host().node};
  world_.jump_wall_clock(nodes[random_.below(4)], by_ns);
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
