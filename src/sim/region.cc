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
constexpr uint64_t kRecoveryNs = 40 * kSecond;   // after the last fault of a burst: by then all works again
constexpr size_t kRecentLines = 40;

}  // namespace

std::string RegionOutcome::summary() const {
  return fmt::format("{:>6} ops {:>3} faults {:>2} takeovers {:>8.3f} s {:>8} steps {:016x}", operations, faults,
                     takeovers, static_cast<double>(virtual_ns) / 1e9, steps, fingerprint);
}

// What the run draws comes from the seed too, apart from the world's own choices.
RegionRun::RegionRun(RegionOptions options)
    : options_(options), world_(options.seed), random_(mix64(options.seed)) {
  set_log_level(options_.verbose ? LogLevel::kDebug : LogLevel::kWarn);
  set_log_sink([this](LogLevel level, std::string_view line) {
    world_.timeline().note("log: " + std::string(line));
    if (level == LogLevel::kError) violate("an error was logged: " + std::string(line));
  });
  if (options_.verbose) world_.timeline().set_trace([](const std::string& line) { fmt::print("{}\n", line); });
}

RegionRun::~RegionRun() { set_log_sink({}); }

void RegionRun::violate(std::string what) { trouble_.add(std::move(what)); }

bool RegionRun::violated() const {
  if (trouble_.text) return true;
  return std::any_of(volumes_.begin(), volumes_.end(),
                     [](const auto& volume) { return volume->model && volume->model->violation(); });
}

RegionOutcome RegionRun::run() {
  build();
  if (create_main_volume()) {
    start_driver(*volumes_[0]);
    drive();
    if (!violated()) finish();
  }
  return outcome();
}

RegionOutcome RegionRun::outcome() {
  RegionOutcome result;
  for (const auto& volume : volumes_) {
    if (!volume->model || !volume->model->violation()) continue;
    result.violation = fmt::format("volume '{}': {}", volume->name, *volume->model->violation());
    break;
  }
  if (!result.violation) result.violation = trouble_.text;
  result.operations = operations();
  result.faults = world_.timeline().fault_count();
  result.takeovers = takeovers_;
  result.virtual_ns = world_.now_ns();
  result.steps = world_.steps();
  result.fingerprint = world_.fingerprint();
  result.counters = world_.counters();
  const auto& recent = world_.timeline().recent();
  const size_t skip = recent.size() > kRecentLines ? recent.size() - kRecentLines : 0;
  result.recent.assign(recent.begin() + static_cast<int64_t>(skip), recent.end());
  return result;
}

// ---- building

VolumeRun& RegionRun::add_volume(std::string name) {
  auto volume = std::make_unique<VolumeRun>();
  volume->name = std::move(name);
  for (size_t i = 0; i < volume->hosts.size(); ++i)
    volume->hosts[i].node = world_.add_node(fmt::format("host-{}{}", volume->name, i));
  volumes_.push_back(std::move(volume));
  return *volumes_.back();
}

