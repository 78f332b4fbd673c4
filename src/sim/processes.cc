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
  stopped_well_ = closed.has_value();
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

AdminProcess::AdminProcess(SimRuntime& runtime, AdminTask task, uint64_t servers, Trouble& trouble)
    : runtime_(runtime), task_(std::move(task)), servers_(servers), trouble_(trouble) {
  runtime_.executor().spawn(run());
}

Task<void> AdminProcess::run() {
  meta_ = meta::RemoteMeta::create(runtime_, kMetaAddress);
  while (!done()) {
    const Result<void> tried = co_await try_once();
    if (tried) continue;
    last_error_ = tried.error().message();
    const ErrorCode code = tried.error().code;
    if (code == ErrorCode::kCorrupt || code == ErrorCode::kInvalid || code == ErrorCode::kUnsupported)
      trouble_.add(fmt::format("the administrator cannot do it to '{}': {}", task_.volume, last_error_));
    co_await runtime_.executor().sleep_for(200 * kMillisecond);
  }
}

Task<Result<void>> AdminProcess::try_once() {
  if (task_.kind == AdminTask::Kind::kRemove) {
    const Result<void> removed = co_await volume::remove_volume(runtime_, *meta_, task_.volume);
    if (!removed && removed.error().code != ErrorCode::kNotFound) co_return removed;
    facts_ = VolumeFacts();
    co_return Result<void>();
  }
  if (task_.kind == AdminTask::Kind::kCreate) {
    CO_TRY_VOID(co_await create());
  } else {
    CO_TRY_VOID(co_await grow());
  }
  CO_TRY(facts_, co_await look());
  co_return Result<void>();
}

// A creation that was broken off is removed first, as its message says.
Task<Result<void>> AdminProcess::create() {
  CO_TRY(const std::vector<meta::pb::Server> servers, co_await volume::list_servers(*meta_));
  if (servers.size() < servers_) co_return fail(ErrorCode::kUnavailable, "not all servers have registered yet");
  const Result<meta::pb::Volume> there = co_await volume::get_volume(*meta_, task_.volume);
  if (there && there->state() == meta::pb::VOLUME_READY) co_return Result<void>();
  if (there) {
    CO_TRY_VOID(co_await volume::remove_volume(runtime_, *meta_, task_.volume));
  } else if (there.error().code != ErrorCode::kNotFound) {
    co_return fail(there.error());
  }
  volume::CreateOptions options;
  options.name = task_.volume;
  options.size_bytes = task_.size_bytes;
  options.volumelet_bytes = task_.volumelet_bytes;
  CO_TRY(const meta::pb::Volume made, co_await volume::create_volume(runtime_, *meta_, options));
  co_return Result<void>();
}

// Attached volumes are grown by their driver, some time later.
Task<Result<void>> AdminProcess::grow() {
  CO_TRY(const bool done_already, co_await volume::resize_volume(runtime_, *meta_, task_.volume, task_.size_bytes));
  if (done_already) co_return Result<void>();
  CO_TRY(const meta::pb::Volume now, co_await volume::get_volume(*meta_, task_.volume));
  if (now.size_bytes() < task_.size_bytes) co_return fail(ErrorCode::kBusy, "the driver has not grown it yet");
  co_return Result<void>();
}

Task<Result<VolumeFacts>> AdminProcess::look() {
  CO_TRY(const meta::pb::Volume volume, co_await volume::get_volume(*meta_, task_.volume));
  CO_TRY(const std::vector<meta::pb::Volumelet> volumelets,
         co_await volume::list_volumelets(*meta_, VolumeId{volume.id()}));
  VolumeFacts facts{volume.id(), volume.size_bytes(), {}};
  for (const meta::pb::Volumelet& volumelet : volumelets) {
    facts.layout.push_back(static_cast<uint32_t>(volumelet.replicas(0).server()));
  }
  if (facts.layout.size() * volume.volumelet_bytes() < volume.size_bytes())
    co_return fail(ErrorCode::kCorrupt, "the map does not cover the volume", volume.id());
  co_return facts;
}

// ---- a driver and its clients

DriverProcess::DriverProcess(SimRuntime& runtime, VolumeModel& model, DriverPlan plan, Trouble& trouble)
    : runtime_(runtime), model_(model), plan_(std::move(plan)), trouble_(trouble) {
  runtime_.executor().spawn(run());
}

