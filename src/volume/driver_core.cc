// The driver's life: attach, background work, detach, status.
#include "volume/driver_core.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/log.h"
#include "base/planted.h"
#include "base/units.h"
#include "meta/records.h"
#include "volume/volume_admin.h"

namespace foreshard::volume {
namespace {

using runtime::Task;

constexpr uint64_t kLookAfterNs = 500'000'000;       // between looks at retained data, heat, wishes
constexpr uint64_t kFirstOpenNs = 10'000'000'000;    // how long attach waits for servers that do not answer
constexpr uint64_t kLearnedWaitNs = 500'000'000;     // and for what prefetching has learned
constexpr uint64_t kCloseWaitNs = 5'000'000'000;     // how long for servers that are coming back
constexpr uint64_t kDetachDrainNs = 10'000'000'000;  // how long detach waits for requests under way
constexpr double kHeatMemorySeconds = 60;

}  // namespace

Task<Result<std::unique_ptr<Driver>>> Driver::attach(runtime::Runtime& runtime, meta::Meta& meta,
                                                     DriverOptions options) {
  std::shared_ptr<FlashCache> flash;
  if (!options.cache_file.empty()) {
    CO_TRY(flash,
           co_await FlashCache::open(runtime, options.cache_file, options.cache_file_bytes, options.cache_file_writes));
    LOG_INFO("volume {}: cache file {} of {}; its index takes {} of memory", options.volume, options.cache_file,
             format_size(options.cache_file_bytes), format_size(flash->memory_bytes()));
  }
  const uint64_t driver_id = runtime.random().next() | 1;
  CO_TRY(Claim claim, co_await claim_volume(runtime, meta, options, driver_id));
  auto core = std::make_unique<DriverCore>(runtime, meta, std::move(options), std::move(claim), std::move(flash));
  const Result<void> started = co_await core->start();
  if (!started) {
    const Error reason = started.error();
    const Result<void> detached = co_await core->detach();
    if (!detached) LOG_DEBUG("detach after a failed attach: {}", detached.error().message());
    co_return fail(reason);
  }
  co_return std::unique_ptr<Driver>(std::move(core));
}

DriverCore::DriverCore(runtime::Runtime& runtime, meta::Meta& meta, DriverOptions options, Claim claim,
                       std::shared_ptr<FlashCache> flash)
    : runtime_(runtime),
      meta_(meta),
      options_(std::move(options)),
      claim_(std::move(claim)),
      size_bytes_(claim_.volume.size_bytes()),
      channels_(runtime),
      map_(meta, VolumeId{claim_.volume.id()}),
      intervals_(runtime.executor()),
      cache_(options_.cache_bytes),
      flash_(std::move(flash)),
      scans_(options_.cache_bytes / kPageBytes),
      prefetcher_(
          prefetcher_options(), [this](uint64_t page) { return held(page) || on_its_way(page); },
          [this](uint64_t page) { cache_.expect(page); }, [this] { return cache_.prefetching_pays(); }),
      prefetch_ended_(runtime.executor()),
      learned_loaded_(runtime.executor()),
      learned_saved_(runtime.executor()),
      flush_ended_(runtime.executor()),
      requests_(runtime.executor()),
      background_(runtime.executor()),
      stopping_(runtime.executor()),
      ended_(runtime.executor()) {
  if (options_.model != nullptr) set_model(options_.model, options_.model_name);
  set_prefetch_mode(prefetcher_.mode());
  cache_.set_on_wasted([this](uint64_t page, bool evicted) { prefetcher_.on_wasted(page, evicted); });
  cache_.set_on_used([this](uint64_t page) { prefetcher_.on_first_use(page); });
  if (flash_ == nullptr) return;
  cache_.set_at_hand([this](uint64_t page) { return in_flash(page); });
  cache_.set_on_evicted([this](uint64_t page, const std::byte* data, bool used_again) {
    flash_->put(page, {data, kPageBytes}, used_again);
  });
}

DriverCore::~DriverCore() = default;

policy::PrefetcherOptions DriverCore::prefetcher_options() const {
  policy::PrefetcherOptions options;
  options.mode = options_.prefetch;
  options.budget = options_.prefetch_budget;
  options.warms_server = options_.warm_servers;
  options.experts = options_.prefetch_experts;
  options.volume = volume_id();
  options.volume_pages = (size_bytes_ + kPageBytes - 1) / kPageBytes;
  options.cache_pages = cache_.capacity_bytes() / kPageBytes;
  return options;
}

Task<Result<void>> DriverCore::start() {
  CO_TRY_VOID(co_await load_region());
  CO_TRY_VOID(co_await load_servers());
  runtime_.executor().spawn(keep_hint());
  runtime_.executor().spawn(look_after());
  runtime_.executor().spawn(take_over_learned());
  runtime_.executor().spawn(keep_learned());
  const uint64_t deadline_ns = runtime_.now_ns() + kFirstOpenNs;
  for (auto& [id, entry] : servers_) {
    const bool opened = co_await entry.link->wait_ready(deadline_ns);
    if (ended_.is_set()) co_return fail(end_reason_);
    if (!opened)
      LOG_WARN("volume {}: server {} does not answer; what lies there waits for it", options_.volume, id.value);
  }
  co_await learned_loaded_.wait_until(runtime_.now_ns() + kLearnedWaitNs);
  co_return Result<void>();
}

Task<Result<void>> DriverCore::load_region() {
  CO_TRY(const std::optional<meta::Entry> entry, co_await meta_.get(meta::region_key()));
  if (entry && !region_.ParseFromString(entry->value)) co_return fail(ErrorCode::kCorrupt, "the region's record");
  co_return Result<void>();
}

Result<void> DriverCore::add_server(const meta::pb::Server& record, const meta::Entry& entry) {
  TRY(meta::pb::VolumeServer in_sync, meta::decode<meta::pb::VolumeServer>(entry));
  ServerEntry& server = servers_[ServerId{record.id()}];
  if (server.link) return {};
  server.in_sync = std::move(in_sync);
  server.revision = entry.modified;
  server.zone = record.zone();
  uint64_t round_trip_ns = 0;
  for (const meta::pb::ZoneLatency& latency : region_.latencies()) {
    const bool here = latency.a() == options_.zone && latency.b() == record.zone();
    const bool there = latency.b() == options_.zone && latency.a() == record.zone();
    if (here || there) round_trip_ns = latency.round_trip_ns();
  }
  const std::string address = options_.address_of ? options_.address_of(record) : std::string();
  server.link = std::make_unique<ServerLink>(runtime_, *this, channels_, record, address, round_trip_ns);
  server.link->start();
  return {};
}

Task<Result<void>> DriverCore::load_servers() {
  const std::string prefix = meta::volume_servers_prefix(volume_id());
  CO_TRY(const meta::RangeResult range, co_await meta_.range(prefix, meta::prefix_end(prefix), 0));
  for (const meta::Entry& entry : range.entries) {
    const std::optional<uint64_t> id = meta::parse_hex_id(std::string_view(entry.key).substr(prefix.size()));
    if (!id) co_return fail(ErrorCode::kCorrupt, "a volume's server record", entry.key);
    const auto known = servers_.find(ServerId{*id});
    if (known != servers_.end() && known->second.link) continue;
    CO_TRY(const std::optional<meta::Entry> found, co_await meta_.get(meta::server_key(ServerId{*id})));
    if (!found)
      co_return fail(ErrorCode::kUnavailable, "attach", fmt::format("server {} is not registered in the region", *id));
    meta::pb::Server record;
    if (!record.ParseFromString(found->value)) co_return fail(ErrorCode::kCorrupt, "a server's record", found->key);
    CO_TRY_VOID(add_server(record, entry));
  }
  co_return Result<void>();
}

void DriverCore::adopt(Volumelet& volumelet) {
  if (volumelet.link != nullptr) return;
  const auto found = servers_.find(volumelet.server);
  if (found != servers_.end()) volumelet.link = found->second.link.get();
}

void DriverCore::end(Error reason) {
  if (ended_.is_set()) return;
  if (reason.code == ErrorCode::kFenced && PLANTED("FENCED as failure")) return;
  LOG_WARN("volume {}: the driver ends: {}", options_.volume, reason.message());
  end_reason_ = std::move(reason);
  ended_.set();
  for (auto& [id, entry] : servers_)
    if (entry.link) entry.link->give_up();
  flush_ended_.wake_all();
}

// ---- background

Task<Result<void>> DriverCore::renew_hint() {
  const Result<void> renewed = co_await meta_.renew_lease(claim_.hint_lease);
  if (renewed || renewed.error().code != ErrorCode::kNotFound) co_return renewed;
  // It ran out: the metadata was away for long, or this driver was. The hint returns if the volume is still ours.
  CO_TRY(const meta::LeaseId lease, co_await meta_.grant_lease(options_.hint_ttl_ns));
  meta::pb::DriverHint hint;
  hint.set_driver(claim_.attachment.driver());
  meta::Transaction transaction;
  transaction.compares.push_back(claim_guard(claim_));
  transaction.operations.push_back(
      {meta::Operation::Kind::kPut, meta::alive_key(volume_id()), hint.SerializeAsString(), lease});
  CO_TRY(const meta::TransactionResult result, co_await meta_.commit(std::move(transaction)));
  if (!result.succeeded) {
    end(Error{ErrorCode::kFenced, "another driver has claimed the volume", 0, {}});
    co_return Result<void>();
  }
  claim_.hint_lease = lease;
  co_return Result<void>();
}

Task<void> DriverCore::keep_hint() {
  const std::optional<runtime::Gate::Pass> pass = background_.enter();
  while (pass && !stopping_.is_set() && !ended_.is_set()) {
    const Result<void> renewed = co_await renew_hint();
    if (!renewed) LOG_DEBUG("volume {}: hint: {}", options_.volume, renewed.error().message());
    co_await stopping_.wait_until(runtime_.now_ns() + options_.hint_ttl_ns / 3);
  }
}

Task<void> DriverCore::look_after() {
  const std::optional<runtime::Gate::Pass> pass = background_.enter();
  while (pass && !stopping_.is_set() && !ended_.is_set()) {
    const bool stopped = co_await stopping_.wait_until(runtime_.now_ns() + kLookAfterNs);
    if (stopped || ended_.is_set()) co_return;
    sample_heat(static_cast<double>(kLookAfterNs) * 1e-9);
    const bool old =
        !retained_.empty() && runtime_.now_ns() - retained_.oldest_time_ns() > options_.retained_age_ns_max;
    if (old || retained_.bytes() > options_.retained_bytes_max) {
      const Result<void> flushed = co_await flush_all();
      if (!flushed) LOG_DEBUG("volume {}: flush: {}", options_.volume, flushed.error().message());
    }
    co_await carry_out_wishes();
  }
}

Task<void> DriverCore::carry_out_wishes() {
  const Result<std::optional<meta::Entry>> entry = co_await meta_.get(meta::volume_key(options_.volume));
  if (!entry || !*entry) co_return;
  meta::pb::Volume volume;
  if (!volume.ParseFromString((*entry)->value) || volume.id() != volume_id().value) co_return;
  uint64_t size_bytes = volume.size_bytes();
  if (volume.wanted_size_bytes() > size_bytes) {
    const Result<meta::pb::Volume> grown =
        co_await grow_volume(runtime_, meta_, options_.volume, volume.wanted_size_bytes(), claim_guard(claim_));
    if (!grown) {
      LOG_WARN("volume {}: growing: {}", options_.volume, grown.error().message());
      co_return;
    }
    size_bytes = grown->size_bytes();
  }
  // Also when an earlier growth had succeeded and its answer was lost.
  if (size_bytes <= size_bytes_) co_return;
  const Result<void> servers = co_await load_servers();
  if (!servers) LOG_WARN("volume {}: growing: {}", options_.volume, servers.error().message());
  size_bytes_ = size_bytes;
  prefetcher_.set_volume_pages((size_bytes_ + kPageBytes - 1) / kPageBytes);
  LOG_INFO("volume {} has grown to {} bytes; NBD clients see it when they connect again", options_.volume, size_bytes_);
}

void DriverCore::sample_heat(double seconds) {
  const double keep = std::exp(-seconds / kHeatMemorySeconds);
  for (auto& [first, volumelet] : map_.volumelets()) {
    Heat& heat = volumelet.heat;
    const double reads = static_cast<double>(heat.reads - heat.sampled_reads) / seconds;
    const double writes = static_cast<double>(heat.writes - heat.sampled_writes) / seconds;
    heat.read_rate = heat.read_rate * keep + reads * (1 - keep);
    heat.write_rate = heat.write_rate * keep + writes * (1 - keep);
    heat.sampled_reads = heat.reads;
    heat.sampled_writes = heat.writes;
  }
}

// ---- detach

void DriverCore::begin_detach() {
  if (std::exchange(detaching_, true)) return;
  runtime_.executor().spawn(give_up_at(runtime_.now_ns() + kDetachDrainNs));
}

Task<void> DriverCore::give_up_at(uint64_t deadline_ns) {
  const std::optional<runtime::Gate::Pass> pass = background_.enter();
  if (!pass) co_return;
  const bool stopped = co_await stopping_.wait_until(deadline_ns);
  if (!stopped) end(Error{ErrorCode::kCancelled, "detached while a server was away", 0, {}});
}

Task<Result<void>> DriverCore::detach() {
  begin_detach();
  co_await requests_.close();
  Result<void> clean;
  if (ended_.is_set()) {
    clean = fail(end_reason_);
  } else {
    clean = co_await flush_all();
  }
  stopping_.set();
  if (clean) runtime_.executor().spawn(save_learned_at_the_end());
  if (neural_ != nullptr) co_await neural_->stop();
  if (clean) {
    const uint64_t deadline_ns = runtime_.now_ns() + kCloseWaitNs;
    for (auto& [id, entry] : servers_) {
      if (!entry.link) continue;
      const Result<void> closed = co_await entry.link->say_close(deadline_ns);
      if (!closed && clean) clean = fail(closed.error());
    }
  }
  for (auto& [id, entry] : servers_)
    if (entry.link) co_await entry.link->stop();
  co_await background_.close();
  if (flash_ != nullptr) co_await flash_->close();
  if (clean) clean = co_await release_volume(runtime_, meta_, claim_);
  const Result<void> revoked = co_await meta_.revoke_lease(claim_.hint_lease);
  if (!revoked) LOG_DEBUG("volume {}: hint: {}", options_.volume, revoked.error().message());
  co_return clean;
}

// ---- status

void DriverCore::set_prefetch_mode(policy::PrefetchMode mode) {
  prefetcher_.set_mode(mode);
  cache_.watch_prefetching(prefetcher_.mode() == policy::PrefetchMode::kOn);
}

DriverStatus DriverCore::status() const {
  DriverStatus s;
  s.volume = options_.volume;
  s.volume_id = claim_.volume.id();
  s.size_bytes = size_bytes_;
  s.epoch = claim_.attachment.epoch();
  s.reads = reads_;
  s.writes = writes_;
  s.flushes = flushes_;
  s.zeroes = zeroes_;
  s.read_bytes = read_bytes_;
  s.written_bytes = written_bytes_;
  s.requests_in_flight = requests_.inside();
  s.cache_hits = cache_.statistics().hits;
  s.cache_misses = cache_.statistics().misses;
  s.cache_bytes = cache_.used_bytes();
  s.cache_bytes_max = cache_.capacity_bytes();
  if (flash_ != nullptr) s.flash = flash_->statistics();
  s.retained_bytes = retained_.bytes();
  s.prefetch = prefetcher_.statistics();
  s.prefetch.ask_cache(cache_);
  s.learned = learned_;
  if (neural_ != nullptr) s.neural = neural_->status();
  for (const auto& [id, entry] : servers_) {
    if (!entry.link) continue;
    s.servers.push_back({id.value, entry.zone, entry.link->record().address(), link_state_name(entry.link->state()),
                         entry.link->session(), entry.link->reconnects, entry.link->replays});
    if (entry.link->waiting == 0) continue;
    if (!s.waiting_for.empty()) s.waiting_for += ", ";
    s.waiting_for += fmt::format("server {} at {} ({}, {} requests wait)", id.value, entry.link->record().address(),
                                 link_state_name(entry.link->state()), entry.link->waiting);
  }
  return s;
}

std::vector<VolumeletStatus> DriverCore::volumelets() const {
  std::vector<VolumeletStatus> all;
  for (const auto& [first, volumelet] : map_.volumelets()) {
    const auto server = servers_.find(volumelet.server);
    const Heat& heat = volumelet.heat;
    all.push_back({first, volumelet.chunks, volumelet.server.value,
                   server == servers_.end() ? std::string() : server->second.zone, heat.read_rate, heat.write_rate,
                   heat.reads, heat.writes, heat.read_bytes, heat.written_bytes});
  }
  return all;
}

}  // namespace foreshard::volume
