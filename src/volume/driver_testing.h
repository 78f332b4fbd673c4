// For tests of a driver: a region of three servers over memory on a simulated network, and clients that run a story
// each.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "meta/remote_meta.h"
#include "runtime/sim_world.h"
#include "server/replica_server.h"
#include "store/memory_store.h"
#include "volume/driver.h"
#include "volume/test_region.h"
#include "volume/volume_admin.h"

namespace foreshard::volume {

inline constexpr uint64_t kServers = 3;
inline constexpr uint64_t kMiB = 1u << 20;

inline std::string server_address(uint64_t id) { return "tcp:server" + std::to_string(id) + ":1"; }

// A store on a disk that is slower than the network, and may have damaged pages.
class SlowStore final : public store::MemoryStore {
 public:
  using MemoryStore::MemoryStore;
  using Damaged = bool (*)(uint64_t page);  // of any volume
  runtime::Task<Result<store::PageMap>> read(store::ChunkKey key, uint32_t first_page, ByteSpan into) override {
    co_await executor->sleep_for(2'000'000);
    for (uint32_t i = 0; i < into.size() / kPageBytes; ++i) {
      if (damaged != nullptr && damaged(key.chunk * kPagesPerChunk + first_page + i))
        co_return fail(ErrorCode::kCorrupt, "page checksum", first_page + i);
    }
    co_return co_await MemoryStore::read(key, first_page, into);
  }
  runtime::Executor* executor = nullptr;
  Damaged damaged = nullptr;
};

// Metadata and three servers over memory, in one process.
class RegionProcess : public runtime::SimProcess {
 public:
  explicit RegionProcess(runtime::SimRuntime& runtime, SlowStore::Damaged damaged = nullptr)
      : runtime_(runtime), region_(runtime), damaged_(damaged) {
    runtime.executor().spawn(run());
  }
  bool ready = false;

 private:
  runtime::Task<void> run() {
    std::vector<TestServer> servers;
    for (uint64_t id = 1; id <= kServers; ++id) servers.push_back({id, server_address(id), StoreUuid{100 + id}});
    const Result<void> opened = co_await region_.open(servers);
    EXPECT_TRUE(opened);
    for (const TestServer& server : servers) co_await start_server(server);
    ready = true;
  }
  runtime::Task<void> start_server(const TestServer& server) {
    stores_.push_back(std::make_unique<SlowStore>(server.uuid, 256 * kMiB));
    stores_.back()->executor = &runtime_.executor();
    stores_.back()->damaged = damaged_;
    server::ReplicaServerOptions options;
    options.id = ServerId{server.id};
    options.cache_bytes = kMiB;
    servers_.push_back(std::make_unique<server::ReplicaServer>(runtime_, *stores_.back(), region_.meta(), options));
    const Result<void> started = co_await servers_.back()->start();
    EXPECT_TRUE(started);
    servers_.back()->serve(*runtime_.network().listen(server.address));
  }
  runtime::SimRuntime& runtime_;
  TestRegion region_;
  const SlowStore::Damaged damaged_;
  std::vector<std::unique_ptr<SlowStore>> stores_;
  std::vector<std::unique_ptr<server::ReplicaServer>> servers_;
};

struct Client;
using Story = runtime::Task<void> (*)(Client&);

// A process that runs one story with a metadata client.
struct Client : runtime::SimProcess {
  Client(runtime::SimRuntime& r, Story story) : runtime(r), meta(meta::RemoteMeta::create(r, kTestRegionAddress)) {
    runtime.executor().spawn(run(story));
  }
  runtime::Task<void> run(Story story) {
    co_await story(*this);
    co_await meta->close();
    done = true;
  }
  DriverOptions options(std::string volume) const {
    DriverOptions o;
    o.volume = std::move(volume);
    o.zone = "a";
    o.cache_bytes = 2 * kMiB;
    return o;
  }
  runtime::SimRuntime& runtime;
  std::unique_ptr<meta::RemoteMeta> meta;
  bool done = false;
};

inline void run_story(Story story, uint64_t seed = 1, SlowStore::Damaged damaged = nullptr) {
  runtime::SimWorld world(seed);
  const runtime::NodeId region = world.add_node("region");
  world.start(region, [=](runtime::SimRuntime& r) { return std::make_unique<RegionProcess>(r, damaged); });
  ASSERT_TRUE(
      world.run_until([&] { return static_cast<RegionProcess*>(world.process(region))->ready; }, 10'000'000'000));
  const runtime::NodeId client = world.add_node("client");
  world.start(client, [story](runtime::SimRuntime& r) { return std::make_unique<Client>(r, story); });
  EXPECT_TRUE(world.run_until([&] { return static_cast<Client*>(world.process(client))->done; }, 600'000'000'000));
}

inline runtime::Task<std::unique_ptr<Driver>> attached(Client& c, DriverOptions options) {
  Result<std::unique_ptr<Driver>> driver = co_await Driver::attach(c.runtime, *c.meta, std::move(options));
  EXPECT_TRUE(driver) << (driver ? "" : driver.error().message());
  co_return driver ? std::move(*driver) : nullptr;
}

inline runtime::Task<void> created(Client& c, std::string name, uint64_t size_bytes) {
  CreateOptions options;
  options.name = std::move(name);
  options.size_bytes = size_bytes;
  options.volumelet_bytes = 4 * kMiB;
  const Result<meta::pb::Volume> volume = co_await create_volume(c.runtime, *c.meta, std::move(options));
  EXPECT_TRUE(volume) << (volume ? "" : volume.error().message());
}

}  // namespace foreshard::volume
