#include "app/region.h"

#include <unistd.h>

#include <fmt/format.h>

#include "base/log.h"
#include "meta/records.h"

namespace foreshard::app {

using runtime::Task;

namespace {

// The first of two errors.
void keep_first(Result<void>& first, const Result<void>& next) {
  if (first && !next) first = fail(next.error());
}

}  // namespace

Region::Region(runtime::Runtime& world, RegionOptions options)
    : world_(world), options_(std::move(options)), started_wall_ns_(world.wall_ns()) {}

Region::~Region() = default;

Task<Result<std::unique_ptr<Region>>> Region::start(runtime::Runtime& world, RegionOptions options) {
  std::unique_ptr<Region> region(new Region(world, std::move(options)));
  const Result<void> opened = co_await region->open();
  if (!opened) {
    (void)co_await region->stop();
    co_return fail(opened.error());
  }
  co_return std::move(region);
}

Task<Result<void>> Region::open() {
  CO_TRY(address_, socket_in(options_.folder, "foreshard"));
  CO_TRY_VOID(co_await open_meta());
  CO_TRY_VOID(co_await settle_topology());
  CO_TRY_VOID(co_await start_servers());
  co_return serve();
}

Task<Result<void>> Region::stop() {
  Result<void> result;
  if (meta_service_ != nullptr) meta_service_->stop();
  if (service_ != nullptr) co_await service_->stop();
  meta_service_.reset();
  service_.reset();
  if (shared_service_ != nullptr) co_await shared_service_->stop();
  std::vector<Result<void>> stopped(servers_.size());
  runtime::Gate gate(world_.executor());
  for (size_t i = 0; i < servers_.size(); ++i)
    world_.executor().spawn(stop_server(*servers_[i], stopped[i], *gate.enter()));
  co_await gate.close();
  for (const Result<void>& one : stopped) keep_first(result, one);
  servers_.clear();
  shared_service_.reset();
  if (meta_ != nullptr) {
    const Result<void> closed = co_await meta_->close();
    keep_first(result, closed);
    meta_.reset();
  }
  co_return result;
}

std::map<std::string, std::string> Region::local_servers() const {
  std::map<std::string, std::string> local;
  for (const auto& server : servers_) local[server->address()] = "local:" + server->address();
  return local;
}

Task<Result<void>> Region::open_meta() {
  CO_TRY(disk_, world_.open_disk(options_.folder));
  CO_TRY(meta_, co_await RegionMeta::open(world_, *disk_, options_.open_index));
  co_return Result<void>();
}

// The region's record is made by the first start; later ones are held to it.
Task<Result<void>> Region::settle_topology() {
  CO_TRY(std::optional<meta::Entry> entry, co_await meta_->get(meta::region_key()));
  meta::pb::Region record;
  if (entry) {
    CO_TRY(record, meta::decode<meta::pb::Region>(*entry));
    if (record.format_version() > meta::kRegionFormatVersion) {
      co_return fail(
          ErrorCode::kUnsupported, "region",
          fmt::format("{} was made by a newer foreshard (format {})", options_.folder, record.format_version()));
    }
    const Topology recorded = topology_from_record(record);
    CO_TRY(topology_, restarted_topology(recorded, options_.topology));
    if (topology_.latencies == recorded.latencies) co_return Result<void>();
  } else {
    CO_TRY(topology_, new_topology(options_.topology));
    record.set_format_version(meta::kRegionFormatVersion);
    record.set_next_volume_id(1);
  }
  topology_to_record(topology_, record);
  *record.mutable_nonce() = meta::make_nonce(world_.random().next(), 1);
  meta::Transaction transaction;
  transaction.compares.push_back(
      {meta::Compare::Target::kModified, meta::region_key(), entry ? entry->modified : 0, {}});
  transaction.operations.push_back({meta::Operation::Kind::kPut, meta::region_key(), meta::encode(record), 0});
  CO_TRY(meta::TransactionResult done, co_await meta_->commit(transaction));
  if (!done.succeeded) co_return fail(ErrorCode::kConflict, "region record");
  co_return Result<void>();
}

Task<Result<void>> Region::start_servers() {
  CO_TRY(const std::string shared_address, socket_in(options_.folder, "servers"));
  CO_TRY(std::unique_ptr<runtime::Listener> listener, world_.network().listen(shared_address));
  shared_service_ = rpc::Service::create(world_);
  for (uint32_t id = 1; id <= topology_.servers(); ++id) {
    const std::string name = fmt::format("server-{}", id);
    StorageServerOptions options;
    options.id = ServerId{id};
    options.zone = topology_.zone_of_server(id);
    options.folder = options_.folder + "/" + name;
    options.servers = topology_.servers();
    CO_TRY(options.address, socket_in(options_.folder, name));
    options.listen = {options.address, "local:" + options.address};
    options.shared_service = shared_service_.get();
    options.shared_address = shared_address;
    options.open_store = options_.open_store;
    options.server = options_.server;
    servers_.push_back(std::make_unique<StorageServer>(world_, *meta_, std::move(options)));
  }
  std::vector<Result<void>> started(servers_.size());
  runtime::Gate gate(world_.executor());
  for (size_t i = 0; i < servers_.size(); ++i)
    world_.executor().spawn(start_server(*servers_[i], started[i], *gate.enter()));
  co_await gate.close();
  for (size_t i = 0; i < servers_.size(); ++i) {
    if (started[i]) continue;
    Error error = started[i].error();
    error.detail = fmt::format("server {}: {}", servers_[i]->id().value, error.detail);
    co_return fail(std::move(error));
  }
  shared_service_->serve(std::move(listener));
  co_return Result<void>();
}

Task<void> Region::start_server(StorageServer& server, Result<void>& result, runtime::Gate::Pass pass) {
  result = co_await server.start();
}

Task<void> Region::stop_server(StorageServer& server, Result<void>& result, runtime::Gate::Pass pass) {
  result = co_await server.stop();
}

Result<void> Region::serve() {
  service_ = rpc::Service::create(world_);
  meta_service_ = meta::MetaService::create(world_, *meta_, *service_);
  service_->handle(kMethodRegionStatus,
                   [this](rpc::Peer& peer, rpc::Request& request) { return on_status(peer, request); });
  TRY(std::unique_ptr<runtime::Listener> listener, world_.network().listen(address_));
  service_->serve(std::move(listener));
  return {};
}

Task<Result<rpc::Reply>> Region::on_status(rpc::Peer& peer, rpc::Request& request) {
  pb::RegionStatus status;
  status.set_pid(static_cast<uint64_t>(getpid()));
  status.set_folder(options_.folder);
  status.set_started_wall_ns(started_wall_ns_);
  status.set_version(options_.version);
  for (const auto& server : servers_) {
    pb::ServerRun& run = *status.add_servers();
    run.set_server(server->id().value);
    run.set_serving(server->serving());
    run.set_restarts(server->restarts());
    run.set_fault(server->fault());
  }
  co_return reply_of(status);
}

}  // namespace foreshard::app
