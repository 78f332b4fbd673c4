// ShardMap: LBA -> volumelet -> server, as the driver sees it. Entries are read from the metadata when first
// touched, so that attaching does not depend on the volume's size. The attachment holder is the only writer of
// the map (Z1), so what has been read stays true until the driver itself changes it.
// Owner: the driver; one executor. Entries keep their addresses for the map's life.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "base/ids.h"
#include "base/result.h"
#include "meta/meta.h"

namespace foreshard::volume {

class ServerLink;

// Accesses of a volumelet, for heat: totals, and a rate that decays over a minute.
struct Heat {
  uint64_t reads = 0, writes = 0, read_bytes = 0, written_bytes = 0;
  double read_rate = 0, write_rate = 0;  // per second
  uint64_t sampled_reads = 0, sampled_writes = 0;
};

struct Volumelet {
  uint64_t first_chunk = 0;
  uint64_t chunks = 0;
  ServerId server;  // the one in-sync replica
  ServerLink* link = nullptr;
  Heat heat;
};

class ShardMap {
 public:
  ShardMap(meta::Meta& meta, VolumeId volume) : meta_(meta), volume_(volume) {}

  // Nothing when it has not been read yet.
  Volumelet* find(uint64_t chunk);
  // Reads the volumelet of a chunk, and its neighbours. kNotFound: the map has none (a damaged map).
  runtime::Task<Result<Volumelet*>> load(uint64_t chunk);
  // Reads entries anew when they are next looked for; addresses stay.
  void doubt(uint64_t chunk);

  using Volumelets = std::map<uint64_t, Volumelet>;  // by first chunk
  Volumelets& volumelets() { return volumelets_; }
  const Volumelets& volumelets() const { return volumelets_; }

 private:
  static constexpr size_t kEntriesPerLoad = 512;
  runtime::Task<Result<uint64_t>> first_chunk_of(uint64_t chunk);
  meta::Meta& meta_;
  VolumeId volume_;
  Volumelets volumelets_;
  Volumelet* last_ = nullptr;
  std::optional<uint64_t> doubted_;
};

}  // namespace foreshard::volume
