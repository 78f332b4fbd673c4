// A write that was given up (io_timeout_ns) after it had been sent may have been applied. Whatever a client reads of it
// afterwards stays: also when the server then forgets what was not flushed, and when the client flushed in between.
// The server here answers nothing, or hears nothing, while the write is under way.
#include <map>

#include <gtest/gtest.h>

#include "meta/remote_meta.h"
#include "runtime/sim_world.h"
#include "server/replica_server.h"
#include "store/memory_store.h"
#include "volume/driver.h"
#include "volume/test_region.h"
#include "volume/volume_admin.h"

namespace foreshard::volume {
namespace {

using runtime::SimRuntime;
using runtime::Task;

constexpr char kServerAddress[] = "tcp:server:1";
constexpr uint64_t kMiB = 1u << 20;
constexpr uint64_t kSecondNs = 1'000'000'000;
constexpr StoreUuid kUuid{77};

// A disk that forgets when its power goes: what was written since the last flush is as it was before.
class ForgetfulStore : public store::MemoryStore {
 public:
  ForgetfulStore() : MemoryStore(kUuid, 64 * kMiB) {}
  uint64_t loss() const override { return loss_; }

  Task<Result<void>> write(store::ChunkKey key, store::Version version, uint32_t first_page, ConstByteSpan data,
                           const store::WriteGuard& guard) override {
    if (full) co_return fail(ErrorCode::kNoSpace, "planned");
    written.push_back(first_page);
    CO_TRY_VOID(co_await keep_old(key, first_page, data.size() / kPageBytes));
    co_return co_await MemoryStore::write(key, version, first_page, data, guard);
  }
  Task<Result<void>> zero(store::ChunkKey key, store::Version version, uint32_t first_page, uint32_t pages,
                          const store::WriteGuard& guard) override {
    CO_TRY_VOID(co_await keep_old(key, first_page, pages));
    co_return co_await MemoryStore::zero(key, version, first_page, pages, guard);
  }
  Task<Result<void>> flush() override {
    old_.clear();
    co_return co_await MemoryStore::flush();
  }
  Task<void> lose_power() {
    ++loss_;
    const Anybody anybody;
    for (auto old = old_.rbegin(); old != old_.rend(); ++old) {
      const Result<void> written =
          co_await MemoryStore::write(old->key, store::Version{}, old->first_page, old->data.span(), anybody);
      EXPECT_TRUE(written);
    }
    old_.clear();
  }
  bool full = false;
  std::vector<uint32_t> written;  // the first page of every write

 private:
  struct Anybody : store::WriteGuard {
    bool admitted() const override { return true; }
  };
  struct Old {
    store::ChunkKey key;
    uint32_t first_page;
    Buffer data;
  };
  Task<Result<void>> keep_old(store::ChunkKey key, uint32_t first_page, uint64_t pages) {
    Old old{key, first_page, Buffer::allocate(pages * kPageBytes)};
    CO_TRY_VOID(co_await MemoryStore::read(key, first_page, old.data.span()));
    old_.push_back(std::move(old));
    co_return Result<void>();
  }
  uint64_t loss_ = 1;
  std::vector<Old> old_;
};

struct RegionProcess : runtime::SimProcess {
  explicit RegionProcess(SimRuntime& r) : region(r) { r.executor().spawn(run()); }
  Task<void> run() {
    const Result<void> opened = co_await region.open({{1, kServerAddress, kUuid}});
    ready = opened.has_value();
  }
  TestRegion region;
  bool ready = false;
};

struct ServerProcess : runtime::SimProcess {
  ServerProcess(SimRuntime& r, ForgetfulStore& s) : runtime(r), meta(meta::RemoteMeta::create(r, kTestRegionAddress)) {
    server::ReplicaServerOptions options;
    options.id = ServerId{1};
    server = std::make_unique<server::ReplicaServer>(runtime, s, *meta, options);
    r.executor().spawn(run());
  }
  Task<void> run() {
    const Result<void> started = co_await server->start();
    EXPECT_TRUE(started);
    server->serve(*runtime.network().listen(kServerAddress));
  }
  SimRuntime& runtime;
  std::unique_ptr<meta::RemoteMeta> meta;
  std::unique_ptr<server::ReplicaServer> server;
};

struct ClientProcess : runtime::SimProcess {
  explicit ClientProcess(SimRuntime& r) : runtime(r), meta(meta::RemoteMeta::create(r, kTestRegionAddress)) {}
  SimRuntime& runtime;
  std::unique_ptr<meta::RemoteMeta> meta;
  std::unique_ptr<Driver> driver;
  Result<void> outcome;
  bool done = false;
};

Task<void> keep_outcome(ClientProcess& c, Task<Result<void>> work) {
  c.outcome = co_await work;
  c.done = true;
}

DriverOptions driver_options() {
  DriverOptions options;
  options.volume = "v";
  options.zone = "a";
  options.cache_bytes = 0;  // every read asks the server
  options.prefetch = policy::PrefetchMode::kOff;
  options.io_timeout_ns = 5 * kSecondNs;
  options.retained_age_ns_max = 3600 * kSecondNs;  // flushes come when they are asked for
  return options;
}

Task<Result<void>> attach(ClientProcess& c) {
  CreateOptions create;
  create.name = "v";
  create.size_bytes = 4 * kMiB;
  create.volumelet_bytes = 4 * kMiB;
  CO_TRY_VOID(co_await create_volume(c.runtime, *c.meta, std::move(create)));
  CO_TRY(c.driver, co_await Driver::attach(c.runtime, *c.meta, driver_options()));
  co_return Result<void>();
}

Task<void> take_over(ClientProcess& c, std::unique_ptr<Driver>& driver) {
  DriverOptions options = driver_options();
  options.force = true;
  Result<std::unique_ptr<Driver>> attached = co_await Driver::attach(c.runtime, *c.meta, std::move(options));
  EXPECT_TRUE(attached) << (attached ? "" : attached.error().message());
  if (attached) driver = std::move(*attached);
}

// A region, a server and a driver, and what is done to them step by step.
class UnansweredWrite : public ::testing::Test {
 protected:
  void SetUp() override {
    region_ = world_.add_node("region");
    server_ = world_.add_node("server");
    client_ = world_.add_node("client");
    world_.start(region_, [](SimRuntime& r) { return std::make_unique<RegionProcess>(r); });
    ASSERT_TRUE(world_.run_until([this] { return static_cast<RegionProcess*>(world_.process(region_))->ready; },
                                 world_.now_ns() + 10 * kSecondNs));
    world_.start(server_, [this](SimRuntime& r) { return std::make_unique<ServerProcess>(r, store_); });
    world_.start(client_, [](SimRuntime& r) { return std::make_unique<ClientProcess>(r); });
    ASSERT_TRUE(done(attach(client())));
    ASSERT_TRUE(write('a'));
    ASSERT_TRUE(flush());
  }

