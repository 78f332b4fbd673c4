// Proved here: services behind one connection are told apart, and end apart; channels that share a connection do not
// harm each other, and the connection lives as long as one of them.
#include "rpc/channel_pool.h"

#include <gtest/gtest.h>

#include <deque>

#include "rpc/memory_stream.h"

namespace foreshard::rpc {
namespace {

using runtime::Task;

constexpr uint16_t kName = 1;  // answers with the service's name
constexpr uint16_t kHold = 2;  // answers when the test says so
constexpr uint32_t kCallsMax = 8;

struct NamedService {
  NamedService(TestRuntime& r, std::string n) : name(std::move(n)), release(r.executor()) {
    service = Service::create(r, {.calls_per_connection_max = kCallsMax});
    service->handle(kName, [this](Peer& peer, Request& request) { return say_name(peer, request); });
    service->handle(kHold, [this](Peer& peer, Request& request) { return hold(peer, request); });
  }
  Task<Result<Reply>> say_name(Peer&, Request&) {
    Reply reply;
    reply.data = Buffer::copy_of(as_bytes(name));
    co_return reply;
  }
  Task<Result<Reply>> hold(Peer&, Request&) {
    ++holding;
    ++begun;
    co_await release.wait();
    --holding;
    co_return Reply();
  }
  std::string name;
  std::unique_ptr<Service> service;
  runtime::Signal release;
  int holding = 0;
  int begun = 0;
};

struct Outcome {
  bool done = false;
  Result<Reply> result;
  std::string text() const { return result ? std::string(as_text(result->data.span())) : "error"; }
};

Task<void> make_call(std::shared_ptr<Channel> channel, uint16_t method, uint64_t deadline_ns, Outcome& outcome) {
  Call call;
  call.method = method;
  call.deadline_ns = deadline_ns;
  outcome.result = co_await channel->call(call);
  outcome.done = true;
}
Task<void> connect(ChannelPool& pool, uint32_t endpoint, uint64_t round_trip_ns, std::shared_ptr<Channel>& channel) {
  Result<std::shared_ptr<Channel>> made = co_await pool.connect("hub", endpoint, round_trip_ns, UINT64_MAX);
  if (made) channel = *made;
}
Task<void> close(std::shared_ptr<Channel> channel, bool& closed) {
  co_await channel->close();
  closed = true;
}
Task<void> stop(Service& service, bool& stopped) {
  co_await service.stop();
  stopped = true;
}

class ChannelPoolTest : public testing::Test {
 protected:
  ChannelPoolTest()
      : hub(runtime, "hub"),
        one(runtime, "one"),
        two(runtime, "two"),
        pool(runtime, {.calls_max = kCallsMax}) {
    hub.service->serve(std::move(*runtime.network().listen("hub")));
    hub.service->add_endpoint(1, *one.service);
    hub.service->add_endpoint(2, *two.service);
  }
  std::shared_ptr<Channel> connect_to(uint32_t endpoint, uint64_t round_trip_ns = 0) {
    std::shared_ptr<Channel> channel;
    runtime.executor().spawn(connect(pool, endpoint, round_trip_ns, channel));
    runtime.executor().run_ready_only();
    return channel;
  }
  Outcome& call(const std::shared_ptr<Channel>& channel, uint16_t method, uint64_t deadline_ns = UINT64_MAX) {
    Outcome& outcome = outcomes.emplace_back();
    runtime.executor().spawn(make_call(channel, method, deadline_ns, outcome));
    runtime.executor().run_ready_only();
    return outcome;
  }
  bool close_now(std::shared_ptr<Channel> channel) {
    bool closed = false;
    runtime.executor().spawn(close(std::move(channel), closed));
    runtime.executor().run_ready_only();
    return closed;
  }
  void TearDown() override {
    bool stopped[3] = {};
    for (NamedService* service : {&hub, &one, &two}) service->release.set();
    runtime.executor().spawn(stop(*hub.service, stopped[0]));
    runtime.executor().spawn(stop(*one.service, stopped[1]));
    runtime.executor().spawn(stop(*two.service, stopped[2]));
    runtime.executor().run();
    for (const bool each : stopped) EXPECT_TRUE(each);
    for (const Outcome& outcome : outcomes) EXPECT_TRUE(outcome.done);
    EXPECT_EQ(runtime.executor().root_count(), 0u);
  }
  size_t connections() { return runtime.network().pipes.size(); }

