// VolumeRun: one volume of a run: what its clients may see, the two hosts on which drivers of it run, and where its
// life stands. Plain state, owned and moved on by RegionRun.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/sim_world.h"
#include "sim/model.h"

namespace foreshard::sim {

struct Host {
  runtime::NodeId node = 0;
  uint64_t driver = 0;  // number of the driver there; 0: none
  uint64_t started_ns = 0;
};

struct VolumeRun {
  enum class Life : uint8_t { kAbsent, kCreating, kLive, kLeaving, kDetaching, kRemoving };

  std::string name;
  uint64_t id = 0;  // while it exists
  uint64_t bytes = 0, volumelet_bytes = 0;
  std::unique_ptr<VolumeModel> model;  // none before it was made for the first time
  std::array<Host, 2> hosts;
  size_t active = 0;  // the host whose driver is, or is to be, the volume's
  Life life = Life::kAbsent;
  bool hammer = false;            // all clients at the same few pages
  bool may_time_out = false;       // a driver of it gives requests up in time, or did
  bool churn = false;             // chunks come and go, so that slots are reused all the time
  uint64_t operations_gone = 0;    // of drivers that are gone
  uint64_t operations_wanted = 0;  // of this driver, before it is detached
  uint64_t grows_to = 0;           // bytes, while that is under way

  Host& host() { return hosts[active]; }
  Host& other() { return hosts[1 - active]; }
  bool has_driver() const { return hosts[active].driver != 0; }
};

}  // namespace foreshard::sim
