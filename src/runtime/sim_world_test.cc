// Proved here: one seed gives one run, bit for bit; two seeds give two. Streams keep their bytes in order
// through arbitrary cuts; partitions stall and reset; a killed process is destroyed at any point without a
// trace of it running on; its peers notice.
#include "runtime/sim_world.h"

#include <gtest/gtest.h>

#include "runtime/sync.h"

namespace foreshard::runtime {
namespace {

constexpr uint64_t kSecondNs = 1'000'000'000;

// Echoes what it gets, on every connection.
struct EchoServer : SimProcess {
  explicit EchoServer(SimRuntime& r) : runtime(r) {
    listener = std::move(*runtime.network().listen("tcp:echo:1"));
    runtime.executor().spawn(serve());
  }
  Task<void> serve() {
    for (;;) {
      auto connection = co_await listener->accept();
      if (!connection) co_return;
      runtime.executor().spawn(echo(std::move(*connection)));
    }
  }
  Task<void> echo(std::unique_ptr<Connection> connection) {
    std::vector<std::byte> buffer(3000);
    for (;;) {
      const auto got = co_await connection->read(buffer);
      if (!got || *got == 0) co_return;
      const iovec part{buffer.data(), *got};
      const auto put = co_await connection->write({&part, 1});
      if (!put) co_return;
    }
  }
  SimRuntime& runtime;
  std::unique_ptr<Listener> listener;
};

// Sends numbered bytes and checks that they come back in order; counts what came and how it ended.
struct EchoClient : SimProcess {
  EchoClient(SimRuntime& r, uint64_t bytes) : runtime(r), total(bytes) { runtime.executor().spawn(run()); }
  Task<void> run() {
    auto connected = co_await runtime.network().connect("tcp:echo:1", runtime.now_ns() + 5 * kSecondNs);
    if (!connected) {
      failure = connected.error().code;
      finished = true;
      co_return;
    }
    connection = std::move(*connected);
    runtime.executor().spawn(send());
    std::vector<std::byte> buffer(5000);
    while (received < total) {
      const auto got = co_await connection->read(buffer);
      if (!got || *got == 0) {
        failure = got ? ErrorCode::kClosed : got.error().code;
        break;
      }
      for (size_t i = 0; i < *got; ++i) wrong += buffer[i] != static_cast<std::byte>((received + i) * 7);
      received += *got;
    }
    finished = true;
  }
  Task<void> send() {
    std::vector<std::byte> bytes(total);
    for (size_t i = 0; i < total; ++i) bytes[i] = static_cast<std::byte>(i * 7);
    const iovec parts[2] = {{bytes.data(), total / 3}, {bytes.data() + total / 3, total - total / 3}};
    const auto put = co_await connection->write(parts);
    sent = put.has_value();
  }
  SimRuntime& runtime;
  const uint64_t total;
  std::unique_ptr<Connection> connection;
  uint64_t received = 0, wrong = 0;
  bool finished = false, sent = false;
  std::optional<ErrorCode> failure;
};

struct Pair {
  explicit Pair(uint64_t seed, uint64_t bytes = 1'000'000) : world(seed) {
    server = world.add_node("server");
    client = world.add_node("client");
    world.start(server, [](SimRuntime& r) { return std::make_unique<EchoServer>(r); });
    world.start(client, [bytes](SimRuntime& r) { return std::make_unique<EchoClient>(r, bytes); });
  }
  EchoClient& echo() { return static_cast<EchoClient&>(*world.process(client)); }
  bool finish() {
    return world.run_until([this] { return echo().finished; }, world.now_ns() + 60 * kSecondNs);
  }
  SimWorld world;
  NodeId server, client;
};

TEST(SimWorld, OneSeedIsOneRun) {
  std::vector<uint64_t> prints, counts;
  for (uint64_t seed : {1, 1, 2}) {
    Pair pair(seed);
    pair.world.fabric().knobs().spike_chance = 0.01;
    ASSERT_TRUE(pair.finish());
    EXPECT_EQ(pair.echo().received, 1'000'000u);
    EXPECT_EQ(pair.echo().wrong, 0u);
    prints.push_back(pair.world.fingerprint());
    counts.push_back(pair.world.timeline().recorded());
  }
  EXPECT_EQ(prints[0], prints[1]);
  EXPECT_EQ(counts[0], counts[1]);
  EXPECT_NE(prints[0], prints[2]);
}

TEST(SimWorld, APartitionStallsAndHealingResumes) {
  Pair pair(3);
  pair.world.run_for(250'000);
  const uint64_t before = pair.echo().received;
  ASSERT_LT(before, 1'000'000u);
  pair.world.fabric().partition(pair.server, pair.client);
  pair.world.run_for(200'000'000);
  const uint64_t during = pair.echo().received;
  EXPECT_FALSE(pair.echo().finished);
  pair.world.run_for(100'000'000);
  EXPECT_EQ(pair.echo().received, during);
  pair.world.fabric().heal_all();
  ASSERT_TRUE(pair.finish());
  EXPECT_EQ(pair.echo().received, 1'000'000u);
  EXPECT_EQ(pair.echo().wrong, 0u);
}

TEST(SimWorld, ALongPartitionResetsAndRefusesToConnect) {
  Pair pair(4);
  pair.world.run_for(250'000);
  pair.world.fabric().partition(pair.server, pair.client);
  ASSERT_TRUE(pair.finish());
  EXPECT_EQ(pair.echo().failure, ErrorCode::kTimeout);
  pair.world.kill(pair.client, Crash::kProcess);
  pair.world.restart(pair.client);
  ASSERT_TRUE(pair.finish());
  EXPECT_EQ(pair.echo().failure, ErrorCode::kTimeout);
}

TEST(SimWorld, AKilledServerIsNoticedAndCanBeStartedAgain) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    Pair pair(seed);
    pair.world.run_for(pair.world.random().below(3'000'000));
    pair.world.kill(pair.server, seed % 2 == 0 ? Crash::kPower : Crash::kProcess);
    ASSERT_TRUE(pair.finish());
    EXPECT_TRUE(pair.echo().failure || pair.echo().received == 1'000'000u);
    EXPECT_EQ(pair.echo().wrong, 0u);
    pair.world.restart(pair.server);
    pair.world.kill(pair.client, Crash::kProcess);
    pair.world.restart(pair.client);
    ASSERT_TRUE(pair.finish());
    EXPECT_EQ(pair.echo().received, 1'000'000u) << seed;
  }
}

TEST(SimWorld, APausedProcessDoesNothingUntilResumed) {
  Pair pair(5);
  pair.world.run_for(250'000);
  pair.world.pause(pair.client);
  const uint64_t before = pair.echo().received;
  pair.world.run_for(10 * kSecondNs);
  EXPECT_EQ(pair.echo().received, before);
  pair.world.resume(pair.client);
  ASSERT_TRUE(pair.finish());
  EXPECT_EQ(pair.echo().received, 1'000'000u);
}

// Accepts, lets bytes gather without reading them, and closes.
struct DeafServer : SimProcess {
  explicit DeafServer(SimRuntime& r) : runtime(r), listener(std::move(*r.network().listen("tcp:echo:1"))) {
    runtime.executor().spawn(serve());
  }
  Task<void> serve() {
    auto connection = co_await listener->accept();
    co_await runtime.executor().sleep_for(kSecondNs);
  }
  SimRuntime& runtime;
  std::unique_ptr<Listener> listener;
};

TEST(SimWorld, ClosingWithBytesUnreadResetsASenderThatWaitsForRoom) {
  SimWorld world(8);
  world.start(world.add_node("server"), [](SimRuntime& r) { return std::make_unique<DeafServer>(r); });
  const NodeId node = world.add_node("client");
  world.start(node, [](SimRuntime& r) { return std::make_unique<EchoClient>(r, 1'000'000); });
  auto& client = static_cast<EchoClient&>(*world.process(node));
  ASSERT_TRUE(world.run_until([&] { return client.finished; }, world.now_ns() + 5 * kSecondNs));
  EXPECT_TRUE(world.run_until([&] { return world.runtime(node).executor().root_count() == 0; },
                              world.now_ns() + 5 * kSecondNs));
  EXPECT_FALSE(client.sent);
}

TEST(SimWorld, AResetStreamIsCutOffNeverPatchedTogether) {
  uint64_t cut = 0;
  for (uint64_t seed = 20; seed < 60; ++seed) {
    Pair pair(seed);
    pair.world.fabric().knobs().reset_chance = 0.02;
    ASSERT_TRUE(pair.finish()) << seed;
    cut += pair.echo().received < 1'000'000u;
    EXPECT_EQ(pair.echo().wrong, 0u) << seed;
  }
  EXPECT_GT(cut, 0u);
}

struct Spinner : SimProcess {
  explicit Spinner(SimRuntime& r) : runtime(r) { runtime.executor().spawn(spin()); }
  Task<void> spin() {
    for (;;) co_await runtime.executor().yield();
  }
  SimRuntime& runtime;
};

TEST(SimWorld, ALivelockIsFound) {
  SimWorld world(6);
  const NodeId node = world.add_node("spinner");
  world.start(node, [](SimRuntime& r) { return std::make_unique<Spinner>(r); });
  world.run_until([] { return false; }, world.now_ns() + 3600 * kSecondNs);
  EXPECT_TRUE(world.livelocked());
}

struct Clocked : SimProcess {
  explicit Clocked(SimRuntime& r) : runtime(r) { runtime.executor().spawn(sleep()); }
  Task<void> sleep() {
    const uint64_t from = runtime.now_ns();
    for (int i = 1; i <= 100; ++i) {
      const uint64_t deadline = from + i * 1'234'567;
      co_await runtime.executor().sleep_until(deadline);
      early += runtime.now_ns() < deadline;
    }
    finished = true;
  }
  SimRuntime& runtime;
  int early = 0;
  bool finished = false;
};

TEST(SimWorld, ClocksOfNodesDifferAndTimersNeverFireEarly) {
  SimWorld world(7);
  for (const char* name : {"a", "b", "c"}) {
    world.start(world.add_node(name), [](SimRuntime& r) { return std::make_unique<Clocked>(r); });
  }
  EXPECT_NE(world.runtime(0).now_ns(), world.runtime(1).now_ns());
  world.run_for(kSecondNs);
  for (NodeId node : {0, 1, 2}) {
    auto& clocked = static_cast<Clocked&>(*world.process(node));
    EXPECT_TRUE(clocked.finished);
    EXPECT_EQ(clocked.early, 0);
  }
}

}  // namespace
}  // namespace foreshard::runtime
