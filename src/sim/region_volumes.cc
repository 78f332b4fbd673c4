// What happens to volumes besides faults: they are made, grown while attached, detached and attached again, removed,
// and made again under the same name. Nothing here waits: tend() moves on what can be moved on.
#include <algorithm>

#include <fmt/format.h>

#include "sim/region.h"

namespace foreshard::sim {

using runtime::Crash;
using runtime::SimRuntime;
using Life = VolumeRun::Life;

// ---- the administrator: one process at a time

AdminProcess* RegionRun::admin() {
  return world_.running(admin_node_) ? static_cast<AdminProcess*>(world_.process(admin_node_)) : nullptr;
}

void RegionRun::start_admin(AdminTask task) {
  admin_task_ = std::move(task);
  world_.start(admin_node_, [this, task = admin_task_](SimRuntime& runtime) {
    return std::make_unique<AdminProcess>(runtime, task, servers_.size(), trouble_);
  });
}

void RegionRun::stop_admin() {
  if (admin() != nullptr) world_.stop(admin_node_);
  admin_task_.volume.clear();
}

// ---- the volumes

void RegionRun::adopt_new_volume(VolumeRun& volume) {
  const VolumeFacts& facts = admin()->facts();
  volume.id = facts.id;
  volume.model = std::make_unique<VolumeModel>(volume.bytes, options_.seed ^ mix64(facts.id));
  volume.model->set_layout(volume.volumelet_bytes, facts.layout);
  volume.life = Life::kLive;
  world_.timeline().count("volume created", fmt::format("{}, id {}", volume.name, volume.id));
}

void RegionRun::tend() {
  if (violated()) return;
  // Who was killed at work is started again, and finds what he left.
  if (!admin_task_.volume.empty() && admin() == nullptr) start_admin(AdminTask(admin_task_));
  tend_growth(*volumes_[0]);
  if (volumes_.size() > 1) tend_side_volume(*volumes_[1]);
}

void RegionRun::tend_growth(VolumeRun& volume) {
  constexpr uint64_t kBytesMax = 24u << 20;
  if (volume.grows_to == 0) {
    if (!admin_task_.volume.empty() || volume.bytes >= kBytesMax || !random_.chance(0.02)) return;
    volume.grows_to = volume.bytes + (1 + random_.below(6 << 20 >> 9)) * kSectorBytes;
    start_admin({AdminTask::Kind::kGrow, volume.name, volume.grows_to, volume.volumelet_bytes});
    return;
  }
  if (admin() == nullptr || !admin()->done()) return;
  DriverProcess* process = driver(volume);
  if (process != nullptr && process->attached() && process->size_bytes() < volume.grows_to) return;
  volume.model->set_layout(volume.volumelet_bytes, admin()->facts().layout);
  volume.model->grow(volume.grows_to);
  volume.bytes = volume.grows_to;
  volume.grows_to = 0;
  world_.timeline().count("volume grown", fmt::format("{} to {} bytes", volume.name, volume.bytes));
  stop_admin();
}

void RegionRun::tend_side_volume(VolumeRun& volume) {
  const bool admin_free = admin_task_.volume.empty();
  const bool admin_done = admin_task_.volume == volume.name && admin() != nullptr && admin()->done();
  DriverProcess* process = driver(volume);
  switch (volume.life) {
    case Life::kAbsent:
      if (!admin_free || !random_.chance(0.3)) return;
      start_admin({AdminTask::Kind::kCreate, volume.name, volume.bytes, volume.volumelet_bytes});
      volume.life = Life::kCreating;
      return;
    case Life::kCreating:
      if (!admin_done) return;
      adopt_new_volume(volume);
      stop_admin();
      volume.operations_wanted = 20 + random_.below(200);
      start_driver(volume);
      return;
    case Life::kLive:
      if (process == nullptr || !process->attached() || process->done() < volume.operations_wanted) return;
      process->stop_clients();
      volume.life = Life::kLeaving;
      return;
    case Life::kLeaving:
      if (process == nullptr || process->ended()) return finish_leaving(volume);
      if (!process->finished()) return;
      process->wish(DriverProcess::Wish::kDetach);
      volume.life = Life::kDetaching;
      return;
    case Life::kDetaching:
      if (process == nullptr || process->wish_done()) finish_leaving(volume);
      return;
    case Life::kRemoving:
      if (admin_free) start_admin({AdminTask::Kind::kRemove, volume.name, 0, 0});
      if (!admin_done) return;
      stop_admin();
      world_.timeline().count("volume removed", fmt::format("{}, id {}", volume.name, volume.id));
      volume.life = Life::kAbsent;
      return;
  }
}

// Its driver has detached, or is dead: the volume is attached again, or removed.
void RegionRun::finish_leaving(VolumeRun& volume) {
  for (Host& host : volume.hosts) kill_driver(volume, host);
  if (random_.chance(0.5)) {
    volume.life = Life::kRemoving;
    return;
  }
  world_.timeline().count("volume attached again", volume.name);
  volume.life = Life::kLive;
  volume.operations_wanted = 20 + random_.below(200);
  start_driver(volume);
}

}  // namespace foreshard::sim
