// The metadata of a region for tests of this layer: kept in memory, served at kTestRegionAddress, with the servers'
// records in it. Owner: the simulated process that runs it, which waits for open() first.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "index/map_index.h"
#include "meta/embedded_meta.h"
#include "meta/meta_service.h"
#include "meta/records.h"
#include "runtime/sim_world.h"

namespace foreshard::volume {

inline constexpr char kTestRegionAddress[] = "tcp:region:1";

struct TestServer {
  uint64_t id;
  std::string address;
  StoreUuid uuid;
};

class TestRegion {
 public:
  explicit TestRegion(runtime::SimRuntime& runtime) : runtime_(runtime) {}
  runtime::Task<Result<void>> open(std::vector<TestServer> servers) {
    auto index = std::make_unique<index::MapIndex>(runtime_.executor(), index_state_, index::MapIndexOptions{});
    CO_TRY(meta_, co_await meta::EmbeddedMeta::open(runtime_, std::move(index)));
    service_ = rpc::Service::create(runtime_);
    meta_service_ = meta::MetaService::create(runtime_, *meta_, *service_);
    service_->serve(*runtime_.network().listen(kTestRegionAddress));
    meta::pb::Region region;
    region.set_format_version(meta::kRegionFormatVersion);
    region.set_next_volume_id(1);
    region.set_servers_per_zone(1);
    region.add_zones("a");
    meta::Transaction transaction;
    put(transaction, meta::region_key(), meta::encode(region));
    for (const TestServer& server : servers) {
      meta::pb::Server record;
      record.set_id(server.id);
      record.set_address(server.address);
      record.set_zone("a");
      record.set_store_uuid(server.uuid.value);
      put(transaction, meta::server_key(ServerId{server.id}), meta::encode(record));
    }
    CO_TRY(const meta::TransactionResult committed, co_await meta_->commit(std::move(transaction)));
    if (!committed.succeeded) co_return fail(ErrorCode::kConflict, "test region");
    co_return Result<void>();
  }
  meta::EmbeddedMeta& meta() { return *meta_; }

 private:
  static void put(meta::Transaction& transaction, std::string key, std::string value) {
    transaction.operations.push_back({meta::Operation::Kind::kPut, std::move(key), std::move(value), 0});
  }
  runtime::SimRuntime& runtime_;
  index::MapIndexState index_state_;
  std::unique_ptr<meta::EmbeddedMeta> meta_;
  std::unique_ptr<rpc::Service> service_;
  std::unique_ptr<meta::MetaService> meta_service_;
};

}  // namespace foreshard::volume