  ClientProcess& client() { return *static_cast<ClientProcess*>(world_.process(client_)); }
  Result<void> done(Task<Result<void>> work) {
    client().done = false;
    client().runtime.executor().spawn(keep_outcome(client(), std::move(work)));
    EXPECT_TRUE(world_.run_until([this] { return client().done; }, world_.now_ns() + 300 * kSecondNs));
    return client().outcome;
  }
  Result<void> write(char fill, uint64_t first_page = 1) {
    data_.assign(2 * kPageBytes, static_cast<std::byte>(fill));
    return done(client().driver->write(first_page * kPageBytes, data_, false));
  }
  Result<void> zero() { return done(client().driver->zero(kPageBytes, 2 * kPageBytes, ZeroMode::kMayUnmap, false)); }
  Result<void> flush() { return done(client().driver->flush()); }
  // What both pages hold; '?' when that is not one thing.
  char read() {
    std::vector<std::byte> back(2 * kPageBytes);
    const Result<void> got = done(client().driver->read(kPageBytes, back));
    EXPECT_TRUE(got) << (got ? "" : got.error().message());
    for (const std::byte b : back)
      if (b != back[0]) return '?';
    return static_cast<char>(back[0]);
  }
  void lose_power() {
    world_.kill(server_, runtime::Crash::kPower);
    const Result<void> forgotten = done(forget());
    EXPECT_TRUE(forgotten);
    world_.restart(server_);
  }
  Task<Result<void>> forget() {
    co_await store_.lose_power();
    co_return Result<void>();
  }
  // The write is given up, as nothing goes from the one to the other meanwhile.
  void give_up(char fill, runtime::NodeId from, runtime::NodeId to, uint64_t first_page = 1) {
    world_.fabric().block(from, to);
    expect_timeout(write(fill, first_page));
    world_.fabric().heal_all();
  }
  void expect_timeout(const Result<void>& outcome) {
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().code, ErrorCode::kTimeout) << outcome.error().message();
  }

