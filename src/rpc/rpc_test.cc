// Proves what rpc.h promises, over streams in memory: answers reach their calls in any order and size however the
// bytes are segmented; deadlines, cancels, closing and broken peers end calls as documented and never leave
// anybody looking at a call's spans; a bad peer harms only itself; both sides keep to their bounds.
#include "rpc/rpc.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/crc32c.h"
#include "base/random.h"
#include "rpc/memory_stream.h"
#include "rpc/message.h"

namespace foreshard::rpc {
namespace {

using runtime::Task;

constexpr uint16_t kEcho = 1;      // control and data come back, after the delay named in the control part
constexpr uint16_t kRefuse = 2;    // fails with kNotHere
constexpr uint16_t kHold = 3;      // answers when the test says so
constexpr uint16_t kProduce = 4;   // answers as many bytes of data as the control part says

struct EchoControl {
  uint64_t delay_ns = 0;
  uint64_t salt = 0;
};

std::string pattern(size_t size, uint64_t seed) {
  Random random(seed);
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>(random.next());
  return text;
}

// A service with a few handlers, and what it saw.
struct Server {
  explicit Server(TestRuntime& r, ServiceOptions options = {}) : runtime(r), release(r.executor()) {
    service = Service::create(runtime, options);
    service->handle(kEcho, [this](Peer& peer, Request& request) { return echo(peer, request); });
    service->handle(kRefuse, [this](Peer& peer, Request& request) { return refuse(peer, request); });
    service->handle(kHold, [this](Peer& peer, Request& request) { return hold(peer, request); });
    service->handle(kProduce, [this](Peer& peer, Request& request) { return produce(peer, request); });
    service->on_gone([this](Peer& peer) { gone.push_back(peer.id); });
    service->serve(std::move(*runtime.network().listen("server")));
  }
  Task<Result<Reply>> echo(Peer& peer, Request& request) {
    ++started;
    const auto control = load_object<EchoControl>(request.control);
    deadline_ns = request.deadline_ns;
    if (control.delay_ns != 0) co_await runtime.executor().sleep_for(control.delay_ns);
    Reply reply;
    reply.control = Buffer::copy_of(request.control);
    reply.data = Buffer::copy_of(request.data);
    co_return reply;
  }
  Task<Result<Reply>> refuse(Peer& peer, Request& request) {
    co_return fail(Error{ErrorCode::kNotHere, "chunk", 77, "gone elsewhere"});
  }
  Task<Result<Reply>> hold(Peer& peer, Request& request) {
    ++started;
    ++holding;
    holding_max = std::max(holding_max, holding);
    holding_bytes += request.data.size();
    holding_bytes_max = std::max(holding_bytes_max, holding_bytes);
    peer.state = std::make_shared<int>(7);
    co_await release.wait();
    --holding;
    holding_bytes -= request.data.size();
    if (request.cancelled) ++cancelled;
    co_return Reply();
  }
  Task<Result<Reply>> produce(Peer& peer, Request& request) {
    const auto size = load_object<uint64_t>(request.control);
    Reply reply;
    reply.data = Buffer::copy_of(as_bytes(pattern(size, size)));
    co_return reply;
  }

