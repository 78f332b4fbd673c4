#include "sim/processes.h"

#include <fmt/format.h>

#include "base/log.h"
#include "meta/records.h"
#include "volume/volume_admin.h"

namespace foreshard::sim {

using runtime::SimRuntime;
using runtime::Task;

namespace {

constexpr uint64_t kMillisecond = 1'000'000;
constexpr uint64_t kSecond = 1'000 * kMillisecond;

}  // namespace

// ---- metadata

MetaProcess::MetaProcess(SimRuntime& runtime, index::MapIndexState& index, uint64_t servers, Trouble& trouble)
    : runtime_(runtime), index_(index), servers_(servers), trouble_(trouble) {
  runtime_.executor().spawn(run());
}

Task<void> MetaProcess::run() {
  const Result<void> opened = co_await open();
  if (!opened) trouble_.add("the metadata store does not open: " + opened.error().message());
  serving_ = opened.has_value();
}

Task<Result<void>> MetaProcess::open() {
  CO_TRY(disk_, runtime_.open_disk("meta"));
  const index::OpenIndex open_index = index::map_index_opener(index_, {0, 200'000});
  CO_TRY(std::unique_ptr<index::Index> index, co_await open_index(runtime_, *disk_, "index"));
  CO_TRY(meta_, co_await meta::EmbeddedMeta::open(runtime_, std::move(index)));
  CO_TRY(const std::optional<meta::Entry> known, co_await meta_->get(meta::region_key()));
  if (!known) {
    meta::pb::Region region;
    region.set_format_version(meta::kRegionFormatVersion);
    region.add_zones(kZone);
    region.set_servers_per_zone(static_cast<uint32_t>(servers_));
    region.set_next_volume_id(1);
    meta::Transaction transaction;
    transaction.operations.push_back({meta::Operation::Kind::kPut, meta::region_key(), meta::encode(region), 0});
    CO_TRY_VOID(co_await meta_->commit(transaction));
  }
  service_ = rpc::Service::create(runtime_);
  meta_service_ = meta::MetaService::create(runtime_, *meta_, *service_);
  CO_TRY(std::unique_ptr<runtime::Listener> listener, runtime_.network().listen(kMetaAddress));
  service_->serve(std::move(listener));
  co_return Result<void>();
}

// ---- a storage server

ServerProcess::ServerProcess(SimRuntime& runtime, const ServerPlace& place, Trouble& trouble)
    : runtime_(runtime), place_(place), trouble_(trouble) {
  runtime_.executor().spawn(run());
}

Task<void> ServerProcess::run() {
  const Result<void> opened = co_await open();
  if (!opened) {
    // A disk error while it opens is a failure like any other; the run starts it again.
    LOG_INFO("server {} does not open: {}", place_.id, opened.error().message());
    failed_ = true;
    co_return;
  }
  serving_ = true;
  runtime_.executor().spawn(keep_lease());
  runtime_.executor().spawn(watch_failure());
}

Task<Result<void>> ServerProcess::open() {
  meta_ = meta::RemoteMeta::create(runtime_, kMetaAddress);
  CO_TRY(disk_, runtime_.open_disk("store"));
  CO_TRY(store_, co_await open_store(runtime_, *disk_, place_));
  server::ReplicaServerOptions options;
  options.id = ServerId{place_.id};
  options.cache_bytes = 256u << 10;
  options.look_interval_ns = 20 * kSecond;
  server_ = std::make_unique<server::ReplicaServer>(runtime_, *store_, *meta_, options);
  CO_TRY_VOID(co_await server_->start());
  CO_TRY(std::unique_ptr<runtime::Listener> listener, runtime_.network().listen(place_.address));
  server_->serve(std::move(listener));
  co_return Result<void>();
}

Task<Result<void>> ServerProcess::enter_record() {
  constexpr uint64_t kLeaseNs = 10 * kSecond;
  CO_TRY(lease_, co_await meta_->grant_lease(kLeaseNs));
  meta::pb::Server record;
  record.set_id(place_.id);
  record.set_address(place_.address);
  record.set_zone(kZone);
  record.set_spine(kZone);
  record.set_store_uuid(store_->uuid().value);
  record.set_capacity_bytes(store_->stats().capacity_bytes);
  meta::Transaction transaction;
  transaction.operations.push_back(
      {meta::Operation::Kind::kPut, meta::server_key(ServerId{place_.id}), meta::encode(record), 0});
  transaction.operations.push_back(
      {meta::Operation::Kind::kPut, meta::server_alive_key(ServerId{place_.id}), {}, lease_});
  CO_TRY_VOID(co_await meta_->commit(transaction));
  co_return Result<void>();
}

Task<void> ServerProcess::keep_lease() {
  bool entered = false;
  while (!stopping_) {
    if (!entered) {
      const Result<void> result = co_await enter_record();
      entered = result.has_value();
    } else {
      const Result<void> renewed = co_await meta_->renew_lease(lease_);
      if (!renewed && renewed.error().code == ErrorCode::kNotFound) entered = false;
    }
    co_await runtime_.executor().sleep_for(entered ? 3 * kSecond : 100 * kMillisecond);
  }
}

Task<void> ServerProcess::watch_failure() {
  co_await server_->failed().wait();
  failed_ = true;
}

void ServerProcess::stop() {
  stopping_ = true;
  runtime_.executor().spawn(do_stop());
}

Task<void> ServerProcess::do_stop() {
  co_await server_->stop();
  const Result<void> closed = co_await store_->close();
  if (!closed) LOG_INFO("server {} does not close: {}", place_.id, closed.error().message());
  stopped_ = true;
}

void ServerProcess::scrub() {
  scrubbed_.reset();
  runtime_.executor().spawn(do_scrub());
}

Task<void> ServerProcess::do_scrub() {
  Result<std::vector<store::PageFault>> faults = co_await store::scrub_all(*store_);
  if (!faults) {
    trouble_.add(fmt::format("server {} does not scrub: {}", place_.id, faults.error().message()));
    co_return;
  }
  scrubbed_ = std::move(*faults);
}

// ---- the administrator

AdminProcess::AdminProcess(SimRuntime& runtime, VolumePlan plan, uint64_t servers, Trouble& trouble)
    : runtime_(runtime), plan_(plan), servers_(servers), trouble_(trouble) {
  runtime_.executor().spawn(run());
}

Task<void> AdminProcess::run() {
  Result<std::vector<uint32_t>> layout = co_await create();
  if (layout)
    layout_ = std::move(*layout);
  else
    trouble_.add("the volume is not made: " + layout.error().message());
}

Task<Result<std::vector<uint32_t>>> AdminProcess::create() {
  meta_ = meta::RemoteMeta::create(runtime_, kMetaAddress);
  for (int tries = 0; tries < 100; ++tries) {
    const auto servers = co_await volume::list_servers(*meta_);
    if (servers && servers->size() == servers_) break;
    co_await runtime_.executor().sleep_for(50 * kMillisecond);
  }
  volume::CreateOptions options;
  options.name = kVolumeName;
  options.size_bytes = plan_.size_bytes;
  options.volumelet_bytes = plan_.volumelet_bytes;
  CO_TRY(const meta::pb::Volume volume, co_await volume::create_volume(runtime_, *meta_, options));
  CO_TRY(const std::vector<meta::pb::Volumelet> volumelets,
         co_await volume::list_volumelets(*meta_, VolumeId{volume.id()}));
  std::vector<uint32_t> layout;
  for (const meta::pb::Volumelet& volumelet : volumelets) {
    layout.push_back(static_cast<uint32_t>(volumelet.replicas(0).server()));
  }
  co_return layout;
}

// ---- a driver and its clients

DriverProcess::DriverProcess(SimRuntime& runtime, VolumeModel& model, uint64_t number, WorkloadOptions workload,
                             uint64_t cache_bytes, uint64_t retained_bytes, Trouble& trouble)
    : runtime_(runtime),
      model_(model),
      number_(number),
      options_(workload),
      cache_bytes_(cache_bytes),
      retained_bytes_(retained_bytes),
      trouble_(trouble) {
  runtime_.executor().spawn(run());
}

Task<void> DriverProcess::run() {
  meta_ = meta::RemoteMeta::create(runtime_, kMetaAddress);
  while (driver_ == nullptr) {
    volume::DriverOptions options;
    options.volume = kVolumeName;
    options.zone = kZone;
    options.cache_bytes = cache_bytes_;
    options.retained_bytes_max = retained_bytes_;
    options.host = fmt::format("host{}", runtime_.node());
    options.pid = number_;
    Result<std::unique_ptr<volume::Driver>> attached = co_await volume::Driver::attach(runtime_, *meta_, options);
    if (attached) {
      driver_ = std::move(*attached);
      break;
    }
    last_error_ = attached.error().message();
    const ErrorCode code = attached.error().code;
    if (code == ErrorCode::kCorrupt) {
      trouble_.add(fmt::format("driver {} cannot attach: {}", number_, last_error_));
      co_return;
    }
    co_await runtime_.executor().sleep_for(100 * kMillisecond);
  }
  model_.driver_attached(number_);
  runtime_.world().timeline().note(fmt::format("driver {} has attached", number_));
  workload_.emplace(runtime_, *driver_, model_, number_, runtime_.random().fork(), options_);
  workload_->set_limit(allowed_);
  workload_->start();
}

std::string DriverProcess::state() const {
  if (driver_ == nullptr) return fmt::format("driver {} is not attached, last: {}", number_, last_error_);
  const volume::DriverStatus status = driver_->status();
  std::string text =
      fmt::format("driver {} epoch {}: {} requests in flight, waiting for {};", number_, status.epoch,
                  status.requests_in_flight, status.waiting_for.empty() ? std::string("nothing") : status.waiting_for);
  for (const volume::ServerStatus& server : status.servers) text += fmt::format(" {}:{}", server.server, server.state);
  return text;
}

void DriverProcess::wish(Wish wish) {
  wish_done_ = false;
  runtime_.executor().spawn(carry_out(wish));
}

Task<void> DriverProcess::carry_out(Wish wish) {
  Result<void> result;
  if (wish == Wish::kReadAll) {
    result = co_await workload_->read_all();
  } else {
    const VolumeModel::Pending pending = model_.begin_flush(number_);
    result = co_await driver_->detach();
    model_.end_flush(pending, result.has_value());
  }
  // While faults happen a detach may end uncleanly.
  if (!result && wish != Wish::kTryDetach)
    trouble_.add(fmt::format("driver {}: {}", number_, result.error().message()));
  wish_done_ = true;
}

}  // namespace foreshard::sim
