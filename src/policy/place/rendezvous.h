// Placement before any history: rendezvous hashing (Thaler and Ravishankar 1998). Every item goes to the server
// with the highest hash of (item, server), so that a server that comes or goes moves only its own share.
#pragma once

#include <cstdint>
#include <vector>

#include "base/ids.h"

namespace foreshard::policy {

// The server for item `index` of a volume; servers is not empty. The same for ever for the same arguments.
ServerId place_by_rendezvous(VolumeId volume, uint64_t index, const std::vector<ServerId>& servers);

}  // namespace foreshard::policy