  TestRuntime& runtime;
  std::unique_ptr<Service> service;
  runtime::Signal release;
  uint64_t started = 0;
  uint64_t holding = 0;
  uint64_t holding_max = 0;
  uint64_t holding_bytes = 0;
  uint64_t holding_bytes_max = 0;
  uint64_t cancelled = 0;
  uint64_t deadline_ns = 0;
  std::vector<uint64_t> gone;
};

// What a call came to, written by a coroutine of its own.
struct Outcome {
  bool done = false;
  Result<Reply> result = fail(ErrorCode::kIo, "not done");
  const std::string data() const { return std::string(as_text(result->data.span())); }
  ErrorCode code() const { return result.error().code; }
};

Task<void> make_call(Channel& channel, uint16_t method, std::string control, std::string data, ByteSpan into,
                     uint64_t deadline_ns, Outcome& outcome) {
  Call call;
  call.method = method;
  call.control = as_bytes(control);
  call.data = as_bytes(data);
  call.data_into = into;
  call.deadline_ns = deadline_ns;
  outcome.result = co_await channel.call(call);
  outcome.done = true;
  // The spans are the channel's no more: what it still touched now, a sanitizer or a checksum would show.
  std::fill(control.begin(), control.end(), '\x55');
  std::fill(data.begin(), data.end(), '\x55');
}

Task<void> connect_to_server(TestRuntime& runtime, ChannelOptions options, std::shared_ptr<Channel>& channel) {
  Result<std::shared_ptr<Channel>> connected = co_await Channel::connect(runtime, "server", UINT64_MAX, options);
  if (connected) channel = *connected;
}

Task<void> close_channel(std::shared_ptr<Channel> channel, bool& closed) {
  co_await channel->close();
  closed = true;
}

Task<void> stop_service(Service& service, bool& stopped) {
  co_await service.stop();
  stopped = true;
}

std::string control_bytes(EchoControl control) { return std::string(as_text(object_bytes(control))); }

class RpcTest : public testing::Test {
 protected:
  void start(ServiceOptions service_options = {}, ChannelOptions channel_options = {}) {
    server = std::make_unique<Server>(runtime, service_options);
    channel = connect(channel_options);
  }
  std::shared_ptr<Channel> connect(ChannelOptions options = {}) {
    std::shared_ptr<Channel> connected;
    executor().spawn(connect_to_server(runtime, options, connected));
    executor().run_ready_only();
    return connected;
  }
  Outcome& call(uint16_t method, std::string control = {}, std::string data = {}, ByteSpan into = {},
                uint64_t deadline_ns = UINT64_MAX) {
    Outcome& outcome = outcomes.emplace_back();
    executor().spawn(make_call(*channel, method, std::move(control), std::move(data), into, deadline_ns, outcome));
    return outcome;
  }
  Outcome& echo(std::string data, EchoControl control = {}, ByteSpan into = {}, uint64_t deadline_ns = UINT64_MAX) {
    return call(kEcho, control_bytes(control), std::move(data), into, deadline_ns);
  }
  void TearDown() override {
    bool closed = channel == nullptr;
    bool stopped = server == nullptr;
    if (server) server->release.set();
    if (channel) executor().spawn(close_channel(channel, closed));
    executor().run();
    EXPECT_TRUE(closed);
    if (server) executor().spawn(stop_service(*server->service, stopped));
    executor().run();
    EXPECT_TRUE(stopped);
    EXPECT_EQ(executor().root_count(), 0u);
    for (const Outcome& outcome : outcomes) EXPECT_TRUE(outcome.done);
  }
  TestExecutor& executor() { return runtime.executor(); }
  TestPipe& to_server(size_t connection = 0) { return *runtime.network().pipes.at(connection)[0]; }
  TestPipe& from_server(size_t connection = 0) { return *runtime.network().pipes.at(connection)[1]; }
  void flow(TestPipe& pipe) { TestConnection::move(executor(), pipe); }

