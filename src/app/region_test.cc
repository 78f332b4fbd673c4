// Proves that a region comes up with all its servers, holds a volume that a driver in the same process and one over
// sockets can use, goes on after a clean stop where it ended, and refuses to come up as another one.
#include "app/region.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "app/attachment.h"
#include "app/control_client.h"
#include "app/region_view.h"
#include "app/server_client.h"
#include "index/map_index.h"
#include "meta/remote_meta.h"
#include "runtime/real_runtime.h"
#include "store/memory_store.h"
#include "volume/volume_admin.h"

namespace foreshard::app {
namespace {

using runtime::Task;

// A chunk store that stands for one on a disk: it stays while the region is down.
class KeptStore final : public store::MemoryStore {
 public:
  using MemoryStore::MemoryStore;
  bool failing = false;
  uint64_t opens = 0;
  Task<Result<void>> close() override { co_return Result<void>(); }
};

// Passes everything on to a store that outlives it.
class Borrowed final : public store::ChunkStore {
 public:
  explicit Borrowed(KeptStore& kept) : kept_(kept) {}
  StoreUuid uuid() const override { return kept_.uuid(); }
  uint64_t loss() const override { return kept_.loss(); }
  bool incomplete() const override { return kept_.incomplete(); }
  Task<Result<void>> settle_incomplete() override { return kept_.settle_incomplete(); }
  Task<Result<store::PageMap>> read(store::ChunkKey key, uint32_t page, ByteSpan into) override {
    return kept_.read(key, page, into);
  }
  Task<Result<void>> write(store::ChunkKey key, store::Version version, uint32_t page, ConstByteSpan data,
                           const store::WriteGuard& guard) override {
    return kept_.write(key, version, page, data, guard);
  }
  Task<Result<void>> zero(store::ChunkKey key, store::Version version, uint32_t page, uint32_t pages,
                          const store::WriteGuard& guard) override {
    return kept_.zero(key, version, page, pages, guard);
  }
  Task<Result<void>> flush() override { return kept_.flush(); }
  Task<Result<store::PageMap>> states(store::ChunkKey key) override { return kept_.states(key); }
  Task<Result<store::Version>> version(store::ChunkKey key) override { return kept_.version(key); }
  Task<Result<void>> erase(VolumeId volume, uint64_t first, uint64_t chunks) override {
    return kept_.erase(volume, first, chunks);
  }
  Task<Result<void>> put_notes(std::vector<Note> notes) override { return kept_.put_notes(std::move(notes)); }
  Task<Result<std::vector<Note>>> notes(std::string prefix) override { return kept_.notes(std::move(prefix)); }
  Task<Result<store::ScrubPart>> scrub(store::ChunkKey begin, store::ChunkKey end, uint64_t bytes_per_second,
                                       runtime::Signal* stop) override {
    return kept_.scrub(begin, end, bytes_per_second, stop);
  }
  bool failed() const override { return kept_.failing; }
  std::vector<store::VolumeUsage> usage() const override { return kept_.usage(); }
  store::StoreStats stats() const override { return kept_.stats(); }
  Task<Result<void>> close() override { return kept_.close(); }

 private:
  KeptStore& kept_;
};

class RegionTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/foreshard-region.XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    folder_ = name;
    runtime_ = *runtime::RealRuntime::create();
  }
  void TearDown() override {
    runtime_.reset();
    std::filesystem::remove_all(folder_);
  }

  static Task<Result<std::unique_ptr<store::ChunkStore>>> open_kept(RegionTest* test, ServerId id) {
    std::unique_ptr<KeptStore>& kept = test->stores_[id];
    if (kept == nullptr) kept = std::make_unique<KeptStore>(StoreUuid{1000 + id.value}, 1u << 30);
    kept->failing = false;
    ++kept->opens;
    std::unique_ptr<store::ChunkStore> borrowed = std::make_unique<Borrowed>(*kept);
    co_return std::move(borrowed);
  }

  RegionOptions options(const char* zones) {
    RegionOptions options;
    options.folder = folder_;
    options.topology = *parse_topology(std::string(zones), 2, {});
    options.open_index = index::map_index_opener(index_state_);
    options.open_store = [this](ServerId id, std::string folder, uint32_t servers) { return open_kept(this, id); };
    options.server.grant_ns = 100'000'000;
    return options;
  }

  std::unique_ptr<Region> start(const char* zones = "a,b,c") {
    Result<std::unique_ptr<Region>> region = runtime_->run(Region::start(*runtime_, options(zones)));
    EXPECT_TRUE(region) << region.error().message();
    return region ? std::move(*region) : nullptr;
  }
  void stop(std::unique_ptr<Region> region) {
    const Result<void> stopped = runtime_->run(region->stop());
    EXPECT_TRUE(stopped) << stopped.error().message();
  }

