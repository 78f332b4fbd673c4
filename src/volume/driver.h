// Driver: the one writer of a volume, where a VM's I/O enters. It holds the attachment, routes by the shard map,
// orders overlapping requests, retains what is not yet flushed, caches reads and prefetches. design.md section 5
// and protocol.md are its contract.
//
// Lifecycle: attach() claims the volume and opens its servers; detach() ends in good order; without it the next
// driver takes over. Owner: the app; one executor. It survives servers and metadata that go away and come back:
// requests wait for them (io_timeout_ns). When another driver has taken the volume over it is ended: every
// request fails with kFenced, and ended() is set.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "meta/meta.h"
#include "meta/records.pb.h"
#include "policy/prefetch/prefetcher.h"
#include "runtime/sync.h"
#include "volume/block_device.h"
#include "volume/flash_cache.h"
#include "volume/neural_expert.h"

namespace foreshard::volume {

// Term of the hint that a driver lives.
inline constexpr uint64_t kDriverHintTtlNs = 3'000'000'000;

struct DriverOptions {
  std::string volume;               // its name
  std::string zone;                 // where this driver is
  uint64_t cache_bytes = 256u << 20;
  std::string cache_file;                // of the second tier of the cache (flash_cache.h); empty: there is none
  uint64_t cache_file_bytes = 0;
  uint64_t cache_file_writes = 64u << 20;  // bytes a second that may be written to it
  policy::PrefetchMode prefetch = policy::PrefetchMode::kOn;
  policy::PrefetchBudget prefetch_budget = policy::PrefetchBudget::kNormal;
  bool warm_servers = true;  // prefetch into the servers' memory too, where that pays
  std::vector<std::string> prefetch_experts;  // of policy::PredictorSet::names(); none: all
  std::shared_ptr<policy::RunnableModel> model;  // a trained expert more; null: none yet
  std::string model_name;
  uint64_t io_timeout_ns = UINT64_MAX;   // how long a request waits for a server that is gone; default: for ever
  uint64_t retained_bytes_max = 16u << 20;
  uint64_t retained_age_ns_max = 5'000'000'000;
  uint64_t hint_ttl_ns = kDriverHintTtlNs;
  bool force = false;                    // claim although another driver seems alive
  bool importing = false;                // attach a volume in state importing (the importer itself)
  // What the attachment record says of this driver, for people and for the next driver.
  std::string host, boot_id, control_address, export_uri;
  uint64_t pid = 0, process_start = 0;
  // Where to reach a server alone; empty, as by default: where its record says.
  std::function<std::string(const meta::pb::Server&)> address_of;
  // Whether the process of an attachment on this very host surely runs no more; nothing: cannot tell.
  std::function<bool(const meta::pb::Attachment&)> surely_dead;
};

struct VolumeletStatus {
  uint64_t first_chunk = 0, chunks = 0;
  uint64_t server = 0;
  std::string zone;
  double reads_per_s = 0, writes_per_s = 0;  // decayed over a minute
  uint64_t reads = 0, writes = 0, read_bytes = 0, written_bytes = 0;
};

struct ServerStatus {
  uint64_t server = 0;
  std::string zone, address, state;  // state: connecting, opening, restoring, ready, failed, fenced
  uint64_t session = 0, reconnects = 0, replays = 0;
};

// What prefetching took over from the driver before, or from that of another volume of the same image.
struct LearnedStatus {
  std::string from;  // whose (learned_store.h); empty: nothing
  uint64_t requests = 0, recordings = 0;
  uint64_t saved_ns = 0;  // when it was saved last by this driver; 0: not yet
};

struct DriverStatus {
  std::string volume;
  uint64_t volume_id = 0, size_bytes = 0, epoch = 0;
  std::string waiting_for;  // empty when no request waits for a server
  uint64_t reads = 0, writes = 0, flushes = 0, zeroes = 0, read_bytes = 0, written_bytes = 0;
  uint64_t requests_in_flight = 0;
  uint64_t cache_hits = 0, cache_misses = 0, cache_bytes = 0, cache_bytes_max = 0;
  FlashStatistics flash;
  uint64_t retained_bytes = 0;
  policy::PrefetchStatistics prefetch;
  LearnedStatus learned;
  NeuralStatus neural;
  std::vector<ServerStatus> servers;
};

// One request of a client, as `volume record` writes it down.
struct Access {
  uint64_t time_ns = 0;
  uint64_t offset = 0, bytes = 0;
  bool write = false;
};

class Driver : public BlockDevice {
 public:
  // kBusy: attached by a live driver (the detail names host and pid); kNotFound; kInvalid: state forbids it;
  // kUnavailable: the metadata is out of reach; kCorrupt: a server lost its data (another store than recorded).
  // Those of the cache file are FlashCache::open's; the volume is left alone then.
  static runtime::Task<Result<std::unique_ptr<Driver>>> attach(runtime::Runtime& runtime, meta::Meta& meta,
                                                               DriverOptions options);
  // Says that a detach is coming: requests that still wait for a server ten seconds from now are given up, so that
  // front ends can end. detach() calls it, too.
  virtual void begin_detach() = 0;
  // Lets no request in any more, waits for those inside, flushes, closes sessions, releases the attachment.
  // On an error the detach was unclean (the next driver takes over as after a crash). Destroy afterwards.
  virtual runtime::Task<Result<void>> detach() = 0;
  virtual DriverStatus status() const = 0;
  virtual std::vector<VolumeletStatus> volumelets() const = 0;
  virtual void set_prefetch_mode(policy::PrefetchMode mode) = 0;
  // For its statistics and decisions.
  virtual const policy::Prefetcher& prefetcher() const = 0;
  // Another model for the trained expert, from here on; such an expert is added where there was none. A real runtime's
  // only: it runs on a thread of its own.
  virtual void set_model(std::shared_ptr<policy::RunnableModel> model, std::string name) = 0;
  // Calls the watcher for what experts learn from: writes, and reads that missed or used a prefetched page first; not
  // while prefetching is off. An empty one ends that.
  virtual void watch(std::function<void(const policy::Observation&)> watcher) = 0;
  // Calls the sink for every client request until it is replaced by an empty one.
  virtual void record(std::function<void(const Access&)> sink) = 0;
  // Set when the driver can go on no more: fenced, or a server lost data that only it had.
  virtual runtime::Signal& ended() = 0;
  virtual Error end_reason() const = 0;
};

}  // namespace foreshard::volume