  TestRuntime runtime;
  std::unique_ptr<Server> server;
  std::shared_ptr<Channel> channel;
  std::deque<Outcome> outcomes;
};

TEST_F(RpcTest, AnswersManyCallsInAnyOrderHoweverTheBytesAreCut) {
  for (const size_t segment : {size_t{1}, size_t{7}, size_t{63}, size_t{4096}, size_t{65536}, SIZE_MAX}) {
    SCOPED_TRACE(segment);
    start();
    to_server().segment_bytes_max = from_server().segment_bytes_max = segment;
    Random random(segment);
    std::vector<std::pair<Outcome*, std::string>> expected;
    std::deque<Buffer> places;
    for (int i = 0; i < 40; ++i) {
      const size_t size = segment < 100 ? random.below(3000) : random.below(i % 8 == 0 ? 2u << 20 : 20000);
      std::string data = pattern(size, random.next());
      ByteSpan into;
      if (i % 2 == 0) into = places.emplace_back(Buffer::allocate(size + 1)).span();
      expected.emplace_back(&echo(data, {random.below(1000), random.next()}, into), std::move(data));
    }
    executor().run();
    size_t place = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      auto& [outcome, data] = expected[i];
      ASSERT_TRUE(outcome->done && outcome->result) << i;
      EXPECT_EQ(outcome->result->data_size, data.size());
      if (i % 2 == 0) {
        EXPECT_TRUE(as_text(places[place++].span().first(data.size())) == data) << i;
      } else {
        EXPECT_TRUE(outcome->data() == data) << i;
      }
    }
    TearDown();
    runtime.network().pipes.clear();
    channel = nullptr;
    server = nullptr;
  }
}

TEST_F(RpcTest, CarriesLongControlAndEmptyParts) {
  start();
  std::string control(1u << 20, 'c');
  const EchoControl head;
  std::memcpy(control.data(), &head, sizeof(head));
  Outcome& big = call(kEcho, control, pattern(kDataBytesMax, 3));
  Outcome& none = call(kEcho, control_bytes({}));
  executor().run();
  EXPECT_EQ(as_text(big.result->control.span()), control);
  EXPECT_EQ(big.data(), pattern(kDataBytesMax, 3));
  EXPECT_TRUE(none.result && none.result->data_size == 0);
}

TEST_F(RpcTest, CarriesErrorsWithCodeIdAndText) {
  start();
  Outcome& refused = call(kRefuse);
  Outcome& unknown = call(0x7777);
  executor().run();
  ASSERT_TRUE(refused.done && !refused.result);
  EXPECT_EQ(refused.code(), ErrorCode::kNotHere);
  EXPECT_EQ(refused.result.error().id, 77u);
  EXPECT_NE(refused.result.error().message().find("gone elsewhere"), std::string::npos);
  ASSERT_TRUE(unknown.done);
  EXPECT_EQ(unknown.code(), ErrorCode::kUnsupported);
  EXPECT_FALSE(channel->closed());
}

TEST_F(RpcTest, RefusesWhatIsTooLarge) {
  start();
  Outcome& request = call(kEcho, control_bytes({}), std::string(kDataBytesMax + 1, 'x'));
  Buffer small = Buffer::allocate(100);
  Outcome& reply = echo(std::string(101, 'y'), {}, small.span());
  Outcome& produced = call(kProduce, std::string(as_text(object_bytes(uint64_t{kDataBytesMax + 1}))));
  Outcome& after = echo("still here");
  executor().run();
  EXPECT_EQ(request.code(), ErrorCode::kTooLarge);
  EXPECT_EQ(reply.code(), ErrorCode::kTooLarge);
  EXPECT_EQ(produced.code(), ErrorCode::kTooLarge);
  ASSERT_TRUE(after.result);
  EXPECT_EQ(after.data(), "still here");
}

TEST_F(RpcTest, SendsWhatIsReadyTogether) {
  start();
  for (int i = 0; i < 32; ++i) echo(std::string(512, 'a'));
  // One write for all: the pipe's last write carried every request.
  executor().run_ready_only();
  EXPECT_GE(to_server().written, 32u * (512 + kHeaderBytes));
}

TEST_F(RpcTest, TimesOutAtTheDeadlineAndTellsThePeer) {
  start();
  const uint64_t start_ns = executor().now_ns();
  Outcome& held = call(kHold, {}, {}, {}, start_ns + 5000);
  Outcome& delayed = echo("late", {1'000'000, 0}, {}, start_ns + 5000);
  executor().run_until(start_ns + 4999);
  EXPECT_FALSE(held.done || delayed.done);
  EXPECT_EQ(server->deadline_ns, start_ns + 5000);  // the remaining time travelled
  executor().run_until(start_ns + 5000);
  EXPECT_EQ(held.code(), ErrorCode::kTimeout);
  EXPECT_EQ(delayed.code(), ErrorCode::kTimeout);
  executor().run_ready_only();
  server->release.set();
  executor().run();
  EXPECT_EQ(server->cancelled, 1u);
  Outcome& after = echo("after");
  executor().run();
  EXPECT_EQ(after.data(), "after");
  EXPECT_FALSE(channel->closed());
}

TEST_F(RpcTest, DropsALateAnswerAlsoWhenItsSlotIsTakenAgain) {
  start();
  from_server().stalled = true;
  const uint64_t start_ns = executor().now_ns();
  Buffer place = Buffer::allocate(100'000);
  Outcome& late = echo(std::string(100'000, 'l'), {}, place.span(), start_ns + 1000);
  executor().run_until(start_ns + 2000);
  EXPECT_EQ(late.code(), ErrorCode::kTimeout);
  std::memset(place.data(), 0, place.size());
  Outcome& next = echo(std::string(50'000, 'n'));
  from_server().stalled = false;
  flow(from_server());
  executor().run();
  EXPECT_EQ(next.data(), std::string(50'000, 'n'));
  EXPECT_TRUE(is_all_zero(place.span()));
}

TEST_F(RpcTest, LetsGoOfItsPlaceWhenGivenUpInTheMiddleOfTheData) {
  start();
  from_server().capacity_bytes = 64u << 10;
  from_server().segment_bytes_max = 32u << 10;
  const uint64_t start_ns = executor().now_ns();
  Buffer place = Buffer::allocate(1u << 20);
  Outcome& given_up = echo(std::string(1u << 20, 'g'), {1000, 0}, place.span(), start_ns + 50'000);
  executor().run_until(start_ns + 500);
  from_server().stalled = true;
  executor().run_until(start_ns + 20'000);
  // Some of the data arrives, so that the channel reads straight into the place; then nothing, till the deadline.
  from_server().stalled = false;
  flow(from_server());
  from_server().stalled = true;
  executor().run_until(start_ns + 60'000);
  EXPECT_FALSE(given_up.done);  // the read is under way
  from_server().stalled = false;
  flow(from_server());
  executor().run_until(start_ns + 61'000);
  EXPECT_TRUE(given_up.done);
  EXPECT_EQ(given_up.code(), ErrorCode::kTimeout);
  Outcome& after = echo("after");
  executor().run();
  EXPECT_EQ(after.data(), "after");
}

// The connection may end while the kernel still fills the caller's memory.
TEST_F(RpcTest, ACallWhoseConnectionEndsKeepsItsPlaceUntilTheReadHasEnded) {
  start();
  executor().run_ready_only();
  from_server().segment_bytes_max = 20'000;
  Buffer place = Buffer::allocate(64u << 10);
  Outcome& outcome = call(kProduce, std::string(as_text(object_bytes(uint64_t{64} << 10))), {}, place.span());
  from_server().stalled = true;
  executor().run_ready_only();
  from_server().stalled = false;
  flow(from_server());  // a first part of the data, then the rest is read to its place
  from_server().stalled = true;
  executor().run_ready_only();
  from_server().holds_reader = true;
  bool closed = false;
  executor().spawn(close_channel(channel, closed));
  executor().run_ready_only();
  EXPECT_FALSE(outcome.done || closed);
  from_server().holds_reader = false;
  flow(from_server());
  executor().run();
  EXPECT_TRUE(outcome.done && closed);
  EXPECT_EQ(outcome.code(), ErrorCode::kUnavailable);
}

TEST_F(RpcTest, EndsTheConnectionOfAPeerThatIsStuckInAWrite) {
  start();
  to_server().stalled = true;
  const uint64_t start_ns = executor().now_ns();
  Outcome& big = echo(std::string(1u << 20, 'b'), {}, {}, start_ns + 1000);
  Outcome& queued = echo("queued", {}, {}, UINT64_MAX);
  executor().run_until(start_ns + 900'000'000);
  EXPECT_FALSE(big.done);
  executor().run();
  EXPECT_TRUE(big.done && queued.done);
  EXPECT_FALSE(big.result);
  EXPECT_EQ(queued.code(), ErrorCode::kUnavailable);
  EXPECT_TRUE(channel->closed());
}

TEST_F(RpcTest, TakesAQueuedCallBackAtItsDeadline) {
  start();
  to_server().stalled = true;
  const uint64_t start_ns = executor().now_ns();
  Outcome& big = echo(std::string(1u << 20, 'b'));
  executor().run_ready_only();
  Outcome& queued = echo("queued", {}, {}, start_ns + 1000);
  executor().run_until(start_ns + 1000);
  EXPECT_EQ(queued.code(), ErrorCode::kTimeout);
  to_server().stalled = false;
  flow(to_server());
  executor().run();
  EXPECT_TRUE(big.result);
  EXPECT_EQ(server->started, 1u);
}

TEST_F(RpcTest, EveryCallEndsWhenThePeerVanishes) {
  start();
  Outcome& held = call(kHold);
  Outcome& big = call(kHold, {}, std::string(4u << 20, 'b'));
  executor().run_ready_only();
  to_server().broken = from_server().broken = true;
  flow(to_server());
  flow(from_server());
  executor().run_ready_only();
  EXPECT_EQ(held.code(), ErrorCode::kUnavailable);
  EXPECT_EQ(big.code(), ErrorCode::kUnavailable);
  Outcome& after = echo("after");
  executor().run_ready_only();
  EXPECT_EQ(after.code(), ErrorCode::kUnavailable);
  EXPECT_TRUE(server->gone.empty());  // its handlers have not returned
  server->release.set();
  executor().run();
  EXPECT_EQ(server->gone.size(), 1u);
}

TEST_F(RpcTest, CloseEndsCallsAndStopWaitsForHandlers) {
  start();
  Outcome& held = call(kHold);
  executor().run_ready_only();
  bool closed = false;
  executor().spawn(close_channel(channel, closed));
  executor().run_ready_only();
  EXPECT_TRUE(closed);
  EXPECT_EQ(held.code(), ErrorCode::kUnavailable);
  bool stopped = false;
  executor().spawn(stop_service(*server->service, stopped));
  executor().run_ready_only();
  EXPECT_FALSE(stopped);
  server->release.set();
  executor().run_ready_only();
  EXPECT_TRUE(stopped);
}

TEST_F(RpcTest, DroppingTheChannelEndsTheConnection) {
  start();
  channel = nullptr;
  executor().run();
  EXPECT_EQ(server->gone.size(), 1u);
}

TEST_F(RpcTest, BoundsTheCallsOfAChannel) {
  ChannelOptions options;
  options.calls_max = 3;
  options.bytes_in_flight_max = 1000;
  start({}, options);
  const uint64_t start_ns = executor().now_ns();
  Outcome& first = call(kHold, {}, std::string(900, 'a'));
  Outcome& second = call(kHold, {}, std::string(900, 'b'));
  Outcome& third = call(kHold, {}, std::string(10, 'c'));  // would fit, but waits its turn
  Outcome& impatient = call(kHold, {}, std::string(900, 'd'), {}, start_ns + 100);
  executor().run_until(start_ns + 100);
  EXPECT_EQ(server->holding, 1u);
  EXPECT_EQ(impatient.code(), ErrorCode::kTimeout);
  server->release.set();
  executor().run();
  EXPECT_TRUE(first.result && second.result && third.result);
}

TEST_F(RpcTest, BoundsWhatAPeerCanAskForAtOnce) {
  ServiceOptions options;
  options.calls_per_connection_max = 4;
  options.bytes_per_connection_max = 3u << 20;
  start(options);
  Buffer place = Buffer::allocate(4096);
  for (int i = 0; i < 64; ++i) call(kHold, {}, i % 3 == 0 ? std::string(1u << 20, 'x') : "", place.span());
  executor().run_ready_only();
  EXPECT_LE(server->holding, 4u);
  server->release.set();
  executor().run();
  EXPECT_LE(server->holding_max, 4u);
  EXPECT_LE(server->holding_bytes_max, 3u << 20);
  EXPECT_EQ(server->started, 64u);
  for (const Outcome& outcome : outcomes) EXPECT_TRUE(outcome.result);
}

TEST_F(RpcTest, BoundsConnections) {
  ServiceOptions options;
  options.connections_max = 2;
  start(options);
  std::shared_ptr<Channel> second = connect();
  std::shared_ptr<Channel> third = connect();
  executor().run_ready_only();
  EXPECT_FALSE(second->closed());
  EXPECT_TRUE(third->closed());
}

// The same between two ends in one process.
class DirectRpcTest : public RpcTest {
 protected:
  void SetUp() override { runtime.network().in_process = true; }
  uint64_t sent_bytes() { return to_server().written; }
};

TEST_F(DirectRpcTest, CallsBecomeNoBytesAndTheirSpansAreUsedInPlace) {
  start();
  executor().run_ready_only();
  Buffer place = Buffer::allocate(4096);
  Outcome& given = echo(pattern(4096, 9), {}, place.span());
  Outcome& slow = echo("slow", {.delay_ns = 100});
  Outcome& refused = call(kRefuse);
  Outcome& unknown = call(999);
  Outcome& large = echo(std::string(4097, 'x'), {}, place.span());
  executor().run();
  ASSERT_TRUE(given.result && slow.result);
  EXPECT_EQ(given.result->data_size, 4096u);
  EXPECT_EQ(as_text(place.span()), pattern(4096, 9));
  EXPECT_EQ(slow.data(), "slow");
  EXPECT_EQ(slow.result->data_size, 4u);
  EXPECT_EQ(refused.result.error().id, 77u);
  EXPECT_EQ(unknown.code(), ErrorCode::kUnsupported);
  EXPECT_EQ(large.code(), ErrorCode::kTooLarge);
  EXPECT_EQ(sent_bytes(), 0u);
}

TEST_F(DirectRpcTest, ACallWithADeadlineMayLeaveItsHandlerBehind) {
  start();
  executor().run_ready_only();
  Outcome& held = call(kHold, {}, "data", {}, executor().now_ns() + 100);
  executor().run_until(executor().now_ns() + 100);
  EXPECT_EQ(held.code(), ErrorCode::kTimeout);
  EXPECT_GT(sent_bytes(), 0u);
}

// Whoever ends first, the call returns only when its handler has, and then says that its outcome is unknown.
TEST_F(DirectRpcTest, BothEndsWaitForTheHandler) {
  for (const bool service_first : {false, true}) {
    start();
    executor().run_ready_only();
    Outcome& held = call(kHold);
    executor().run_ready_only();
    EXPECT_EQ(server->holding, 1u);
    bool ended = false;
    executor().spawn(service_first ? stop_service(*server->service, ended) : close_channel(channel, ended));
    executor().run_ready_only();
    EXPECT_FALSE(ended || held.done);
    server->release.set();
    executor().run();
    EXPECT_TRUE(ended);
    EXPECT_EQ(held.code(), ErrorCode::kUnavailable);
    Outcome& after = echo("after");
    executor().run();
    EXPECT_EQ(after.code(), ErrorCode::kUnavailable);
    TearDown();
    channel = nullptr;
    server = nullptr;
  }
}

TEST_F(DirectRpcTest, TheServicesBoundsHold) {
  ServiceOptions options;
  options.calls_per_connection_max = 4;
  start(options);
  executor().run_ready_only();
  for (int i = 0; i < 16; ++i) call(kHold);
  executor().run_ready_only();
  EXPECT_EQ(server->holding, 4u);
  server->release.set();
  executor().run();
  EXPECT_EQ(server->holding_max, 4u);
  for (const Outcome& outcome : outcomes) EXPECT_TRUE(outcome.result);
}

// Sends bytes by hand and tells what came back before the service hung up.
class RawPeerTest : public RpcTest {
 protected:
  void SetUp() override { start(); }
  Task<void> send(std::string bytes, std::string& answer, bool& hung_up) {
    Result<std::unique_ptr<runtime::Connection>> connected =
        co_await runtime.network().connect("server", UINT64_MAX);
    std::unique_ptr<runtime::Connection> connection = std::move(*connected);
    const iovec part{bytes.data(), bytes.size()};
    const std::span<const iovec> parts(&part, 1);
    Result<void> written = co_await connection->write(parts);
    std::vector<std::byte> buffer(4096);
    for (;;) {
      Result<size_t> count = co_await connection->read(buffer);
      if (!count || *count == 0) break;
      answer.append(as_text(ConstByteSpan(buffer).first(*count)));
    }
    hung_up = true;
  }
  // True when the service ended the connection; another one must not notice anything.
  bool turned_away(std::string bytes) {
    bool& hung_up = hung_up_flags.emplace_back(false);  // a peer that is not turned away outlives this call
    answer.clear();
    executor().spawn(send(std::move(bytes), answer, hung_up));
    executor().run();
    Outcome& other = echo("unharmed");
    executor().run();
    EXPECT_TRUE(other.result && other.data() == "unharmed");
    return hung_up;
  }
  static std::string request(const std::function<void(MessageHeader&)>& change, std::string control = {},
                             std::string data = {}) {
    MessageHeader header;
    header.kind = static_cast<uint8_t>(MessageKind::kRequest);
    header.method = kEcho;
    header.call_id = 5;
    header.remaining_ns = UINT64_MAX;
    header.control_bytes = static_cast<uint32_t>(control.size());
    header.data_bytes = static_cast<uint32_t>(data.size());
    header.control_crc = crc32c(as_bytes(control));
    header.data_crc = crc32c(as_bytes(data));
    change(header);
    seal_header(header);
    return std::string(as_text(object_bytes(header))) + control + data;
  }
  std::string answer;
  std::deque<bool> hung_up_flags;
};

TEST_F(RawPeerTest, TurnsAwayWhoBreaksTheProtocol) {
  EXPECT_TRUE(turned_away("GET / HTTP/1.1\r\nHost: somebody who is at the wrong door, and talks on\r\n\r\n"));
  EXPECT_TRUE(turned_away(std::string(200, '\0')));
  EXPECT_TRUE(turned_away(request([](MessageHeader& h) { h.control_bytes = kControlBytesMax + 1; })));
  EXPECT_TRUE(turned_away(request([](MessageHeader& h) { h.data_bytes = UINT32_MAX; })));
  EXPECT_TRUE(turned_away(request([](MessageHeader& h) { h.kind = 9; })));
  EXPECT_TRUE(turned_away(request([](MessageHeader& h) { h.kind = static_cast<uint8_t>(MessageKind::kReply); })));
  EXPECT_TRUE(turned_away(request([](MessageHeader& h) { h.call_id = 0; })));
  EXPECT_TRUE(turned_away(request([](MessageHeader& h) { h.status = 3; })));
  EXPECT_TRUE(turned_away(request([](MessageHeader& h) { h.flags = kFlagDataUnchecked; })));
  EXPECT_TRUE(turned_away(request([](MessageHeader& h) { h.control_crc ^= 1; }, control_bytes({}))));
  EXPECT_TRUE(turned_away(request([](MessageHeader& h) { h.data_crc ^= 1; }, control_bytes({}), "data")));
  std::string flipped = request([](MessageHeader&) {}, control_bytes({}));
  flipped[9] ^= 0x10;
  EXPECT_TRUE(turned_away(flipped));
  EXPECT_EQ(server->started, 12u);  // only the other peer's calls got through
}

TEST_F(RawPeerTest, TellsAPeerOfAnotherVersionWhy) {
  EXPECT_TRUE(turned_away(request([](MessageHeader& h) { h.version = 9; })));
  ASSERT_GE(answer.size(), kHeaderBytes);
  Result<MessageHeader> header = open_header(as_bytes(answer).first(kHeaderBytes), false);
  ASSERT_TRUE(header);
  EXPECT_EQ(static_cast<ErrorCode>(header->status), ErrorCode::kUnsupported);
  EXPECT_NE(answer.find("version 9"), std::string::npos);
}

TEST_F(RawPeerTest, ACancelOfNothingIsHarmless) {
  EXPECT_FALSE(turned_away(request([](MessageHeader& h) { h.kind = static_cast<uint8_t>(MessageKind::kCancel); })));
}

// A service that answers what the test gives it, whatever was asked.
TEST_F(RpcTest, AChannelSurvivesNoLies) {
  const auto lie = [](const std::function<void(MessageHeader&)>& change, std::string control, std::string data) {
    MessageHeader header;
    header.kind = static_cast<uint8_t>(MessageKind::kReply);
    header.control_bytes = static_cast<uint32_t>(control.size());
    header.data_bytes = static_cast<uint32_t>(data.size());
    header.control_crc = crc32c(as_bytes(control));
    header.data_crc = crc32c(as_bytes(data));
    header.call_id = 1 << 16;
    change(header);
    seal_header(header);
    return std::string(as_text(object_bytes(header))) + control + data;
  };
  const auto outcome_of = [&](std::string bytes) {
    TestPair pair = make_test_pair(executor());
    channel = Channel::over(runtime, std::move(pair.first));
    Buffer place = Buffer::allocate(8);
    Outcome& outcome = call(kEcho, {}, {}, place.span());
    executor().run_ready_only();
    const auto* raw = reinterpret_cast<const std::byte*>(bytes.data());
    pair.pipes[1]->bytes.append({raw, bytes.size()});
    flow(*pair.pipes[1]);
    executor().run_ready_only();
    if (!outcome.done) {  // what was said did not concern it
      pair.second->shutdown();
      executor().run_ready_only();
    }
    EXPECT_TRUE(outcome.done);
    bool closed = false;
    executor().spawn(close_channel(std::move(channel), closed));
    executor().run();
    EXPECT_TRUE(closed);
    return outcome.result ? std::string("ok") : std::string(error_code_name(outcome.code()));
  };
  const auto nothing = [](MessageHeader&) {};
  EXPECT_EQ(outcome_of(lie(nothing, "", "12345678")), "ok");
  EXPECT_EQ(outcome_of(lie(nothing, "", "123456789")), "too large");
  EXPECT_EQ(outcome_of(lie([](MessageHeader& h) { h.call_id = 77 << 16 | 3; }, "", "x")), "unavailable");
  EXPECT_EQ(outcome_of(lie([](MessageHeader& h) { h.data_crc ^= 4; }, "", "x")), "unavailable");
  EXPECT_EQ(outcome_of(lie([](MessageHeader& h) { h.kind = 1; }, "", "x")), "unavailable");
  EXPECT_EQ(outcome_of(lie([](MessageHeader& h) { h.version = 2; }, "", "")), "unsupported");
  EXPECT_EQ(outcome_of(lie([](MessageHeader& h) { h.status = 200; }, "", "")), "unsupported");
  EXPECT_EQ(outcome_of(std::string(64, 'z')), "unavailable");
  EXPECT_EQ(outcome_of("short"), "unavailable");
}

TEST_F(RpcTest, MayBeDestroyedAnywhere) {
  // A process is killed at every step of a busy exchange; sanitizers watch.
  for (int steps = 0; steps < 400; steps += 3) {
    TestRuntime world;
    auto doomed = std::make_unique<Server>(world);
    std::shared_ptr<Channel> line;
    std::deque<Outcome> ends;
    world.executor().spawn(connect_to_server(world, {}, line));
    world.executor().run_ready_only();
    Buffer place = Buffer::allocate(1u << 20);
    for (int i = 0; i < 8; ++i) {
      const ByteSpan into = i % 2 == 0 ? place.span() : ByteSpan();
      world.executor().spawn(make_call(*line, i % 4 == 3 ? kHold : kEcho, control_bytes({i * 10ull, 0}),
                                       std::string(i % 3 * 100'000, 'd'), into, UINT64_MAX, ends.emplace_back()));
    }
    world.executor().run_steps(steps);
    world.executor().destroy_tasks();
  }
}

}  // namespace
}  // namespace foreshard::rpc