  void create(meta::Meta& meta, const std::string& name) {
    volume::CreateOptions create;
    create.name = name;
    create.size_bytes = 64u << 20;
    create.volumelet_bytes = 4u << 20;
    const auto volume = runtime_->run(volume::create_volume(*runtime_, meta, create));
    ASSERT_TRUE(volume) << volume.error().message();
  }

  std::unique_ptr<Attachment> attach(meta::Meta& meta, const std::string& name,
                                     std::map<std::string, std::string> local = {}, std::vector<std::string> nbd = {}) {
    AttachmentOptions options;
    options.driver.volume = name;
    options.driver.cache_bytes = 1u << 20;
    options.control_folder = folder_;
    options.local_servers = std::move(local);
    options.nbd = std::move(nbd);
    Result<std::unique_ptr<Attachment>> attachment =
        runtime_->run(Attachment::start(*runtime_, meta, std::move(options)));
    EXPECT_TRUE(attachment) << attachment.error().message();
    return attachment ? std::move(*attachment) : nullptr;
  }

  void write_pattern(Attachment& attachment, uint64_t seed) {
    for (uint64_t offset = 0; offset < (64u << 20); offset += (4u << 20) - 512) {
      const Buffer data = pattern(seed, offset);
      if (offset + data.size() > (64u << 20)) break;
      const Result<void> written = runtime_->run(attachment.driver().write(offset, data.span(), false));
      ASSERT_TRUE(written) << written.error().message();
    }
  }
  void check_pattern(Attachment& attachment, uint64_t seed) {
    for (uint64_t offset = 0; offset < (64u << 20); offset += (4u << 20) - 512) {
      const Buffer data = pattern(seed, offset);
      if (offset + data.size() > (64u << 20)) break;
      Buffer read = Buffer::allocate(data.size());
      const Result<void> done = runtime_->run(attachment.driver().read(offset, read.span()));
      ASSERT_TRUE(done) << done.error().message();
      ASSERT_EQ(std::memcmp(read.data(), data.data(), data.size()), 0) << offset;
    }
  }
  static Buffer pattern(uint64_t seed, uint64_t offset) {
    Buffer data = Buffer::allocate(9000);
    Random random(seed ^ offset);
    for (size_t i = 0; i < data.size(); ++i) data.data()[i] = static_cast<std::byte>(random.next());
    return data;
  }

  std::string folder_;
  index::MapIndexState index_state_;
  std::map<ServerId, std::unique_ptr<KeptStore>> stores_;
  std::unique_ptr<runtime::RealRuntime> runtime_;
};

// A store that has failed in the background, by a checkpoint, is opened anew although nobody has asked it for anything.
TEST_F(RegionTest, OpensAStoreAnewThatFailedInTheBackground) {
  std::unique_ptr<Region> region = start();
  ASSERT_NE(region, nullptr);
  KeptStore& store = *stores_.at(ServerId{2});
  store.failing = true;
  auto until_opened = [](runtime::Runtime* runtime, const KeptStore* store) -> Task<void> {
    while (store->opens < 2) co_await runtime->executor().yield();
  };
  runtime_->run(until_opened(runtime_.get(), &store));
  EXPECT_EQ(stores_.at(ServerId{1})->opens, 1u);
  stop(std::move(region));
}