void RegionRun::build() {
  meta_node_ = world_.add_node("meta");
  admin_node_ = world_.add_node("admin");
  full_ = random_.chance(0.15);
  if (!options_.perfect_store && random_.chance(0.3)) damages_left_ = 1 + random_.below(6);
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
  VolumeRun& main = add_volume("main");
  main.bytes = (4 + random_.below(13)) << 20;
  main.volumelet_bytes = uint64_t{1} << (20 + random_.below(2));
  const uint64_t manner = random_.below(20);
  main.hammer = manner < 6;
  main.churn = manner >= 16;
  if (main.churn) main.bytes = main.volumelet_bytes * (2 + random_.below(3));
  if (random_.chance(0.5)) {
    VolumeRun& side = add_volume("side");
    side.bytes = (1 + random_.below(4)) << 20;
    side.volumelet_bytes = uint64_t{1} << 20;
  }
  start_meta();
  for (const auto& server : servers_) start_server(*server);
  if (random_.chance(0.9)) return;
  // The power goes while the stores are being made.
  world_.run_for(random_.below(2 * kMillisecond));
  for (const auto& server : servers_) {
    kill_server(*server, Crash::kPower);
    restart_later(*server);
  }
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

bool RegionRun::create_main_volume() {
  VolumeRun& main = *volumes_[0];
  start_admin({AdminTask::Kind::kCreate, main.name, main.bytes, main.volumelet_bytes});
  if (!run_until([this] { return admin()->done(); }, kPatienceNs)) {
    if (!violated()) violate("the volume is not made in time: " + admin()->last_error());
    return false;
  }
  adopt_new_volume(main);
  stop_admin();
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

void RegionRun::start_driver(VolumeRun& volume, bool data_is_gone) {
  DriverPlan plan;
  plan.volume = volume.name;
  plan.volume_id = volume.id;
  plan.number = volume.host().driver = ++drivers_;
  volume.host().started_ns = world_.now_ns();
  plan.epochs = &epochs_;
  plan.data_is_gone = data_is_gone;
  WorkloadOptions& workload = plan.workload;
  workload.operations = UINT64_MAX;
  workload.clients = 1 + static_cast<uint32_t>(random_.below(volume.name == "main" ? 12 : 4));
  if (volume.hammer) workload.clients = 8 + static_cast<uint32_t>(random_.below(8));
  workload.volumelet_bytes = volume.volumelet_bytes;
  workload.bytes_max = 32u << 10;
  workload.hammer = volume.hammer;
  workload.flush_chance = random_.chance(0.5) ? 0.05 : 0.01;
  if (volume.hammer) workload.durable_chance = 0.3;
  if (volume.churn) {
    workload.large_chance = 0.2;
    workload.flush_chance = 0.1;
  }
  workload.excused = [this, &volume](ErrorCode code, uint64_t offset, uint64_t bytes, uint64_t begun_ns) {
    return excused(volume, code, offset, bytes, begun_ns);
  };
  workload.clock_ns = [this] { return world_.now_ns(); };
  plan.cache_bytes = random_.chance(0.3) ? 0 : (64u << 10) << random_.below(6);
  // By the seed alone: a draw would change what all other seeds mean.
  plan.cache_file = plan.cache_bytes > 0 && options_.seed % 5 == 2;
  plan.retained_bytes = (64u << 10) << random_.below(6);
  if (!quiet_ && random_.chance(0.15)) {
    plan.io_timeout_ns = kMillisecond * (1 + random_.below(10'000));
    volume.may_time_out = true;
  }
  VolumeModel& model = *volume.model;
  world_.start(volume.host().node, [this, &model, plan](SimRuntime& runtime) {
    return std::make_unique<DriverProcess>(runtime, model, plan, trouble_);
  });
}

// ---- what clients may be told

// `begun_ns` is of the world's time. A flush concerns no range.
bool RegionRun::excused(const VolumeRun& volume, ErrorCode code, uint64_t offset, uint64_t bytes, uint64_t begun_ns) {
  const auto on_server = [&](const auto& matches) {
    if (bytes == 0) return std::any_of(servers_.begin(), servers_.end(), [&](const auto& s) { return matches(*s); });
    for (uint64_t sector = offset / kSectorBytes; sector <= (offset + bytes - 1) / kSectorBytes; ++sector) {
      if (matches(server_with(volume.model->server_of(sector)))) return true;
    }
    return false;
  };
  const char* why = nullptr;
  if (code == ErrorCode::kNoSpace) {
    const bool full = on_server([&](const Server& server) {
      return server.full_until_ns >= begun_ns || (full_ && server.place.id == 1);
    });
    if (full) why = "refused: no space";
  } else if (code == ErrorCode::kTimeout) {
    if (volume.may_time_out) why = "refused: not in time";
  } else if (code == ErrorCode::kIo && bytes > 0) {
    if (on_server([&](const Server& server) { return server.read_errors_until_ns >= begun_ns; }))
      why = "refused: read error";
  } else if (code == ErrorCode::kCorrupt && bytes > 0) {
    for (const auto& server : servers_) place_damage(*server);
    const bool unplaced = on_server([&](const Server& server) { return !server.unplaced.empty(); });
    if (unplaced || volume.model->damaged(offset, bytes)) why = "refused: corrupt";
  }
  if (why != nullptr) world_.timeline().count(why, volume.name);
  return why != nullptr;
}

// ---- running

DriverProcess* RegionRun::driver_on(const Host& host) {
  return host.driver == 0 ? nullptr : static_cast<DriverProcess*>(world_.process(host.node));
}

uint64_t RegionRun::operations() {
  uint64_t sum = 0;
  for (const auto& volume : volumes_) {
    sum += volume->operations_gone;
    for (const Host& host : volume->hosts) {
      if (host.driver != 0) sum += driver_on(host)->done();
    }
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
    if (world_.livelocked()) violate("a livelock: coroutines run and time does not move");
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

std::string RegionRun::states() {
  std::string text;
  for (const auto& volume : volumes_) {
    text += fmt::format(" '{}': {};", volume->name,
                        volume->has_driver() ? driver(*volume)->state() : std::string("no driver"));
  }
  return text;
}

// False when nothing has ended for a while: a takeover takes up to ten seconds, and drivers that are killed sooner,
// again and again, never come to work.
bool RegionRun::progress_in_time() {
  const uint64_t done = operations();
  if (done != last_operations_) last_operations_ = done, last_progress_ns_ = world_.now_ns();
  const uint64_t since_ns = world_.now_ns() - last_progress_ns_;
  if (since_ns > kPatienceNs / 2) make_space();
  if (since_ns > kPatienceNs) violate("no request ends any more:" + states());
  return since_ns <= kStarvedNs;
}

// Volumes together may have been promised more than the small store has: what a crash undid of one, another took, and
// what is to be restored does not fit. Nothing is lost as long as the driver lives, and it waits for space.
void RegionRun::make_space() {
  if (!full_ || volumes_.size() == 1) return;
  full_ = false;
  Server& server = *servers_.front();
  server.place.store.capacity_bytes = 64u << 20;
  server.full_until_ns = std::max(server.full_until_ns, world_.now_ns());
  if (!world_.running(server.node)) return;
  kill_server(server, Crash::kProcess);
  start_server(server);
}

void RegionRun::drive() {
  const uint64_t end_ns = world_.now_ns() + options_.virtual_ns_min;
  last_progress_ns_ = world_.now_ns();
  while (!violated()) {
    const bool enough =
        operations() >= options_.operations_min && world_.timeline().fault_count() >= options_.faults_min;
    if (enough && world_.now_ns() >= end_ns) return;
    burst();
    if (!violated()) calm();
  }
}

// Faults close upon each other.
void RegionRun::burst() {
  for (uint64_t left = 3 + random_.below(12); left > 0 && !violated(); --left) {
    const uint64_t done = operations(), more = 10 + random_.below(50);
    for (const auto& volume : volumes_) {
      for (const Host& host : volume->hosts) {
        if (host.driver != 0) driver_on(host)->allow(more + 10);
      }
    }
    run_until([&] { return operations() >= done + more; }, 5 * kMillisecond + random_.below(2 * kSecond));
    if (violated() || !progress_in_time()) return;
    tend();
    inject();
  }
}

// Time passes, a little is done. Faults begun before come to an end.
void RegionRun::calm() {
  const uint64_t length_ns = 15 * kSecond + random_.below(120 * kSecond);
  const uint64_t end_ns = world_.now_ns() + length_ns;
  while (!violated() && world_.now_ns() < end_ns) {
    for (const auto& volume : volumes_) {
      if (volume->has_driver()) driver(*volume)->allow(1 + random_.below(6));
    }
    run_until([] { return false; }, std::min(end_ns - world_.now_ns(), kSecond + random_.below(6 * kSecond)));
    (void)progress_in_time();
    tend();
  }
  if (length_ns >= kRecoveryNs && !violated()) check_recovered();
}

// What must be true some time after the last fault, without anybody's help.
void RegionRun::check_recovered() {
  for (const auto& volume : volumes_) {
    if (volume->life != VolumeRun::Life::kLive) continue;
    const DriverProcess* now = driver(*volume);
    if (now == nullptr || world_.now_ns() - volume->host().started_ns < kRecoveryNs) continue;
    if (!now->attached()) violate("no driver is attached long after the last fault:" + states());
    const DriverProcess* old = driver_on(volume->other());
    if (old != nullptr && old->attached() && !old->ended() && !old->detaching())
      violate("a driver that was superseded has not ended:" + old->state());
  }
}

}  // namespace foreshard::sim
