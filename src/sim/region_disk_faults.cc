// The faults of a run that strike disks: slow, failing and full ones, and those that answer well and are wrong.
#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "sim/region.h"
#include "store/format.h"

namespace foreshard::sim {

using runtime::SimStorage;

namespace {

constexpr uint64_t kMillisecond = 1'000'000;
constexpr uint64_t kSecond = 1'000 * kMillisecond;
constexpr const char* kSlotFiles = "slots/";

}  // namespace

void RegionRun::fault_slow_disk() {
  for (SimStorage* storage : world_.storages(any_server().node)) {
    storage->knobs().slow_chance = 0.05;
    storage->knobs().slow_ns_max = soon_ns(kSecond);
    world_.at(world_.now_ns() + soon_ns(2 * kSecond), [storage] { storage->knobs().slow_chance = 0; });
  }
}

// What is asked of the disk in a short while takes seconds.
void RegionRun::fault_stuck_disk() {
  for (SimStorage* storage : world_.storages(any_server().node)) {
    world_.timeline().fault("disk stuck", storage->name());
    storage->knobs().slow_chance = 1;
    storage->knobs().slow_ns_max = soon_ns(10 * kSecond);
    world_.at(world_.now_ns() + soon_ns(200 * kMillisecond), [storage] { storage->knobs().slow_chance = 0; });
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
  for (SimStorage* storage : world_.storages(server.node)) {
    if (kind == 1)
      storage->fail_next_write();
    else
      storage->fail_next_sync();
  }
}

// For a while some reads fail: the clients may be told so.
void RegionRun::fault_read_errors() {
  Server& server = any_server();
  const uint64_t until_ns = world_.now_ns() + soon_ns(2 * kSecond);
  server.read_errors_until_ns = std::max(server.read_errors_until_ns, until_ns);
  for (SimStorage* storage : world_.storages(server.node)) {
    storage->knobs().read_error_chance = 0.2;
    world_.at(until_ns, [storage] { storage->knobs().read_error_chance = 0; });
  }
}

// For a while nothing grows on the disk: writes may be refused.
void RegionRun::fault_disk_full() {
  Server& server = any_server();
  const uint64_t until_ns = world_.now_ns() + 100 * kMillisecond + random_.below(15 * kSecond);
  world_.timeline().fault("disk full", fmt::format("server-{}", server.place.id));
  server.full_until_ns = std::max(server.full_until_ns, until_ns);
  for (SimStorage* storage : world_.storages(server.node)) {
    storage->knobs().capacity_bytes = storage->used_bytes() + random_.below(4) * kChunkBytes;
    world_.at(until_ns, [storage] { storage->knobs().capacity_bytes = UINT64_MAX; });
  }
}

// ---- what is not there any more as it was written

// True when nothing waits for a checkpoint: no page may differ from its checksum because of a crash. False when the
// server was started again meanwhile, or the time is over.
bool RegionRun::settle_server(Server& server, uint64_t starts) {
  const auto settled = [&] {
    if (server.starts != starts) return true;
    const ServerProcess* process = serving(server);
    return process != nullptr && process->settled();
  };
  return run_until(settled, 10 * kSecond) && server.starts == starts;
}

// What one page of a slot holds changes by itself.
void RegionRun::fault_rot() {
  if (damages_left_ == 0) return;
  Server& server = any_server();
  if (!settle_server(server, server.starts)) return;
  --damages_left_;
  for (SimStorage* storage : world_.storages(server.node)) (void)storage->rot(kSlotFiles);
  place_damage(server);
}

// A write of data is acknowledged by the disk, and lost, or lands elsewhere, or with a bit wrong.
void RegionRun::fault_spoilt_write() {
  if (damages_left_ == 0 || options_.perfect_store) return;
  Server& server = any_server();
  if (!world_.running(server.node)) return;
  SimStorage* const storage = world_.storages(server.node).front();
  const uint64_t starts = server.starts;
  const uint64_t kind = random_.below(3);
  const auto how = kind == 0   ? SimStorage::Spoil::kLost
                   : kind == 1 ? SimStorage::Spoil::kMisdirected
                               : SimStorage::Spoil::kCorrupted;
  storage->spoil_next_write(how, kSlotFiles);
  for (const auto& volume : volumes_) {
    if (volume->has_driver()) driver(*volume)->allow(100);
  }
  const uint64_t before = storage->spoilt_writes();
  const bool struck = run_until([&] { return storage->spoilt_writes() > before; }, 2 * kSecond);
  storage->forget_spoils();
  if (!struck) return;
  --damages_left_;
  place_damage(server);
  if (!settle_server(server, starts)) return;
  place_damage(server);
  server.unplaced.clear();  // in slots that are nobody's
  for (const auto& volume : volumes_) {
    if (volume->model) volume->model->damage_is_settled(server.id());
  }
}

// Tells the models which pages the disks of the server have spoilt since the last call.
void RegionRun::place_damage(Server& server) {
  for (SimStorage* storage : world_.storages(server.node)) {
    for (Damage& damage : storage->take_damage()) server.unplaced.push_back(std::move(damage));
  }
  std::erase_if(server.unplaced, [&](const Damage& damage) { return place_one(server, damage); });
}

// False when the index does not say yet whose a slot is.
bool RegionRun::place_one(Server& server, const Damage& damage) {
  if (!damage.path.starts_with(kSlotFiles)) return true;
  const std::string_view name = std::string_view(damage.path).substr(std::string_view(kSlotFiles).size());
  uint64_t file = 0;
  std::from_chars(name.data(), name.data() + name.size(), file);
  const uint64_t slots_per_file = server.place.store.slot_file_bytes / kChunkBytes;
  bool placed = true;
  for (uint64_t at = damage.offset; at < damage.offset + damage.bytes; at += kPageBytes) {
    const std::string key = store::slot_key(file * slots_per_file + at / kChunkBytes);
    const auto found = server.index.content().find(key);
    if (found == server.index.content().end()) {
      placed = false;
      continue;
    }
    const Result<store::SlotRecord> owner = store::parse_slot(found->first, found->second);
    if (!owner) continue;
    const uint64_t page = owner->chunk * kPagesPerChunk + at % kChunkBytes / kPageBytes;
    for (const auto& volume : volumes_) {
      if (volume->model && volume->id == owner->volume) volume->model->damage(page, damage.in_write);
    }
  }
  return placed;
}

}  // namespace foreshard::sim
