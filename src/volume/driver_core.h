// DriverCore: the driver itself (driver.h says what it promises). Its parts: IntervalTable orders, ShardMap routes,
// a ServerLink per server talks, RetainedLog remembers what is not flushed, PageCache, FlashCache and Prefetcher serve
// reads.
// Files: driver_core.cc its life, driver_io.cc the data path, driver_prefetch.cc prefetching, driver_learned.cc what
// that has learned, driver_flush.cc flushing and restoring.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "policy/cache/fill_guard.h"
#include "policy/cache/page_cache.h"
#include "policy/cache/scan_detector.h"
#include "runtime/sync.h"
#include "volume/attach.h"
#include "volume/driver.h"
#include "volume/interval_table.h"
#include "volume/retained_log.h"
#include "volume/sequence_window.h"
#include "volume/server_link.h"
#include "volume/shard_map.h"

namespace foreshard::volume {

inline uint64_t chunk_of(uint64_t page) { return page / kPagesPerChunk; }
inline uint64_t chunk_end_page(uint64_t page) { return (chunk_of(page) + 1) * kPagesPerChunk; }
// A request on its way out, as bytes.
template <class T>
ByteSpan bytes_of(T& object) {
  return {reinterpret_cast<std::byte*>(&object), sizeof object};
}

class DriverCore final : public Driver, public LinkOwner {
 public:
  // flash: null where there is no cache file.
  DriverCore(runtime::Runtime& runtime, meta::Meta& meta, DriverOptions options, Claim claim,
             std::shared_ptr<FlashCache> flash);
  ~DriverCore() override;

  // Opens the servers; some may still be out of reach when it returns: requests wait for them.
  runtime::Task<Result<void>> start();

  // BlockDevice
  uint64_t size_bytes() const override { return size_bytes_; }
  runtime::Task<Result<void>> read(uint64_t offset, ByteSpan into) override;
  runtime::Task<Result<void>> write(uint64_t offset, ConstByteSpan from, bool fua) override;
  runtime::Task<Result<void>> zero(uint64_t offset, uint64_t bytes, ZeroMode mode, bool fua) override;
  runtime::Task<Result<void>> discard(uint64_t offset, uint64_t bytes, bool fua) override;
  runtime::Task<Result<void>> flush() override;
  void prefetch(uint64_t offset, uint64_t bytes) override;
  runtime::Task<Result<std::vector<Extent>>> block_status(uint64_t offset, uint64_t bytes,
                                                          uint32_t extents_max) override;
  // Driver
  void begin_detach() override;
  runtime::Task<Result<void>> detach() override;
  DriverStatus status() const override;
  std::vector<VolumeletStatus> volumelets() const override;
  void set_prefetch_mode(policy::PrefetchMode mode) override;
  const policy::Prefetcher& prefetcher() const override { return prefetcher_; }
  void set_model(std::shared_ptr<policy::RunnableModel> model, std::string name) override;
  void watch(std::function<void(const policy::Observation&)> watcher) override { watcher_ = std::move(watcher); }
  void record(std::function<void(const Access&)> sink) override { access_sink_ = std::move(sink); }
  runtime::Signal& ended() override { return ended_; }
  Error end_reason() const override { return end_reason_; }

 private:
  // What is known of a server: its address record, its identity under which it is in-sync, the way to it.
  struct ServerEntry {
    meta::pb::VolumeServer in_sync;
    meta::Revision revision = 0;
    std::string zone;
    std::unique_ptr<ServerLink> link;
  };
  // One call on pages of one chunk, or of several chunks of one volumelet.
  struct Part {
    uint16_t method = 0;
    uint64_t chunk = 0;
    ByteSpan control;  // begins with a SessionName, filled in at each attempt
    ConstByteSpan data;
    ByteSpan data_into;
    ServerLink* link = nullptr;  // who answered, under which session
    uint64_t session = 0;
    bool in_doubt = false;  // sent, and whether it was carried out is unknown
  };

  // LinkOwner
  VolumeId link_volume() const override { return volume_id(); }
  Epoch link_epoch() const override { return Epoch{claim_.attachment.epoch()}; }
  runtime::Task<Result<void>> restore(ServerLink& link, server::OpenReply opened) override;
  void end(Error reason) override;

  VolumeId volume_id() const { return VolumeId{claim_.volume.id()}; }

  // ---- life (driver_core.cc)
  runtime::Task<Result<void>> load_servers();
  runtime::Task<Result<void>> load_region();
  Result<void> add_server(const meta::pb::Server& record, const meta::Entry& entry);
  void adopt(Volumelet& volumelet);
  runtime::Task<void> keep_hint();
  runtime::Task<void> look_after();
  runtime::Task<void> give_up_at(uint64_t deadline_ns);
  runtime::Task<Result<void>> renew_hint();
  runtime::Task<void> carry_out_wishes();
  void sample_heat(double seconds);
  policy::PrefetcherOptions prefetcher_options() const;

  // ---- what prefetching has learned (driver_learned.cc)
  runtime::Task<void> take_over_learned();
  bool keeps_learned() const;
  runtime::Task<void> save_learned_state();
  runtime::Task<void> save_learned_at_the_end();
  runtime::Task<void> keep_learned();

