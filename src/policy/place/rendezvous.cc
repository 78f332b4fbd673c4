#include "policy/place/rendezvous.h"

#include "base/assert.h"
#include "base/random.h"

namespace foreshard::policy {

ServerId place_by_rendezvous(VolumeId volume, uint64_t index, const std::vector<ServerId>& servers) {
  ASSERT(!servers.empty());
  ServerId best = servers.front();
  uint64_t best_score = 0;
  for (ServerId server : servers) {
    const uint64_t score = mix64(mix64(mix64(volume.value) ^ index) ^ server.value);
    if (score < best_score || (score == best_score && best.value <= server.value)) continue;
    best = server;
    best_score = score;
  }
  return best;
}

}  // namespace foreshard::policy