  TestRuntime runtime;
  NamedService hub, one, two;
  ChannelPool pool;
  std::deque<Outcome> outcomes;
};

TEST_F(ChannelPoolTest, EndpointsAreToldApartOnOneConnection) {
  for (const bool in_process : {false, true}) {
    runtime.network().in_process = in_process;
    const size_t before = connections();
    std::vector<std::shared_ptr<Channel>> channels;
    for (const uint32_t endpoint : {0u, 1u, 2u, 3u}) channels.push_back(connect_to(endpoint));
    EXPECT_EQ(connections(), before + 1);
    EXPECT_EQ(call(channels[0], kName).text(), "hub");
    EXPECT_EQ(call(channels[1], kName).text(), "one");
    EXPECT_EQ(call(channels[2], kName).text(), "two");
    EXPECT_EQ(call(channels[3], kName).result.error().code, ErrorCode::kUnavailable);
    for (auto& channel : channels) EXPECT_TRUE(close_now(channel));
  }
}

TEST_F(ChannelPoolTest, ConnectsOnceAlsoForThoseThatComeTogether) {
  std::shared_ptr<Channel> channels[4];
  for (uint32_t i = 0; i < 4; ++i) runtime.executor().spawn(connect(pool, i % 3, i / 2, channels[i]));
  runtime.executor().run_ready_only();
  for (const auto& channel : channels) ASSERT_TRUE(channel);
  EXPECT_EQ(connections(), 2u);  // one for each distance
  for (const auto& channel : channels) EXPECT_TRUE(close_now(channel));
}

TEST_F(ChannelPoolTest, AChannelEndsItsOwnCallsOnly) {
  const std::shared_ptr<Channel> first = connect_to(1), second = connect_to(1);
  Outcome& ended = call(first, kHold);
  Outcome& held = call(second, kHold);
  EXPECT_EQ(one.holding, 2);
  EXPECT_TRUE(close_now(first));
  EXPECT_EQ(ended.result.error().code, ErrorCode::kUnavailable);
  EXPECT_FALSE(held.done);
  EXPECT_TRUE(first->closed());
  EXPECT_FALSE(second->closed());
  EXPECT_EQ(call(first, kName).result.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(call(second, kName).text(), "one");
  one.release.set();
  runtime.executor().run();
  EXPECT_TRUE(held.done && held.result);
  EXPECT_TRUE(close_now(second));
  const std::shared_ptr<Channel> third = connect_to(2);
  EXPECT_EQ(connections(), 2u);  // the last one took the connection with it
  EXPECT_TRUE(close_now(third));
}

// A server with a stuck disk, and more calls than it takes at once: others are served, its channel can be closed.
class StuckEndpoint : public ChannelPoolTest, public testing::WithParamInterface<bool> {};

TEST_P(StuckEndpoint, StopsNeitherTheOthersNorItsOwnClose) {
  runtime.network().in_process = GetParam();
  const std::shared_ptr<Channel> stuck = connect_to(1), other = connect_to(2);
  std::vector<Outcome*> held;
  for (uint32_t i = 0; i < 3 * kCallsMax; ++i) held.push_back(&call(stuck, kHold));
  EXPECT_EQ(one.holding, static_cast<int>(kCallsMax));
  EXPECT_EQ(call(other, kName).text(), "two");
  bool closed = false;
  runtime.executor().spawn(close(stuck, closed));
  runtime.executor().run_ready_only();
  EXPECT_EQ(call(other, kName).text(), "two");
  if (GetParam()) {  // spans are in use until the handlers are done; what waited is not begun
    EXPECT_FALSE(closed);
    one.release.set();
    runtime.executor().run();
  }
  EXPECT_TRUE(closed);
  for (const Outcome* outcome : held) {
    ASSERT_TRUE(outcome->done && !outcome->result);
    EXPECT_EQ(outcome->result.error().code, ErrorCode::kUnavailable);
  }
  EXPECT_EQ(one.begun, static_cast<int>(kCallsMax));
  EXPECT_TRUE(close_now(other));
}
INSTANTIATE_TEST_SUITE_P(ApartAndInProcess, StuckEndpoint, testing::Bool());

TEST_F(ChannelPoolTest, AConnectionThatLeftACallUnansweredIsNotJoinedAgain) {
  const std::shared_ptr<Channel> first = connect_to(1), second = connect_to(2);
  Outcome& late = call(first, kHold, runtime.executor().now_ns() + 100);
  runtime.executor().run_until(runtime.executor().now_ns() + 100);
  ASSERT_TRUE(late.done);
  EXPECT_EQ(late.result.error().code, ErrorCode::kTimeout);
  EXPECT_TRUE(close_now(first));
  const std::shared_ptr<Channel> third = connect_to(1);
  EXPECT_EQ(connections(), 2u);
  EXPECT_EQ(call(second, kName).text(), "two");  // who is there may stay
  EXPECT_EQ(call(third, kName).text(), "one");
  EXPECT_TRUE(close_now(second) && close_now(third));
}

TEST_F(ChannelPoolTest, AServiceStopsApartFromItsConnections) {
  const std::shared_ptr<Channel> first = connect_to(1), second = connect_to(2);
  Outcome& held = call(first, kHold);
  bool stopped = false;
  runtime.executor().spawn(stop(*one.service, stopped));
  runtime.executor().run_ready_only();
  EXPECT_FALSE(stopped);
  EXPECT_EQ(call(first, kName).result.error().code, ErrorCode::kUnavailable);
  one.release.set();
  runtime.executor().run();
  EXPECT_TRUE(stopped && held.done);
  EXPECT_EQ(call(first, kName).result.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(call(second, kName).text(), "two");
  NamedService again(runtime, "again");
  hub.service->add_endpoint(1, *again.service);
  EXPECT_EQ(call(first, kName).text(), "again");
  hub.service->remove_endpoint(1);
  EXPECT_EQ(call(first, kName).result.error().code, ErrorCode::kUnavailable);
  EXPECT_TRUE(close_now(first) && close_now(second));
}

TEST_F(ChannelPoolTest, ABrokenConnectionIsMadeAnew) {
  const std::shared_ptr<Channel> first = connect_to(1), second = connect_to(2);
  Outcome& held = call(second, kHold);
  for (const auto& pipe : runtime.network().pipes[0]) {
    pipe->broken = true;
    TestConnection::move(runtime.executor(), *pipe);
  }
  runtime.executor().run_ready_only();
  EXPECT_TRUE(first->closed() && second->closed() && held.done);
  const std::shared_ptr<Channel> third = connect_to(1);
  EXPECT_EQ(call(third, kName).text(), "one");
  EXPECT_EQ(connections(), 2u);
  for (const auto& channel : {first, second, third}) EXPECT_TRUE(close_now(channel));
}

}  // namespace
}  // namespace foreshard::rpc
