#include "app/storage_server.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/log.h"
#include "meta/records.h"

namespace foreshard::app {

using runtime::Task;

namespace {

constexpr uint64_t kLeaseNs = 10'000'000'000;
constexpr uint64_t kRenewNs = 3'000'000'000;
constexpr uint64_t kLookNs = 200'000'000;  // between looks whether the store has failed
constexpr uint64_t kReopenPauseNsMax = 10'000'000'000;

}  // namespace

StorageServer::StorageServer(runtime::Runtime& world, meta::Meta& meta, StorageServerOptions options)
    : world_(world), meta_(meta), options_(std::move(options)), stopping_(world.executor()), gate_(world.executor()) {
  options_.server.id = options_.id;
}

StorageServer::~StorageServer() = default;

Task<Result<void>> StorageServer::start() {
  CO_TRY_VOID(co_await open());
  CO_TRY_VOID(co_await enter_record());
  world_.executor().spawn(supervise(*gate_.enter()));
  world_.executor().spawn(keep_lease(*gate_.enter()));
  co_return Result<void>();
}

Task<Result<void>> StorageServer::stop() {
  stopping_.set();
  co_await gate_.close();
  co_await close_service();
  if (store_ == nullptr) {
    if (fault_.empty()) co_return Result<void>();
    co_return fail(ErrorCode::kIo, "the region ended",
                   fmt::format("server {} did not serve: {}", options_.id.value, fault_));
  }
  const Result<void> closed = co_await store_->close();
  store_.reset();
  co_return closed;
}

Task<Result<void>> StorageServer::open() {
  CO_TRY(store_, co_await options_.open_store(options_.id, options_.folder, options_.servers));
  server_ = std::make_unique<server::ReplicaServer>(world_, *store_, meta_, options_.server);
  CO_TRY_VOID(co_await server_->start());
  for (const std::string& address : options_.listen) {
    CO_TRY(std::unique_ptr<runtime::Listener> listener, world_.network().listen(address));
    server_->serve(std::move(listener));
  }
  if (options_.shared_service != nullptr) options_.shared_service->add_endpoint(options_.id.value, server_->service());
  fault_.clear();
  co_return Result<void>();
}

Task<void> StorageServer::close_service() {
  if (server_ == nullptr) co_return;
  if (options_.shared_service != nullptr) options_.shared_service->remove_endpoint(options_.id.value);
  co_await server_->stop();
  server_.reset();
}

// A store that has failed is not closed clean by this, but its own work on it has ended.
Task<void> StorageServer::close_store() {
  if (store_ == nullptr) co_return;
  const std::unique_ptr<store::ChunkStore> store = std::move(store_);
  const Result<void> closed = co_await store->close();
  if (!closed) LOG_DEBUG("server {}: its store ended: {}", options_.id.value, closed.error().message());
}

Task<Result<void>> StorageServer::enter_record() {
  meta::pb::Server record;
  record.set_id(options_.id.value);
  record.set_address(options_.address);
  record.set_shared_address(options_.shared_address);
  record.set_zone(options_.zone);
  record.set_spine(options_.zone);
  record.set_store_uuid(store_->uuid().value);
  record.set_capacity_bytes(store_->stats().capacity_bytes);
  CO_TRY(lease_, co_await meta_.grant_lease(kLeaseNs));
  *record.mutable_nonce() = meta::make_nonce(world_.random().next(), 1);
  meta::Transaction transaction;
  transaction.operations.push_back(
      {meta::Operation::Kind::kPut, meta::server_key(options_.id), meta::encode(record), 0});
  transaction.operations.push_back({meta::Operation::Kind::kPut, meta::server_alive_key(options_.id), {}, lease_});
  CO_TRY_VOID(co_await meta_.commit(transaction));
  co_return Result<void>();
}

Task<void> StorageServer::keep_lease(runtime::Gate::Pass pass) {
  uint64_t renew_ns = world_.now_ns() + kRenewNs;
  for (;;) {
    const bool stopping = co_await stopping_.wait_until(renew_ns);
    if (stopping) co_return;
    renew_ns = world_.now_ns() + kRenewNs;
    if (store_ == nullptr) continue;
    const Result<void> renewed = co_await meta_.renew_lease(lease_);
    if (renewed || renewed.error().code != ErrorCode::kNotFound || store_ == nullptr) continue;
    // This process stood still for longer than the lease.
    const Result<void> entered = co_await enter_record();
    if (!entered) LOG_WARN("server {}: cannot enter its record: {}", options_.id.value, entered.error().message());
  }
}

Task<void> StorageServer::supervise(runtime::Gate::Pass pass) {
  uint64_t pause_ns = kLookNs;
  while (!stopping_.is_set()) {
    if (server_ != nullptr) {
      const bool failed = co_await server_->failed().wait_until(world_.now_ns() + kLookNs);
      if (!failed && !store_->failed()) continue;
      LOG_WARN("server {}: its store has failed; it is opened anew", options_.id.value);
    } else {
      const bool stopping = co_await stopping_.wait_until(world_.now_ns() + pause_ns);
      if (stopping) co_return;
    }
    co_await close_service();
    co_await close_store();
    ++restarts_;
    const Result<void> opened = co_await open();
    if (opened) {
      LOG_INFO("server {}: serves again", options_.id.value);
      pause_ns = kLookNs;
      continue;
    }
    const std::string fault = opened.error().message();
    if (fault != fault_) LOG_WARN("server {}: does not open: {}", options_.id.value, fault);
    fault_ = fault;
    co_await close_service();
    co_await close_store();
    pause_ns = std::min(pause_ns * 2, kReopenPauseNsMax);
  }
}

}  // namespace foreshard::app
