// HostedRanges: which ranges of which volumes this server hosts, complete or not (R-PRESENT). A durable record
// each, as notes of the chunk store; all of them in RAM while the server runs (some 64 bytes a range).
// Owner: the replica server. Invariant: what is in RAM is durable.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "store/chunk_store.h"

namespace foreshard::server {

struct HostedRange {
  uint64_t chunks = 0;
  ReplicaId replica;
  bool complete = true;
};

class HostedRanges {
 public:
  explicit HostedRanges(store::ChunkStore& store) : store_(store) {}

  // Reads the records back; kCorrupt names the one that cannot be understood.
  runtime::Task<Result<void>> load();
  // Hosts [first, first + range.chunks) of a volume, durably. kExists when another replica's range overlaps;
  // the same range again is fine.
  struct Placed {
    uint64_t first_chunk = 0;
    HostedRange range;
  };
  runtime::Task<Result<void>> add(VolumeId volume, std::vector<Placed> placed);
  // Forgets ranges, after their chunks have been erased.
  runtime::Task<Result<void>> remove(VolumeId volume, std::vector<uint64_t> first_chunks);

  // Notes durably that no range can be taken for whole any more: the store came back without all of its index.
  runtime::Task<Result<void>> mark_all_incomplete();
  // Whether every range hosted of the volume is complete.
  bool complete(VolumeId volume) const;

  // Whether [first, first + chunks) lies wholly in hosted, complete ranges.
  bool hosts(VolumeId volume, uint64_t first_chunk, uint64_t chunks) const;
  bool hosts_any(VolumeId volume) const { return volumes_.contains(volume); }
  std::vector<VolumeId> volumes() const;
  std::vector<Placed> ranges(VolumeId volume) const;
  uint64_t volume_count() const { return volumes_.size(); }
  uint64_t range_count() const;

 private:
  using Ranges = std::map<uint64_t, HostedRange>;  // by first chunk
  bool hosted(VolumeId volume, uint64_t first_chunk) const;
  Result<void> check_free(VolumeId volume, const Placed& placed) const;
  store::ChunkStore& store_;
  std::map<VolumeId, Ranges> volumes_;
};

}  // namespace foreshard::server