  ForgetfulStore store_;
  runtime::SimWorld world_{1};
  runtime::NodeId region_{}, server_{}, client_{};
  std::vector<std::byte> data_;
};

TEST_F(UnansweredWrite, OnceReadItStaysThoughTheServerForgets) {
  give_up('b', server_, client_);  // the write arrives, its answer does not
  const char seen = read();
  EXPECT_TRUE(seen == 'a' || seen == 'b') << seen;
  lose_power();
  EXPECT_EQ(read(), seen);
  ASSERT_TRUE(flush());
  lose_power();
  EXPECT_EQ(read(), seen);
}

TEST_F(UnansweredWrite, AFlushAfterwardsCoversIt) {
  give_up('b', server_, client_);
  const char seen = read();
  ASSERT_TRUE(flush());
  lose_power();
  EXPECT_EQ(read(), seen);
}

TEST_F(UnansweredWrite, NeitherDoesItAppearLater) {
  world_.fabric().partition(server_, client_);  // it may not even arrive
  expect_timeout(write('b'));
  world_.fabric().heal_all();
  const char seen = read();
  lose_power();
  EXPECT_EQ(read(), seen);
}

TEST_F(UnansweredWrite, ALaterWriteOfThePagesWins) {
  give_up('b', server_, client_);
  ASSERT_TRUE(write('c'));
  EXPECT_EQ(read(), 'c');
  lose_power();
  EXPECT_EQ(read(), 'c');
}

TEST_F(UnansweredWrite, ZeroesAreNoDifferent) {
  world_.fabric().block(server_, client_);
  expect_timeout(zero());
  world_.fabric().heal_all();
  const char seen = read();
  EXPECT_TRUE(seen == 'a' || seen == '\0') << seen;
  lose_power();
  EXPECT_EQ(read(), seen);
}

// Else a driver that ended in the midst of it would leave what was acknowledged first.
TEST_F(UnansweredWrite, WhatWasAcknowledgedIsNotWrittenAgainWhereNothingWasForgotten) {
  ASSERT_TRUE(write('b'));
  ASSERT_TRUE(write('c'));
  store_.written.clear();
  give_up('d', client_, server_, 100);
  EXPECT_EQ(read(), 'c');
  EXPECT_EQ(store_.written, std::vector<uint32_t>{100});
  lose_power();
  EXPECT_EQ(read(), 'c');
}

TEST_F(UnansweredWrite, WhatAFullServerNeverTookComesToNothing) {
  world_.fabric().block(client_, server_);  // the write is sent and does not arrive
  expect_timeout(write('b'));
  store_.full = true;
  world_.fabric().heal_all();
  EXPECT_EQ(read(), 'a');
  EXPECT_TRUE(flush());
  store_.full = false;
  lose_power();
  EXPECT_EQ(read(), 'a');
  EXPECT_TRUE(write('c'));
  EXPECT_EQ(read(), 'c');
}

// Nor is what a driver leaves undone when it ends in good order, because of a server that is just coming back.
TEST_F(UnansweredWrite, DetachWaitsForAServerThatIsComingBack) {
  world_.kill(server_, runtime::Crash::kProcess);
  world_.run_for(kSecondNs);
  world_.at(world_.now_ns() + kSecondNs, [this] { world_.restart(server_); });
  const Result<void> detached = done(client().driver->detach());
  EXPECT_TRUE(detached) << (detached ? "" : detached.error().message());
}

// Nor one that was started again so lately that the driver has not heard of it.
TEST_F(UnansweredWrite, DetachClosesTheSessionOfAServerThatHasJustComeBack) {
  world_.kill(server_, runtime::Crash::kProcess);
  world_.restart(server_);
  const Result<void> detached = done(client().driver->detach());
  EXPECT_TRUE(detached) << (detached ? "" : detached.error().message());
}

// Taken over while its server was away: it says so.
TEST_F(UnansweredWrite, DetachThatIsFencedMeanwhileEnds) {
  world_.kill(server_, runtime::Crash::kProcess);
  world_.run_for(kSecondNs);
  std::unique_ptr<Driver> second;
  client().runtime.executor().spawn(take_over(client(), second));
  world_.run_for(kSecondNs);  // it has claimed the volume
  world_.at(world_.now_ns() + kSecondNs, [this] { world_.restart(server_); });
  const Result<void> detached = done(client().driver->detach());
  ASSERT_FALSE(detached);
  EXPECT_EQ(detached.error().code, ErrorCode::kFenced) << detached.error().message();
  EXPECT_TRUE(world_.run_until([&] { return second != nullptr; }, world_.now_ns() + 60 * kSecondNs));
  EXPECT_TRUE(done(second->detach()));
}

// Given up while the server is being restored for it: neither forgotten nor applied behind a reader's back.
TEST_F(UnansweredWrite, SeveralGivenUpAndAnInterruptedRestore) {
  give_up('b', server_, client_);
  world_.run_for(kSecondNs / 20);
  world_.fabric().block(server_, client_);
  expect_timeout(write('d'));
  lose_power();
  world_.fabric().heal_all();
  const char seen = read();
  EXPECT_TRUE(seen == 'a' || seen == 'b' || seen == 'd') << seen;
  lose_power();
  EXPECT_EQ(read(), seen);
}

}  // namespace
}  // namespace foreshard::volume