  // ---- data path (driver_io.cc)
  runtime::Task<Result<Volumelet*>> route(uint64_t chunk, uint64_t deadline_ns);
  runtime::Task<Result<rpc::Reply>> perform(Part& part);
  uint64_t io_deadline_ns() const;
  // Pages under a place in the interval table: from the cache or the servers, and into the cache.
  runtime::Task<Result<void>> read_pages(uint64_t first, ByteSpan into);
  runtime::Task<Result<void>> read_run(uint64_t first, ByteSpan into, bool keep);
  runtime::Task<Result<void>> read_part(uint64_t first, ByteSpan into, bool keep);
  runtime::Task<Result<void>> write_pages(uint64_t first, ConstByteSpan data);
  runtime::Task<Result<void>> write_part(uint64_t first, ConstByteSpan data, uint64_t sequence);
  runtime::Task<Result<void>> zero_pages(uint64_t first, uint64_t pages, bool may_unmap);
  runtime::Task<Result<void>> zero_part(uint64_t first, uint64_t pages, bool may_unmap, uint64_t sequence);
  runtime::Task<Result<void>> write_edge(uint64_t offset, ConstByteSpan from);
  runtime::Task<Result<void>> zero_edge(uint64_t offset, uint64_t bytes);
  void tell_damage(const Part& part, const Error& error) const;
  bool copy_from_cache(uint64_t first, ByteSpan into, policy::Observation& seen);
  bool in_flash(uint64_t page) const { return flash_ != nullptr && flash_->contains(page); }
  bool held(uint64_t page) const { return cache_.contains(page) || in_flash(page); }
  runtime::Task<uint64_t> read_flash(uint64_t first, ByteSpan into, bool keep);
  void insert_in_cache(uint64_t page, const std::byte* data, policy::Origin origin);
  void fill_cache(uint64_t first, ConstByteSpan data, policy::FillGuard::Ticket ticket);
  bool granted(uint64_t first_page, uint64_t pages);
  void before_change(uint64_t first, uint64_t pages);
  void after_change(uint64_t first, uint64_t pages);
  runtime::Task<Result<void>> wait_for_room();
  void count_access(uint64_t offset, uint64_t bytes, bool write);
  void count_heat(uint64_t offset, uint64_t bytes, bool write);
  runtime::Task<Result<std::vector<Extent>>> extents(uint64_t first_page, uint64_t pages, uint32_t extents_max);

  // ---- prefetching (driver_prefetch.cc)
  void observe(const policy::Observation& seen);
  void show_to_others(const policy::Observation& seen);
  void observe_write(uint64_t first, uint64_t pages);
  void start_prefetches();
  bool on_its_way(uint64_t page) const;  // a prefetch of it is under way
  runtime::Task<void> prefetch_range(policy::PageRange range);
  runtime::Task<void> warm_range(policy::PageRange range);
  void note_failed_fetch(policy::PageRange range, const Error& error);
  void note_server_read(const ServerLink& link, uint64_t pages, uint64_t asked_ns, const server::ReadReply& answered);
  runtime::Task<Result<void>> prefetch_pages(policy::PageRange range);
  runtime::Task<bool> wait_for_prefetch(uint64_t page);

  // ---- flushing and restoring (driver_flush.cc)
  runtime::Task<Result<void>> flush_all();
  runtime::Task<Result<void>> flush_link(ServerLink& link, uint64_t tick, uint64_t deadline_ns);
  enum class Replayed : uint8_t { kAll, kUnanswered };
  runtime::Task<Result<void>> replay(ServerLink& link, Replayed replayed);
  runtime::Task<Result<void>> replay_entry(ServerLink& link, const RetainedEntry& entry);
  void retain(const Part& part, RetainedEntry entry, bool answered);
  runtime::Task<Result<void>> record_identity(ServerEntry& entry, server::OpenReply opened);

  runtime::Runtime& runtime_;
  meta::Meta& meta_;
  DriverOptions options_;
  Claim claim_;
  uint64_t size_bytes_;
  meta::pb::Region region_;
  rpc::ChannelPool channels_;
  std::map<ServerId, ServerEntry> servers_;
  ShardMap map_;
  IntervalTable intervals_;
  RetainedLog retained_;
  policy::PageCache cache_;
  const std::shared_ptr<FlashCache> flash_;  // no page in it is older than what the servers have; null: no cache file
  policy::FillGuard fill_guard_;
  policy::ScanDetector scans_;
  policy::Prefetcher prefetcher_;
  std::vector<policy::PageRange> to_fetch_;
  uint64_t outstanding_pages_ = 0;  // of reads that the cache alone could not answer
  uint64_t outstanding_requests_ = 0;
  std::map<uint64_t, uint64_t> prefetching_;  // on their way: first page -> end page
  runtime::WaitQueue prefetch_ended_;
  runtime::Signal learned_loaded_;  // or it has turned out that there is nothing
  LearnedStatus learned_;
  uint64_t learned_seen_ = 0;      // requests that went into what was saved last
  uint64_t learned_seen_min_ = 0;  // as many are wanted before anything is saved
  bool saving_learned_ = false;
  runtime::WaitQueue learned_saved_;
  std::function<void(const Access&)> access_sink_;
  std::unique_ptr<NeuralExpert> neural_;
  uint8_t neural_number_ = 0;  // among the prefetcher's experts
  std::function<void(const policy::Observation&)> watcher_;

  SequenceWindow sequences_;
  uint64_t durable_sequence_ = 0;  // every write up to it is durable on every server (R-FLUSHMARK)
  uint64_t nonce_ = 2;
  uint64_t flush_asked_ = 0;  // flushes wanted, and covered by one that has succeeded
  uint64_t flush_done_ = 0;
  bool flushing_ = false;
  bool detaching_ = false;
  runtime::WaitQueue flush_ended_;

  runtime::Gate requests_;    // clients' requests
  runtime::Gate background_;  // everything else
  runtime::Signal stopping_;
  runtime::Signal ended_;
  Error end_reason_{ErrorCode::kCancelled, "the driver is detached", 0, {}};

  uint64_t reads_ = 0, writes_ = 0, flushes_ = 0, zeroes_ = 0, read_bytes_ = 0, written_bytes_ = 0;
};

}  // namespace foreshard::volume