Task<void> DriverProcess::run() {
  meta_ = meta::RemoteMeta::create(runtime_, kMetaAddress);
  // The disk errs only once it is attached: a file whose first page was spoilt is somebody else's at the next try.
  if (plan_.cache_file) runtime_.world().storage(runtime_.node(), kCacheFolder).repair();
  while (driver_ == nullptr) {
    volume::DriverOptions options;
    options.volume = plan_.volume;
    options.zone = kZone;
    options.cache_bytes = plan_.cache_bytes;
    if (plan_.cache_file) {
      options.cache_file = kCacheFolder + std::to_string(plan_.number);
      options.cache_file_bytes = volume::FlashCache::kFileBytesMin;
    }
    options.retained_bytes_max = plan_.retained_bytes;
    options.io_timeout_ns = plan_.io_timeout_ns;
    options.host = fmt::format("host{}", runtime_.node());
    options.pid = plan_.number;
    Result<std::unique_ptr<volume::Driver>> attached = co_await volume::Driver::attach(runtime_, *meta_, options);
    if (attached) {
      driver_ = std::move(*attached);
      break;
    }
    last_error_ = attached.error().message();
    const ErrorCode code = attached.error().code;
    if (code == ErrorCode::kCorrupt || (code == ErrorCode::kNotHere && plan_.data_is_gone)) {
      refused_ = true;
      if (!plan_.data_is_gone) trouble_.add(fmt::format("driver {} cannot attach: {}", plan_.number, last_error_));
      co_return;
    }
    co_await runtime_.executor().sleep_for(100 * kMillisecond);
  }
  if (plan_.cache_file) {
    runtime::SimDiskKnobs& knobs = runtime_.world().storage(runtime_.node(), kCacheFolder).knobs();
    knobs.read_error_chance = knobs.lost_write_chance = knobs.misdirect_chance = knobs.corrupt_chance = 0.02;
    knobs.write_error_chance = 0.001;
    knobs.slow_chance = 0.002;
    knobs.slow_ns_max = 3000 * kMillisecond;
  }
  const uint64_t epoch = driver_->status().epoch;
  if (!plan_.epochs->insert({plan_.volume_id, epoch}).second)
    trouble_.add(fmt::format("driver {} is not the first one to attach under epoch {}", plan_.number, epoch));
  if (driver_->size_bytes() < model_.size_bytes()) {
    trouble_.add(fmt::format("driver {} has attached {} bytes of a volume of {}", plan_.number, driver_->size_bytes(),
                             model_.size_bytes()));
  }
  model_.driver_attached(plan_.number);
  runtime_.world().timeline().note(fmt::format("driver {} has attached '{}'", plan_.number, plan_.volume));
  workload_.emplace(runtime_, *driver_, model_, plan_.number, runtime_.random().fork(), plan_.workload);
  workload_->set_limit(allowed_);
  workload_->start();
}

std::string DriverProcess::state() const {
  if (driver_ == nullptr) return fmt::format("driver {} is not attached, last: {}", plan_.number, last_error_);
  const volume::DriverStatus status = driver_->status();
  std::string text =
      fmt::format("driver {} epoch {}: {} requests in flight, waiting for {};", plan_.number, status.epoch,
                  status.requests_in_flight, status.waiting_for.empty() ? std::string("nothing") : status.waiting_for);
  for (const volume::ServerStatus& server : status.servers) text += fmt::format(" {}:{}", server.server, server.state);
  if (ended()) text += "; it has ended: " + driver_->end_reason().message();
  return text;
}

void DriverProcess::wish(Wish wish) {
  wish_done_ = false;
  wish_error_.reset();
  detaching_ = wish == Wish::kDetach;
  runtime_.executor().spawn(carry_out(wish));
}

Task<void> DriverProcess::carry_out(Wish wish) {
  Result<void> result;
  if (wish == Wish::kReadAll) {
    result = co_await workload_->read_all();
  } else {
    const VolumeModel::Pending pending = model_.begin_flush(plan_.number);
    result = co_await driver_->detach();
    model_.end_flush(pending, result.has_value());
  }
  if (!result) wish_error_ = result.error().message();
  wish_done_ = true;
}

}  // namespace foreshard::sim
