#include "sim/region.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/log.h"

namespace foreshard::sim {

using runtime::Crash;
using runtime::SimRuntime;

namespace {

constexpr uint64_t kMillisecond = 1'000'000;
constexpr uint64_t kSecond = 1'000 * kMillisecond;
constexpr uint64_t kPatienceNs = 180 * kSecond;  // everything healed: by then all must have ended
constexpr uint64_t kStarvedNs = 20 * kSecond;    // nothing ended for so long: no more faults until something does
constexpr size_t kRecentLines = 40;

}  // namespace

std::string RegionOutcome::summary() const {
  return fmt::format("{:>6} ops {:>3} faults {:>2} takeovers {:>8.3f} s {:>8} steps {:016x}", operations, faults,
                     takeovers, static_cast<double>(virtual_ns) / 1e9, steps, fingerprint);
}

// What the run draws comes from the seed too, apart from the world's own choices.
RegionRun::RegionRun(RegionOptions options)
    : options_(options),
      world_(options.seed),
      random_(mix64(options.seed)),
      volume_bytes_((4 + random_.below(13)) << 20),
      volumelet_bytes_(uint64_t{1} << (20 + random_.below(2))),
      model_(volume_bytes_, options.seed) {
  hammer_ = random_.chance(0.2);
  full_ = random_.chance(0.15);
  if (!options_.perfect_store && random_.chance(0.25)) rots_max_ = 1 + random_.below(4);
  set_log_level(options_.verbose ? LogLevel::kDebug : LogLevel::kWarn);
  set_log_sink([this](LogLevel level, std::string_view line) {
    world_.timeline().note("log: " + std::string(line));
    if (level == LogLevel::kError) model_.violate("an error was logged: " + std::string(line));
  });
  if (options_.verbose) world_.timeline().set_trace([](const std::string& line) { fmt::print("{}\n", line); });
}

RegionRun::~RegionRun() { set_log_sink({}); }

RegionOutcome RegionRun::run() {
  build();
  if (create_volume()) {
    start_driver(hosts_[active_]);
    drive();
    if (!violated()) finish();
  }
  return outcome();
}

RegionOutcome RegionRun::outcome() {
  RegionOutcome result;
  result.violation = model_.violation();
  if (!result.violation && trouble_.text) result.violation = trouble_.text;
  result.operations = operations();
  result.faults = world_.timeline().fault_count();
  result.takeovers = takeovers_;
  result.virtual_ns = world_.now_ns();
  result.steps = world_.steps();
  result.fingerprint = world_.fingerprint();
  result.counters = world_.counters();
  if (refused_ > 0) result.counters["(requests refused as expected)"] = refused_;
  const auto& recent = world_.timeline().recent();
  const size_t skip = recent.size() > kRecentLines ? recent.size() - kRecentLines : 0;
  result.recent.assign(recent.begin() + static_cast<int64_t>(skip), recent.end());
  return result;
}

// ---- building

void RegionRun::build() {
  meta_node_ = world_.add_node("meta");
  const uint64_t servers = 3 + random_.below(4);
  for (uint64_t id = 1; id <= servers; ++id) {
    auto server = std::make_unique<Server>();
    server->node = world_.add_node(fmt::format("server-{}", id));
    server->place.id = id;
    server->place.address = fmt::format("tcp:server-{}:1", id);
    server->place.index = &server->index;
    configure_store(*server);
    servers_.push_back(std::move(server));
  }
  for (const char* name : {"host-a", "host-b"}) hosts_.push_back(Host{world_.add_node(name), 0});
  start_meta();
  for (const auto& server : servers_) start_server(*server);
}

// Small bounds, so that they are reached: checkpoints, evictions, growth, reuse of slots.
void RegionRun::configure_store(Server& server) {
  if (options_.perfect_store) {
    server.kept = std::make_unique<store::MemoryStore>(StoreUuid{server.place.id}, uint64_t{1} << 30);
    server.place.kept = server.kept.get();
    return;
  }
  store::DiskStoreOptions& store = server.place.store;
  store.capacity_bytes = 64u << 20;
  if (full_ && server.place.id == 1) store.capacity_bytes = (1 + random_.below(3)) << 20;
  store.slot_file_bytes = (2u << 20) << random_.below(4);
  store.growth_bytes = (1u << 20) << random_.below(3);
  store.free_bytes_min = 0;
  store.chunk_cache_bytes = random_.chance(0.5) ? 16u << 10 : 1u << 20;
  store.changed_chunks_max = 2 + random_.below(30);
  store.named_pages_max = 16 + random_.below(500);
  store.dirty_log_bytes = (16 + random_.below(100)) * kPageBytes;
  store.checkpoint_interval_ns = 20 * kMillisecond + random_.below(3 * kSecond);
  store.prepared_slots = random_.below(3);
  store.scrub_bytes_per_second = 0;
}

bool RegionRun::create_volume() {
  const Host& host = hosts_[0];
  world_.start(host.node, [this](SimRuntime& runtime) {
    return std::make_unique<AdminProcess>(runtime, VolumePlan{volume_bytes_, volumelet_bytes_}, servers_.size(),
                                          trouble_);
  });
  const auto& admin = static_cast<AdminProcess&>(*world_.process(host.node));
  if (!run_until([&] { return admin.layout().has_value(); }, kPatienceNs)) {
    if (!trouble_.text) model_.violate("the volume is not made in time");
    return false;
  }
  layout_ = *admin.layout();
  model_.set_layout(volumelet_bytes_, layout_);
  world_.kill(host.node, Crash::kProcess);
  return true;
}

void RegionRun::start_meta() {
  world_.start(meta_node_, [this](SimRuntime& runtime) {
    return std::make_unique<MetaProcess>(runtime, meta_index_, servers_.size(), trouble_);
  });
}

void RegionRun::start_server(Server& server) {
  ++server.starts;
  server.armed = false;
  world_.start(server.node, [this, &server](SimRuntime& runtime) {
    return std::make_unique<ServerProcess>(runtime, server.place, trouble_);
  });
}

void RegionRun::start_driver(Host& host) {
  host.driver = ++drivers_;
  WorkloadOptions workload;
  workload.operations = UINT64_MAX;
  workload.clients = 1 + static_cast<uint32_t>(random_.below(12));
  workload.volumelet_bytes = volumelet_bytes_;
  workload.bytes_max = 32u << 10;
  workload.hammer = hammer_;
  workload.corrupt_expected = rots_max_ > 0;
  workload.full_expected = full_;
  if (hammer_) workload.clients = 8 + static_cast<uint32_t>(random_.below(8));
  workload.flush_chance = random_.chance(0.5) ? 0.05 : 0.01;
  const uint64_t cache_bytes = random_.chance(0.3) ? 0 : (64u << 10) << random_.below(6);
  const uint64_t retained_bytes = (64u << 10) << random_.below(6);
  world_.start(host.node, [this, &host, workload, cache_bytes, retained_bytes](SimRuntime& runtime) {
    return std::make_unique<DriverProcess>(runtime, model_, host.driver, workload, cache_bytes, retained_bytes,
                                           trouble_);
  });
}

// ---- running

DriverProcess* RegionRun::driver() {
  const Host& host = hosts_[active_];
  return host.driver == 0 ? nullptr : static_cast<DriverProcess*>(world_.process(host.node));
}

uint64_t RegionRun::operations() const {
  uint64_t sum = operations_done_;
  for (const Host& host : hosts_) {
    if (host.driver != 0)
      sum += static_cast<DriverProcess*>(const_cast<runtime::SimWorld&>(world_).process(host.node))->done();
  }
  return sum;
}

// False when the time is over, or something is wrong.
bool RegionRun::run_until(const std::function<bool()>& predicate, uint64_t duration_ns) {
  const uint64_t until_ns = world_.now_ns() + duration_ns;
  while (!violated()) {
    // A server whose disk failed is started again by whoever runs it; that is us.
    bool failed = false;
    const auto stop = [&] {
      failed = std::any_of(servers_.begin(), servers_.end(), [this](const auto& server) {
        return world_.running(server->node) && static_cast<ServerProcess*>(world_.process(server->node))->failed();
      });
      return failed || violated() || predicate();
    };
    const bool stopped = world_.run_until(stop, until_ns);
    if (world_.livelocked()) model_.violate("a livelock: coroutines run and time does not move");
    if (failed) {
      look_after();
      continue;
    }
    return stopped && !violated();
  }
  return false;
}

void RegionRun::look_after() {
  for (const auto& server : servers_) {
    if (!world_.running(server->node)) continue;
    if (!static_cast<ServerProcess*>(world_.process(server->node))->failed()) continue;
    kill_server(*server, Crash::kProcess);
    restart_later(*server);
  }
}

void RegionRun::drive() {
  uint64_t last = operations(), since_ns = world_.now_ns();
  while (!violated()) {
    const uint64_t done = operations();
    if (done != last) last = done, since_ns = world_.now_ns();
    if (done >= options_.operations_min && world_.timeline().fault_count() >= options_.faults_min) return;
    if (world_.now_ns() - since_ns > kPatienceNs) {
      model_.violate("no request ends any more: " + (driver() == nullptr ? "no driver" : driver()->state()));
      return;
    }
    const uint64_t more = 20 + random_.below(120);
    for (const Host& host : hosts_) {
      if (host.driver != 0) static_cast<DriverProcess*>(world_.process(host.node))->allow(more + 10);
    }
    run_until([&] { return operations() >= done + more; }, 5 * kMillisecond + random_.below(2 * kSecond));
    // A takeover takes up to ten seconds; drivers that are killed sooner, again and again, never come to work.
    const bool starved = world_.now_ns() - since_ns > kStarvedNs;
    Host& other = hosts_[1 - active_];
    if (starved && other.driver != 0) kill_driver(other);
    if (!violated() && !starved) inject();
  }
}

// ---- the end

void RegionRun::heal() {
  quiet_ = true;
  world_.run_for(10 * kMillisecond);  // resets that are under way
  world_.fabric().heal_all();
  world_.fabric().knobs() = {};
  if (!world_.running(meta_node_)) start_meta();
  for (const auto& server : servers_) {
    if (world_.running(server->node))
      world_.resume(server->node);
    else
      start_server(*server);
    server->index.repair();
    for (runtime::SimStorage* storage : world_.storages(server->node)) storage->repair();
  }
  for (const Host& host : hosts_) {
    if (world_.running(host.node)) world_.resume(host.node);
  }
}

// One driver that is attached and not superseded, its clients done.
bool RegionRun::settle_driver() {
  if (driver() == nullptr) start_driver(hosts_[active_]);
  Host& other = hosts_[1 - active_];
  if (!driver()->attached() && other.driver != 0) kill_driver(other);
  if (!run_until([this] { return driver()->attached(); }, kPatienceNs)) {
    if (!violated()) model_.violate("no driver can attach: " + driver()->state());
    return false;
  }
  driver()->stop_clients();
  if (!run_until([this] { return driver()->finished(); }, kPatienceNs)) {
    if (!violated()) model_.violate("requests do not end: " + driver()->state());
    return false;
  }
  for (Host& host : hosts_) {
    if (&host != &hosts_[active_] && host.driver != 0) kill_driver(host);
  }
  return true;
}

bool RegionRun::do_task(DriverProcess::Wish wish, const char* what) {
  driver()->wish(wish);
  if (run_until([this] { return driver()->wish_done(); }, kPatienceNs)) return true;
  if (!violated()) model_.violate(fmt::format("it does not end: {}: {}", what, driver()->state()));
  return false;
}

// The server's process, while it serves.
ServerProcess* RegionRun::serving(const Server& server) {
  if (!world_.running(server.node)) return nullptr;
  auto* process = static_cast<ServerProcess*>(world_.process(server.node));
  return process->serving() && !process->failed() ? process : nullptr;
}

void RegionRun::scrub() {
  for (const auto& server : servers_) {
    if (!run_until([&] { return serving(*server) != nullptr; }, kPatienceNs)) {
      if (!violated()) model_.violate(fmt::format("server {} does not serve again", server->place.id));
      return;
    }
    ServerProcess& process = *serving(*server);
    process.scrub();
    if (!run_until([&] { return process.scrubbed().has_value(); }, kPatienceNs)) {
      if (!violated()) model_.violate(fmt::format("the scrub of server {} does not end", server->place.id));
      return;
    }
    if (process.scrubbed()->size() <= rots_) continue;
    const store::PageFault& first = process.scrubbed()->front();
    model_.violate(fmt::format("scrub of server {}: {} pages do not match, the first: chunk {} page {}",
                               server->place.id, process.scrubbed()->size(), first.key.chunk, first.page));
  }
}

void RegionRun::finish() {
  using Wish = DriverProcess::Wish;
  world_.timeline().note("healing; no more faults");
  heal();
  if (!settle_driver() || !do_task(Wish::kReadAll, "the last reading")) return;
  if (!do_task(Wish::kDetach, "the detach")) return;
  model_.driver_gone();
  kill_driver(hosts_[active_]);
  scrub();
  if (violated()) return;
  // What was detached in good order is durable to the last byte.
  world_.timeline().note("power off, and on again");
  kill_meta(Crash::kPower);
  for (const auto& server : servers_) kill_server(*server, Crash::kPower);
  heal();
  start_driver(hosts_[active_]);
  if (!settle_driver() || !do_task(Wish::kReadAll, "reading after the power went")) return;
  if (!do_task(Wish::kDetach, "the last detach")) return;
  scrub();
}

}  // namespace foreshard::sim
