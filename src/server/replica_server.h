// ReplicaServer: the replica service of one storage server: answers drivers' reads, writes, zeroes and flushes
// on the chunks that it hosts, under sessions and grants, with a RAM cache before the chunk store.
//
// Lifecycle: construct, start(), serve() one or more listeners, stop(). Owner: the app (one per store). One
// executor. It translates calls into store operations; what makes them safe is in Sessions (fence, drain,
// grants), HostedRanges (absent is not zero) and the store (durability).
// When the store fails (R-EIO) every call ends with kLossy and failed() is set: the owner stops the server,
// opens the store anew (its loss raised) and starts another one.
#pragma once

#include <memory>
#include <string>

#include "meta/meta.h"
#include "policy/cache/fill_guard.h"
#include "policy/cache/page_cache.h"
#include "rpc/rpc.h"
#include "runtime/sync.h"
#include "server/hosted_ranges.h"
#include "server/message.h"
#include "server/sessions.h"
#include "store/chunk_store.h"

namespace foreshard::server {

struct ReplicaServerOptions {
  ServerId id;
  uint64_t cache_bytes = 64u << 20;
  uint64_t store_caches_bytes = 0;  // of the store below, for the figures alone
  uint64_t grant_ns = 2'500'000'000;
  uint64_t look_interval_ns = 60'000'000'000;  // between looks at the metadata for what may be deleted
};

class ReplicaServer {
 public:
  // Store and meta outlive the server.
  ReplicaServer(runtime::Runtime& runtime, store::ChunkStore& store, meta::Meta& meta, ReplicaServerOptions options);
  ~ReplicaServer();

  // Reads back fences and hosted ranges; begins to look for what may be deleted.
  runtime::Task<Result<void>> start();
  void serve(std::unique_ptr<runtime::Listener> listener);
  // To be made an endpoint of another one.
  rpc::Service& service() { return *service_; }
  // Ends connections, waits for what is at work. The store stays open: it is the owner's.
  runtime::Task<void> stop();
  // Set when the store has failed.
  runtime::Signal& failed() { return failed_; }
  StatsReply stats() const;

 private:
  runtime::Task<Result<rpc::Reply>> on_open(rpc::Peer& peer, rpc::Request& request);
  runtime::Task<Result<rpc::Reply>> on_close(rpc::Peer& peer, rpc::Request& request);
  runtime::Task<Result<rpc::Reply>> on_heartbeat(rpc::Peer& peer, rpc::Request& request);
  runtime::Task<Result<rpc::Reply>> on_read(rpc::Peer& peer, rpc::Request& request);
  runtime::Task<Result<rpc::Reply>> on_write(rpc::Peer& peer, rpc::Request& request);
  runtime::Task<Result<rpc::Reply>> on_zero(rpc::Peer& peer, rpc::Request& request);
  runtime::Task<Result<rpc::Reply>> on_flush(rpc::Peer& peer, rpc::Request& request);
  runtime::Task<Result<rpc::Reply>> on_states(rpc::Peer& peer, rpc::Request& request);
  runtime::Task<Result<rpc::Reply>> on_prepare(rpc::Peer& peer, rpc::Request& request);
  runtime::Task<Result<rpc::Reply>> on_look(rpc::Peer& peer, rpc::Request& request);
  runtime::Task<Result<rpc::Reply>> on_stats(rpc::Peer& peer, rpc::Request& request);
  runtime::Task<Result<rpc::Reply>> on_scrub(rpc::Peer& peer, rpc::Request& request);
  runtime::Task<Result<rpc::Reply>> on_usage(rpc::Peer& peer, rpc::Request& request);
  using Method = runtime::Task<Result<rpc::Reply>> (ReplicaServer::*)(rpc::Peer&, rpc::Request&);
  void add(uint16_t method, Method member);

  Result<void> check_hosted(VolumeId volume, uint64_t first_chunk, uint64_t chunks) const;
  uint64_t queueing_ns();
  static bool queues();
  bool read_cached(const ReadRequest& r, ByteSpan into);
  void fill_cache(const ReadRequest& r, ConstByteSpan data, policy::FillGuard::Ticket ticket);
  runtime::Task<Result<bool>> read_stored(const ReadRequest& r, ByteSpan into);
  runtime::Task<Result<rpc::Reply>> warm(const ReadRequest& r);
  void tell_damage(const ReadRequest& r, const Error& error);
  uint32_t disk_ns_since(uint64_t begin_ns);
  void forget_cached(uint64_t first_key, uint64_t pages);
  // Turns a store's failure into what a driver can act on, and raises failed().
  Error from_store(Error error);
  runtime::Task<Result<void>> look(VolumeId volume);
  runtime::Task<Result<bool>> volume_exists(VolumeId volume);
  runtime::Task<void> look_now_and_then();

  runtime::Runtime& runtime_;
  store::ChunkStore& store_;
  meta::Meta& meta_;
  ReplicaServerOptions options_;
  Sessions sessions_;
  HostedRanges ranges_;
  policy::PageCache cache_;
  static constexpr uint32_t kWarmingMax = 64;
  uint32_t warming_ = 0;  // reads for the cache alone under way
  uint64_t damage_untold_ = 0;  // found by reading ahead since a line said so, and no line before this time
  uint64_t damage_quiet_until_ns_ = 0;
  policy::FillGuard fill_guard_;
  std::unique_ptr<rpc::Service> service_;
  runtime::Signal failed_;
  runtime::Signal stopping_;
  runtime::Gate gate_;
  runtime::Mutex looking_;
};

}  // namespace foreshard::server
