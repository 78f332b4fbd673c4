// Hosted ranges: what is hosted is exactly what was prepared and is whole, also after a restart; overlapping
// replicas are refused; after a loss nothing counts as whole, and preparing again does not change that.
#include "server/hosted_ranges.h"

#include <gtest/gtest.h>

#include "runtime/sim_world.h"
#include "store/memory_store.h"

namespace foreshard::server {
namespace {

using runtime::Task;

struct Scene : runtime::SimProcess {
  explicit Scene(runtime::SimRuntime& r) : store(StoreUuid{5}, 1u << 24) { r.executor().spawn(run()); }
  Task<void> run() {
    co_await story();
    done = true;
  }
  static std::vector<HostedRanges::Placed> one(uint64_t first, uint64_t chunks, uint64_t replica) {
    std::vector<HostedRanges::Placed> placed;
    placed.push_back({first, HostedRange{chunks, ReplicaId{replica}, true}});
    return placed;
  }
  Task<void> story() {
    const VolumeId v{7};
    HostedRanges ranges(store);
    Result<void> added = co_await ranges.add(v, one(4, 4, 1));
    EXPECT_TRUE(added);
    added = co_await ranges.add(v, one(8, 4, 2));
    EXPECT_TRUE(added);
    added = co_await ranges.add(v, one(8, 4, 2));
    EXPECT_TRUE(added);
    added = co_await ranges.add(v, one(6, 4, 3));
    EXPECT_EQ(added.error().code, ErrorCode::kExists);
    added = co_await ranges.add(v, one(8, 4, 9));
    EXPECT_EQ(added.error().code, ErrorCode::kExists);
    check(ranges, v);
    HostedRanges again(store);
    Result<void> loaded = co_await again.load();
    EXPECT_TRUE(loaded);
    check(again, v);
    const Result<void> marked = co_await again.mark_all_incomplete();
    EXPECT_TRUE(marked);
    added = co_await again.add(v, one(8, 4, 2));
    EXPECT_TRUE(added);
    HostedRanges after(store);
    loaded = co_await after.load();
    EXPECT_TRUE(loaded);
    EXPECT_FALSE(after.complete(v));
    EXPECT_FALSE(after.hosts(v, 8, 1));
    EXPECT_EQ(after.range_count(), 2u);
  }
  static void check(const HostedRanges& ranges, VolumeId v) {
    EXPECT_TRUE(ranges.hosts(v, 4, 8));
    EXPECT_FALSE(ranges.hosts(v, 3, 2));
    EXPECT_FALSE(ranges.hosts(v, 11, 2));
    EXPECT_FALSE(ranges.hosts(VolumeId{8}, 4, 1));
    EXPECT_TRUE(ranges.complete(v));
  }
  store::MemoryStore store;
  bool done = false;
};

TEST(HostedRanges, RememberWhatIsWhole) {
  runtime::SimWorld world(1);
  const runtime::NodeId node = world.add_node("server");
  world.start(node, [](runtime::SimRuntime& r) { return std::make_unique<Scene>(r); });
  EXPECT_TRUE(world.run_until([&] { return static_cast<Scene*>(world.process(node))->done; }, 60'000'000'000));
}

}  // namespace
}  // namespace foreshard::server