// The index of the metadata fails for a while, as on a full disk: nothing acknowledged is lost, and the region goes on
// by itself, for its servers, for a driver of its own and for others.
TEST_F(RegionTest, GoesOnByItselfWhenTheMetadatasDiskIsWellAgain) {
  std::unique_ptr<Region> region = start();
  ASSERT_NE(region, nullptr);
  create(region->meta(), "v");
  std::unique_ptr<Attachment> attachment = attach(region->meta(), "v", region->local_servers());
  ASSERT_NE(attachment, nullptr);
  write_pattern(*attachment, 1);

  index_state_.fail_after(0);
  const auto refused = runtime_->run(region->meta().grant_lease(1'000'000'000));
  EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable);
  auto until_it_serves = [](runtime::Runtime* runtime, Region* in) -> Task<void> {
    for (;;) {
      const Result<meta::LeaseId> lease = co_await in->meta().grant_lease(1'000'000'000);
      if (lease) co_return;
      co_await runtime->executor().yield();
    }
  };
  check_pattern(*attachment, 1);
  index_state_.repair();
  runtime_->run(until_it_serves(runtime_.get(), region.get()));
  create(region->meta(), "w");
  write_pattern(*attachment, 2);
  check_pattern(*attachment, 2);
  ASSERT_TRUE(runtime_->run(attachment->detach()));
  attachment.reset();
  stop(std::move(region));
}

TEST_F(RegionTest, ComesUpWithAllServersAndGoesOnWhereItEnded) {
  std::unique_ptr<Region> region = start();
  ASSERT_NE(region, nullptr);
  const Result<RegionView> view = runtime_->run(look_at_region(region->meta()));
  ASSERT_TRUE(view);
  ASSERT_EQ(view->servers.size(), 6u);
  for (const meta::pb::Server& server : view->servers) {
    const auto stats = runtime_->run(server_stats(*runtime_, server.address(), UINT64_MAX));
    ASSERT_TRUE(stats) << stats.error().message();
    EXPECT_EQ(stats->server, server.id());
    EXPECT_EQ(server.zone(), region->topology().zone_of_server(server.id()));
  }
  create(region->meta(), "v");
  {
    const std::unique_ptr<Attachment> attachment = attach(region->meta(), "v", region->local_servers());
    ASSERT_NE(attachment, nullptr);
    write_pattern(*attachment, 1);
    check_pattern(*attachment, 1);
    ASSERT_TRUE(runtime_->run(attachment->detach()));
  }
  stop(std::move(region));

  region = start();
  ASSERT_NE(region, nullptr);
  {
    const std::unique_ptr<Attachment> attachment = attach(region->meta(), "v");
    ASSERT_NE(attachment, nullptr);
    check_pattern(*attachment, 1);
    ASSERT_TRUE(runtime_->run(attachment->detach()));
  }
  stop(std::move(region));
}

TEST_F(RegionTest, RefusesAnotherTopology) {
  stop(start("a,b,c"));
  const auto other = runtime_->run(Region::start(*runtime_, options("a,b")));
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, ErrorCode::kConflict);
  stop(start("a,b,c"));
}

TEST_F(RegionTest, ServesDriversOverItsSocketAndTheirControl) {
  std::unique_ptr<Region> region = start();
  ASSERT_NE(region, nullptr);
  const std::unique_ptr<meta::RemoteMeta> meta = meta::RemoteMeta::create(*runtime_, region->address());
  create(*meta, "v");
  const std::unique_ptr<Attachment> attachment = attach(*meta, "v", {}, {"unix:" + folder_ + "/v.nbd"});
  ASSERT_NE(attachment, nullptr);
  ASSERT_EQ(attachment->uris(), std::vector<std::string>{"nbd+unix:///v?socket=" + folder_ + "/v.nbd"});
  write_pattern(*attachment, 2);
  check_pattern(*attachment, 2);

  const auto record = runtime_->run(volume::get_attachment(*meta, VolumeId{1}));
  ASSERT_TRUE(record && *record);
  const std::string control = (*record)->address();
  const auto status =
      runtime_->run(ask_control<pb::DriverStatus>(*runtime_, control, kMethodDriverStatus, pb::Empty(), UINT64_MAX));
  ASSERT_TRUE(status) << status.error().message();
  EXPECT_EQ(status->volume(), "v");
  EXPECT_GE(status->writes(), 16u);
  const auto heat =
      runtime_->run(ask_control<pb::HeatReply>(*runtime_, control, kMethodDriverHeat, pb::Empty(), UINT64_MAX));
  ASSERT_TRUE(heat);
  EXPECT_EQ(heat->volumelets_size(), 16);

  EXPECT_FALSE(attachment->over().is_set());
  ASSERT_TRUE(runtime_->run(ask_control<pb::Empty>(*runtime_, control, kMethodDriverDetach, pb::Empty(), UINT64_MAX)));
  EXPECT_TRUE(attachment->over().is_set());
  ASSERT_TRUE(runtime_->run(attachment->detach()));
  const auto released = runtime_->run(volume::get_attachment(*meta, VolumeId{1}));
  EXPECT_TRUE(released && !*released);
  runtime_->run(meta->close());
  stop(std::move(region));
}

TEST_F(RegionTest, ASecondAttachNamesTheFirst) {
  std::unique_ptr<Region> region = start();
  ASSERT_NE(region, nullptr);
  create(region->meta(), "v");
  const std::unique_ptr<Attachment> first = attach(region->meta(), "v");
  ASSERT_NE(first, nullptr);
  AttachmentOptions options;
  options.driver.volume = "v";
  options.control_folder = folder_;
  const auto second = runtime_->run(Attachment::start(*runtime_, region->meta(), std::move(options)));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kBusy);
  EXPECT_NE(second.error().message().find(std::to_string(getpid())), std::string::npos) << second.error().message();
  ASSERT_TRUE(runtime_->run(first->detach()));
  stop(std::move(region));
}

TEST(NbdUri, IsWhatClientsUnderstand) {
  EXPECT_EQ(nbd_uri("v", "unix:/run/v.sock"), "nbd+unix:///v?socket=/run/v.sock");
  EXPECT_EQ(nbd_uri("v", "unix:/a b&c"), "nbd+unix:///v?socket=/a%20b%26c");
  EXPECT_EQ(nbd_uri("v", "tcp:127.0.0.1:10809"), "nbd://127.0.0.1:10809/v");
}

}  // namespace
}  // namespace foreshard::app
