// The end of a run: everything is healed, read, scrubbed, powered off and read again; what was removed has left
// nothing behind; and then, sometimes, a disk is lost for good, and nobody may take zeros for data.
#include <algorithm>

#include <fmt/format.h>

#include "sim/region.h"
#include "store/format.h"

namespace foreshard::sim {

using runtime::Crash;
using Life = VolumeRun::Life;
using Wish = DriverProcess::Wish;

namespace {

constexpr uint64_t kMillisecond = 1'000'000;
constexpr uint64_t kSecond = 1'000 * kMillisecond;
constexpr uint64_t kPatienceNs = 180 * kSecond;

}  // namespace

void RegionRun::heal() {
  quiet_ = true;
  world_.run_for(10 * kMillisecond);  // resets that are under way
  make_space();
  world_.fabric().heal_all();
  world_.fabric().knobs() = {};
  if (!world_.running(meta_node_)) start_meta();
  world_.resume(meta_node_);
  for (const auto& server : servers_) {
    if (world_.running(server->node))
      world_.resume(server->node);
    else
      start_server(*server);
    server->index.repair();
    for (runtime::SimStorage* storage : world_.storages(server->node)) storage->repair();
  }
  for (const auto& volume : volumes_) {
    for (const Host& host : volume->hosts) {
      if (world_.running(host.node)) world_.resume(host.node);
    }
  }
}

// One driver that is attached and not superseded, its clients done.
bool RegionRun::settle_driver(VolumeRun& volume) {
  if (!volume.has_driver() || driver(volume)->detaching()) replace_driver(volume);
  if (!driver(volume)->attached()) kill_driver(volume, volume.other());
  if (!run_until([&] { return driver(volume)->attached(); }, kPatienceNs)) {
    if (!violated()) violate("no driver can attach:" + states());
    return false;
  }
  driver(volume)->stop_clients();
  if (!run_until([&] { return driver(volume)->finished(); }, kPatienceNs)) {
    if (!violated()) violate("requests do not end:" + states());
    return false;
  }
  kill_driver(volume, volume.other());
  return true;
}

// What the administrator has begun comes to its end.
bool RegionRun::settle_admin() {
  const bool ended = run_until(
      [this] {
        tend();
        return admin_task_.volume.empty();
      },
      kPatienceNs);
  if (!ended && !violated())
    violate(fmt::format("the administrator does not come to an end with '{}': {}", admin_task_.volume,
                        admin() == nullptr ? std::string() : admin()->last_error()));
  return ended;
}

bool RegionRun::do_task(VolumeRun& volume, Wish wish, const char* what) {
  driver(volume)->wish(wish);
  if (!run_until([&] { return driver(volume)->wish_done(); }, kPatienceNs)) {
    if (!violated()) violate(fmt::format("it does not end: {}:{}", what, states()));
    return false;
  }
  if (driver(volume)->wish_error()) violate(fmt::format("{}: {}", what, *driver(volume)->wish_error()));
  return !violated();
}

// The server's process, while it serves.
ServerProcess* RegionRun::serving(const Server& server) {
  if (!world_.running(server.node)) return nullptr;
  auto* process = static_cast<ServerProcess*>(world_.process(server.node));
  return process->serving() && !process->failed() ? process : nullptr;
}

void RegionRun::note_fault(const Server& server, uint64_t id, uint64_t page, Unreadable& found) {
  found.insert({id, page});
  for (const auto& volume : volumes_) {
    if (volume->id != id || !volume->model) continue;
    world_.timeline().count("unreadable page found by scrub", fmt::format("{} page {}", volume->name, page));
    if (!volume->model->damaged(page * kPageBytes, kPageBytes))
      violate(fmt::format("scrub of server {}: volume '{}' page {} does not match, and nobody has spoilt it",
                          server.place.id, volume->name, page));
  }
}

// The pages that do not match, by volume; each was spoilt.
RegionRun::Unreadable RegionRun::scrub() {
  Unreadable found;
  for (const auto& server : servers_) {
    if (!run_until([&] { return serving(*server) != nullptr; }, kPatienceNs)) {
      if (!violated()) violate(fmt::format("server {} does not serve again", server->place.id));
      return found;
    }
    ServerProcess& process = *serving(*server);
    process.scrub();
    if (!run_until([&] { return process.scrubbed().has_value(); }, kPatienceNs)) {
      if (!violated()) violate(fmt::format("the scrub of server {} does not end", server->place.id));
      return found;
    }
    for (const store::PageFault& fault : *process.scrubbed()) {
      for (uint64_t i = 0; i < fault.pages; ++i)
        note_fault(*server, fault.key.volume.value, fault.key.chunk * kPagesPerChunk + fault.page + i, found);
    }
  }
  return found;
}

// By the driver of every volume, which is then detached.
bool RegionRun::read_everything(const char* what, Unreadable* unreadable) {
  for (const auto& volume : volumes_) {
    if (volume->life != Life::kLive) continue;
    if (!settle_driver(*volume) || !do_task(*volume, Wish::kReadAll, what)) return false;
    for (uint64_t page : driver(*volume)->unreadable()) unreadable->insert({volume->id, page});
    if (!do_task(*volume, Wish::kDetach, "the detach")) return false;
    kill_driver(*volume, volume->host());
  }
  return true;
}

// What servers still keep of volumes that are no more.
void RegionRun::check_nothing_left_behind() {
  world_.run_for(45 * kSecond);  // servers look every twenty
  for (const auto& server : servers_) {
    for (const auto& [key, value] : server->index.content()) {
      const auto chunk = store::parse_chunk_key(key);
      if (!chunk) continue;
      const bool there = std::any_of(volumes_.begin(), volumes_.end(), [&](const auto& volume) {
        return volume->id == chunk->volume.value && volume->life != Life::kAbsent;
      });
      if (!there)
        violate(fmt::format("server {} still has chunk {} of volume {}, which was removed", server->place.id,
                            chunk->chunk, chunk->volume.value));
    }
  }
}

// Data that only that server had is gone: drivers refuse the volume, and say so, rather than serve zeros (R-PRESENT).
void RegionRun::lose_a_disk_for_good() {
  VolumeRun& main = *volumes_[0];
  Server& server = server_with(main.model->server_of(random_.below(main.bytes / kSectorBytes)));
  kill_server(server, Crash::kPower);
  const bool tail = random_.chance(0.5);
  if (!tail) {
    for (runtime::SimStorage* storage : world_.storages(server.node)) storage->replace();
    server.index = index::MapIndexState();
  } else {
    if (!server.index.lose_synced_tail(random_)) return;
    world_.timeline().fault("index tail lost", fmt::format("server-{}", server.place.id));
  }
  start_server(server);
  start_driver(main, true);
  const auto decided = [&] { return driver(main)->attached() || driver(main)->refused(); };
  if (!run_until(decided, kPatienceNs)) {
    if (!violated()) violate("a volume whose data is gone: neither attached nor refused:" + states());
    return;
  }
  if (!driver(main)->attached()) return;
  violate(fmt::format("a volume was attached after {}", tail ? "a server's index had lost what was durable"
                                                            : "a server's disk had been replaced"));
}

void RegionRun::finish() {
  world_.timeline().note("healing; no more faults");
  heal();
  if (!settle_admin()) return;
  Unreadable unreadable;
  if (!read_everything("the last reading", &unreadable)) return;
  scrub();
  if (violated()) return;
  // What was detached in good order is durable to the last byte. And nothing is cached any more: what cannot be read
  // is what the scrub finds.
  world_.timeline().note("power off, and on again");
  kill_meta(Crash::kPower);
  for (const auto& server : servers_) kill_server(*server, Crash::kPower);
  heal();
  unreadable.clear();
  if (!read_everything("reading after the power went", &unreadable)) return;
  const Unreadable scrubbed = scrub();
  if (violated()) return;
  for (const auto& [volume, page] : unreadable) {
    if (!scrubbed.contains({volume, page}))
      violate(fmt::format("page {} of volume {} cannot be read, and the scrub did not find it", page, volume));
  }
  for (const auto& [volume, page] : scrubbed) {
    const auto known = [id = volume](const auto& v) { return v->id == id && v->life == Life::kLive; };
    if (std::any_of(volumes_.begin(), volumes_.end(), known) && !unreadable.contains({volume, page}))
      violate(fmt::format("the scrub finds page {} of volume {}, which was read", page, volume));
  }
  check_nothing_left_behind();
  if (!violated() && !options_.perfect_store && random_.chance(0.2)) lose_a_disk_for_good();
}

}  // namespace foreshard::sim
