// Proves over a simulated network, which cuts and delays as it likes, that the server answers what a model
// says, that refused requests have no effect and leave the stream in step, that one client's misbehaviour
// stays its own, and that exports and the server end in good order, or at any point when killed.
#include "front/nbd/server.h"

#include <gtest/gtest.h>

#include "runtime/sim_world.h"
#include "volume/memory_device.h"

namespace foreshard::front {
namespace {

using namespace nbd;  // NOLINT: the wire's names are what these tests are about
using runtime::SimRuntime;
using runtime::SimWorld;
using runtime::Task;

constexpr uint64_t kSecondNs = 1'000'000'000;
constexpr uint64_t kDiskBytes = 80 << 20;

// A memory device whose calls wait while `held`.
class HeldDevice : public volume::MemoryDevice {
 public:
  HeldDevice(runtime::Executor& executor, uint64_t bytes) : MemoryDevice(bytes), released_(executor) {}
  Task<Result<void>> read(uint64_t offset, ByteSpan into) override {
    ++waiting;
    while (held) co_await released_.wait();
    --waiting;
    co_return co_await MemoryDevice::read(offset, into);
  }
  Task<Result<void>> write(uint64_t offset, ConstByteSpan from, bool fua) override {
    ++waiting;
    while (held) co_await released_.wait();
    --waiting;
    if (fail_with) co_return fail(*fail_with, "planned");
    co_return co_await MemoryDevice::write(offset, from, fua);
  }
  void release() {
    held = false;
    released_.wake_all();
  }
  bool held = false;
  int waiting = 0;
  std::optional<ErrorCode> fail_with;

 private:
  runtime::WaitQueue released_;
};

struct ServerProcess : runtime::SimProcess {
  ServerProcess(SimRuntime& runtime, const NbdServerOptions& options)
      : runtime(runtime), device(runtime.executor(), kDiskBytes), image(1 << 20), server(runtime, options) {
    EXPECT_TRUE(server.add_export("disk", device, ExportOptions()));
    ExportOptions read_only;
    read_only.read_only = true;
    EXPECT_TRUE(server.add_export("image", image, read_only));
    server.serve(std::move(*runtime.network().listen("tcp:nbd:10809")));
  }
  void remove(const std::string& name) { runtime.executor().spawn(run_remove(name)); }
  void stop() { runtime.executor().spawn(run_stop()); }
  Task<void> run_remove(std::string name) {
    const Result<void> result = co_await server.remove_export(name);
    removed = result.has_value();
  }
  Task<void> run_stop() {
    co_await server.stop();
    stopped = true;
  }
  SimRuntime& runtime;
  HeldDevice device;
  volume::MemoryDevice image;
  NbdServer server;
  bool removed = false, stopped = false;
};

template <class T>
std::string wire(T object) {
  return std::string(as_text(object_bytes(object)));
}

std::string request(uint16_t command, uint64_t cookie, uint64_t offset, uint32_t length, uint16_t flags = 0) {
  RequestHeader header;
  header.magic = kRequestMagic;
  header.flags = flags;
  header.command = command;
  header.cookie = cookie;
  header.offset = offset;
  header.length = length;
  return wire(header);
}

struct Reply {
  bool closed = false;
  uint64_t cookie = 0;
  uint32_t error = 0;
  std::string data;                   // of a read, holes filled in
  std::vector<StatusExtent> extents;  // of a block status
};

// A client as simple as can be.
class TestClient {
 public:
  Task<bool> connect(SimRuntime& runtime) {
    auto connected = co_await runtime.network().connect("tcp:nbd:10809", runtime.now_ns() + 5 * kSecondNs);
    if (!connected) co_return false;
    connection_ = std::move(*connected);
    const std::string greeting = co_await receive(18);
    co_return greeting.size() == 18;
  }
  Task<bool> send(std::string bytes) {
    if (!connection_) co_return false;
    const iovec piece{bytes.data(), bytes.size()};
    const Result<void> sent = co_await connection_->write({&piece, 1});
    co_return sent.has_value();
  }
  // Fewer when the server closes.
  Task<std::string> receive(size_t bytes) {
    std::string got(bytes, '\0');
    size_t filled = 0;
    while (connection_ && filled < bytes) {
      const ByteSpan rest(reinterpret_cast<std::byte*>(got.data()) + filled, bytes - filled);
      const Result<size_t> n = co_await connection_->read(rest);
      if (!n || *n == 0) break;
      filled += *n;
    }
    got.resize(filled);
    co_return got;
  }
  static std::string option(uint32_t number, const std::string& data) {
    return wire(Be64(kOptionMagic)) + wire(Be32(number)) + wire(Be32(static_cast<uint32_t>(data.size()))) + data;
  }
  // Greets and chooses; the error type of GO, or 0.
  Task<uint32_t> enter(std::string name, bool structured) {
    structured_ = structured;
    const std::string sized = wire(Be32(static_cast<uint32_t>(name.size()))) + name;
    std::string hello = wire(Be32(3));
    if (structured) {
      hello += option(kOptStructuredReply, "");
      hello += option(kOptSetMetaContext, sized + wire(Be32(1)) + wire(Be32(15)) + std::string(kAllocationContext));
    }
    hello += option(kOptGo, sized + wire(Be16(0)));
    const bool sent = co_await send(hello);
    if (!sent) co_return ~0u;
    for (;;) {
      const std::string head = co_await receive(sizeof(OptionReplyHeader));
      if (head.size() < sizeof(OptionReplyHeader)) co_return ~0u;
      const auto header = load_object<OptionReplyHeader>(as_bytes(head));
      const std::string data = co_await receive(header.length);
      if (header.option == kOptGo && header.type == kRepAck) co_return 0;
      if (header.option == kOptGo && header.type != kRepInfo) co_return header.type;
    }
  }
  // read_bytes: of the request that is answered, when it is a read and replies are simple.
  Task<Reply> reply(uint32_t read_bytes = 0) {
    Reply reply;
    const std::string magic = co_await receive(4);
    if (magic.size() < 4) {
      reply.closed = true;
      co_return reply;
    }
    if (load_object<Be32>(as_bytes(magic)) == kSimpleReplyMagic) {
      const std::string rest = co_await receive(sizeof(SimpleReply) - 4);
      const auto simple = load_object<SimpleReply>(as_bytes(magic + rest));
      reply.cookie = simple.cookie;
      reply.error = simple.error;
      if (reply.error == 0 && read_bytes > 0) reply.data = co_await receive(read_bytes);
      co_return reply;
    }
    const std::string rest = co_await receive(sizeof(ChunkHeader) - 4);
    const auto chunk = load_object<ChunkHeader>(as_bytes(magic + rest));
    const std::string body = co_await receive(chunk.length);
    take_chunk(chunk, body, reply);
    co_return reply;
  }
  void vanish() { connection_.reset(); }
  runtime::Connection& connection() { return *connection_; }

 private:
  void take_chunk(const ChunkHeader& chunk, const std::string& body, Reply& reply) {
    EXPECT_EQ(uint32_t{chunk.magic}, kStructuredReplyMagic);
    EXPECT_EQ(uint16_t{chunk.flags}, kChunkDone);
    reply.cookie = chunk.cookie;
    const ConstByteSpan bytes = as_bytes(body);
    if (chunk.type == kChunkError) reply.error = load_object<Be32>(bytes);
    if (chunk.type == kChunkOffsetData) reply.data = body.substr(8);
    if (chunk.type == kChunkOffsetHole) reply.data = std::string(load_object<Be32>(bytes.subspan(8)), '\0');
    if (chunk.type != kChunkBlockStatus) return;
    for (size_t at = 4; at < body.size(); at += 8) {
      reply.extents.push_back(load_object<StatusExtent>(bytes.subspan(at)));
    }
  }
  std::unique_ptr<runtime::Connection> connection_;
  bool structured_ = false;
};

struct ClientProcess : runtime::SimProcess {};

struct NbdServerTest : testing::Test {
  explicit NbdServerTest(uint64_t seed = 1) : world(seed) {
    server_node = world.add_node("server");
    client_node = world.add_node("client");
    world.start(client_node, [](SimRuntime&) { return std::make_unique<ClientProcess>(); });
  }
  void start() {
    world.start(server_node, [this](SimRuntime& r) { return std::make_unique<ServerProcess>(r, options); });
  }
  ServerProcess& server() { return static_cast<ServerProcess&>(*world.process(server_node)); }
  SimRuntime& client() { return world.runtime(client_node); }
  static Task<void> wrap(Task<void> script, int* done) {
    co_await script;
    ++*done;
  }
  void spawn(Task<void> script, int* done) { client().executor().spawn(wrap(std::move(script), done)); }
  void run(Task<void> script) {
    int done = 0;
    spawn(std::move(script), &done);
    ASSERT_TRUE(world.run_until([&] { return done == 1; }, world.now_ns() + 600 * kSecondNs));
  }
  bool until(const std::function<bool()>& condition) {
    return world.run_until(condition, world.now_ns() + 600 * kSecondNs);
  }
  NbdExportStats disk_stats() { return server().server.stats()[0]; }
  uint32_t disk_connections() { return disk_stats().connections; }

  NbdServerOptions options;
  SimWorld world;
  runtime::NodeId server_node, client_node;
};

// Pipelined random requests of one connection against an array; the device ends each inline, so they take
// effect in their order.
Task<void> random_requests(SimRuntime& runtime, uint64_t seed, bool structured) {
  constexpr uint64_t kArea = 2 << 20;
  Random random(seed);
  TestClient client;
  const bool connected = co_await client.connect(runtime);
  EXPECT_TRUE(connected);
  const uint32_t entered = co_await client.enter("disk", structured);
  EXPECT_EQ(entered, 0u);
  std::string model(kArea, '\0');
  uint64_t cookie = 0;
  for (int round = 0; round < 12; ++round) {
    struct Expected {
      uint64_t cookie;
      uint32_t error = 0;
      uint32_t read_bytes = 0;
      std::string data;
    };
    std::vector<Expected> expected;
    std::string batch;
    for (uint64_t i = 0; i < 1 + random.below(40); ++i) {
      const auto length = static_cast<uint32_t>(1 + random.below(random.chance(0.1) ? 300'000 : 9000));
      const uint64_t at = random.below(kArea - length);
      const uint64_t offset = seed * kArea + at;
      Expected answer{++cookie, 0, 0, {}};
      switch (random.below(7)) {
        case 0:
        case 1: {
          const std::string data(length, static_cast<char>('a' + random.below(26)));
          batch += request(kCmdWrite, cookie, offset, length, random.chance(0.2) ? kCmdFlagFua : 0) + data;
          model.replace(at, length, data);
          break;
        }
        case 2:
          batch += request(kCmdWriteZeroes, cookie, offset, length, random.chance(0.5) ? kCmdFlagNoHole : 0);
          model.replace(at, length, std::string(length, '\0'));
          break;
        case 3:
          batch += request(random.chance(0.5) ? kCmdCache : kCmdFlush, cookie, 0, 0);
          if (load_object<Be16>(as_bytes(batch).subspan(batch.size() - 22)) == kCmdCache) answer.error = kEInval;
          break;
        case 4: {
          // Refused, with a payload that must not be taken for requests.
          batch += request(kCmdWrite, cookie, kDiskBytes - length + 1, length) + std::string(length, '\x25');
          answer.error = kENoSpc;
          break;
        }
        default:
          batch += request(kCmdRead, cookie, offset, length);
          answer.read_bytes = length;
          answer.data = model.substr(at, length);
      }
      expected.push_back(answer);
    }
    const bool sent = co_await client.send(batch);
    EXPECT_TRUE(sent);
    for (const Expected& answer : expected) {
      const Reply reply = co_await client.reply(answer.read_bytes);
      EXPECT_EQ(reply.cookie, answer.cookie);
      EXPECT_EQ(reply.error, answer.error);
      EXPECT_TRUE(reply.data == answer.data);
    }
  }
  const bool left = co_await client.send(request(kCmdDisconnect, 0, 0, 0));
  EXPECT_TRUE(left);
}

TEST_F(NbdServerTest, PipelinedRequestsMatchAModel) {
  start();
  for (uint64_t seed = 1; seed <= 6; ++seed) run(random_requests(client(), seed, seed % 2 == 0));
  EXPECT_TRUE(until([&] { return disk_connections() == 0; }));
  const NbdExportStats stats = disk_stats();
  EXPECT_GT(stats.of(NbdOperation::kRead).requests, 0u);
  EXPECT_GT(stats.of(NbdOperation::kRefused).errors, 0u);
  EXPECT_EQ(stats.of(NbdOperation::kRead).latency.count(), stats.of(NbdOperation::kRead).requests);
  EXPECT_EQ(stats.bytes_in_flight, 0u);
}

Task<void> describe(SimRuntime& runtime) {
  TestClient client;
  co_await client.connect(runtime);
  co_await client.enter("disk", true);
  co_await client.send(request(kCmdWrite, 1, 8192, 4096) + std::string(4096, 'x'));
  co_await client.reply();
  co_await client.send(request(kCmdBlockStatus, 2, 0, 1 << 20) +
                       request(kCmdBlockStatus, 3, 0, 1 << 20, kCmdFlagReqOne));
  const Reply all = co_await client.reply();
  EXPECT_EQ(all.extents.size(), 3u);
  EXPECT_EQ(uint32_t{all.extents[0].flags}, kStateHole | kStateZero);
  EXPECT_EQ(uint32_t{all.extents[1].length}, 4096u);
  EXPECT_EQ(uint32_t{all.extents[1].flags}, 0u);
  const Reply one = co_await client.reply();
  EXPECT_EQ(one.extents.size(), 1u);
  co_await client.send(request(kCmdTrim, 4, 0, 1 << 20) + request(kCmdBlockStatus, 5, 0, 1 << 20));
  const Reply trimmed = co_await client.reply();
  EXPECT_EQ(trimmed.error, 0u);
  const Reply after = co_await client.reply();
  EXPECT_EQ(after.extents.size(), 1u);
  co_await client.send(request(99, 6, 0, 0) + request(kCmdRead, 7, 0, kPayloadBytesMax + 1, kCmdFlagDf));
  const Reply unknown = co_await client.reply();
  EXPECT_EQ(unknown.error, uint32_t{kEInval});
  const Reply large = co_await client.reply();
  EXPECT_EQ(large.error, uint32_t{kEOverflow});
}

TEST_F(NbdServerTest, BlockStatusTrimAndErrors) {
  start();
  run(describe(client()));
}

Task<void> too_large(SimRuntime& runtime) {
  TestClient client;
  co_await client.connect(runtime);
  co_await client.enter("disk", false);
  co_await client.send(request(kCmdWrite, 1, 0, kPayloadBytesMax + 1) + std::string(kPayloadBytesMax + 1, 'x'));
  const Reply refused = co_await client.reply();
  EXPECT_EQ(refused.error, uint32_t{kEInval});
  co_await client.send(request(kCmdWrite, 2, 0, kPayloadBytesMax) + std::string(kPayloadBytesMax, 'y'));
  const Reply taken = co_await client.reply();
  EXPECT_EQ(taken.error, 0u);
  co_await client.send(request(kCmdRead, 3, 0, kPayloadBytesMax));
  const Reply read = co_await client.reply(kPayloadBytesMax);
  EXPECT_TRUE(read.data == std::string(kPayloadBytesMax, 'y'));
}

TEST_F(NbdServerTest, TheLargestPayloadsAndOneByteMore) {
  start();
  world.fabric().knobs().window_bytes = 4 << 20;
  run(too_large(client()));
}

Task<void> read_only(SimRuntime& runtime) {
  TestClient client;
  co_await client.connect(runtime);
  co_await client.enter("image", true);
  co_await client.send(request(kCmdWrite, 1, 0, 9000) + std::string(9000, 'x') + request(kCmdRead, 2, 0, 9000));
  const Reply refused = co_await client.reply();
  EXPECT_EQ(refused.error, uint32_t{kEPerm});
  const Reply read = co_await client.reply();
  EXPECT_TRUE(read.data == std::string(9000, '\0'));
}

TEST_F(NbdServerTest, AReadOnlyExportStaysAsItIs) {
  start();
  run(read_only(client()));
}

Task<void> vanish_in_payload(SimRuntime& runtime) {
  TestClient client;
  co_await client.connect(runtime);
  co_await client.enter("disk", true);
  co_await client.send(request(kCmdWrite, 1, 0, 4096) + std::string(4096, 'a') + request(kCmdWrite, 2, 0, 1 << 20) +
                       std::string(300'000, 'b'));
  co_await client.reply();
  client.vanish();
}

Task<void> expect_first_page(SimRuntime& runtime, char content) {
  TestClient client;
  co_await client.connect(runtime);
  const uint32_t entered = co_await client.enter("disk", true);
  EXPECT_EQ(entered, 0u);
  co_await client.send(request(kCmdRead, 9, 0, 4096));
  const Reply reply = co_await client.reply();
  EXPECT_TRUE(reply.data == std::string(4096, content));
}

TEST_F(NbdServerTest, AClientThatVanishesInAPayloadHasNotWritten) {
  start();
  run(vanish_in_payload(client()));
  EXPECT_TRUE(until([&] { return disk_connections() == 0; }));
  run(expect_first_page(client(), 'a'));
}

Task<void> write_and_vanish(SimRuntime& runtime) {
  TestClient client;
  co_await client.connect(runtime);
  co_await client.enter("disk", true);
  co_await client.send(request(kCmdWrite, 1, 0, 4096) + std::string(4096, 'w') + request(kCmdRead, 2, 0, 65536));
  co_await runtime.executor().sleep_for(kSecondNs);
  client.vanish();
}

TEST_F(NbdServerTest, RequestsThatHaveBegunEndWithoutTheirClient) {
  start();
  server().device.held = true;
  run(write_and_vanish(client()));
  world.run_for(20 * kSecondNs);
  EXPECT_EQ(server().device.waiting, 2);
  EXPECT_EQ(disk_connections(), 1u);
  server().device.release();
  EXPECT_TRUE(until([&] { return disk_connections() == 0; }));
  run(expect_first_page(client(), 'w'));
}

Task<void> failing_write(SimRuntime& runtime, uint32_t error) {
  TestClient client;
  co_await client.connect(runtime);
  co_await client.enter("disk", true);
  co_await client.send(request(kCmdWrite, 1, 0, 512) + std::string(512, 'w'));
  const Reply reply = co_await client.reply();
  EXPECT_EQ(reply.error, error);
}

TEST_F(NbdServerTest, DeviceErrorsHaveTheirNumbers) {
  start();
  const std::pair<ErrorCode, uint32_t> errors[] = {
      {ErrorCode::kNoSpace, kENoSpc}, {ErrorCode::kIo, kEIo}, {ErrorCode::kFenced, kEShutdown}};
  for (const auto& [code, number] : errors) {
    server().device.fail_with = code;
    run(failing_write(client(), number));
  }
}

// Asks for much and reads nothing, until told.
Task<void> never_read(SimRuntime& runtime, uint32_t requests, uint32_t bytes, const bool* leave) {
  TestClient client;
  co_await client.connect(runtime);
  co_await client.enter("disk", true);
  std::string batch;
  for (uint32_t i = 0; i < requests; ++i) batch += request(kCmdRead, i, 0, bytes);
  co_await client.send(batch);
  while (!*leave) co_await runtime.executor().sleep_for(kSecondNs / 10);
}

Task<void> fill_first_page(SimRuntime& runtime, uint32_t bytes, char content) {
  TestClient client;
  co_await client.connect(runtime);
  co_await client.enter("disk", true);
  co_await client.send(request(kCmdWrite, 1, 0, bytes) + std::string(bytes, content));
  const Reply reply = co_await client.reply();
  EXPECT_EQ(reply.error, 0u);
}

TEST_F(NbdServerTest, AClientThatDoesNotReadOnlyStopsItself) {
  start();
  run(fill_first_page(client(), 65536, 's'));
  bool leave = false;
  int done = 0;
  spawn(never_read(client(), 5000, 65536, &leave), &done);
  world.run_for(3 * kSecondNs);
  EXPECT_LE(disk_stats().bytes_in_flight, 2u << 20);
  EXPECT_GE(disk_stats().bytes_in_flight, 1u << 20);
  for (int i = 0; i < 5; ++i) run(expect_first_page(client(), 's'));
  leave = true;
  EXPECT_TRUE(until([&] { return disk_connections() == 0; }));
  EXPECT_EQ(disk_stats().bytes_in_flight, 0u);
}

Task<void> read_large(SimRuntime& runtime, uint32_t bytes, uint64_t* took_ns) {
  TestClient client;
  co_await client.connect(runtime);
  co_await client.enter("disk", true);
  const uint64_t start_ns = runtime.now_ns();
  co_await client.send(request(kCmdRead, 1, 0, bytes));
  const Reply reply = co_await client.reply();
  EXPECT_EQ(reply.data.size(), bytes);
  *took_ns = runtime.now_ns() - start_ns;
}

TEST_F(NbdServerTest, AStalledClientLosesTheMemoryThatOthersWaitFor) {
  options.bytes_shared_max = 32 << 20;
  start();
  world.fabric().knobs().window_bytes = 4 << 20;
  run(fill_first_page(client(), 20 << 20, 'm'));
  bool leave = false;
  int done = 0;
  spawn(never_read(client(), 1, 20 << 20, &leave), &done);
  world.run_for(kSecondNs);
  uint64_t took_ns = 0;
  int large_done = 0;
  spawn(read_large(client(), 20 << 20, &took_ns), &large_done);
  world.run_for(kSecondNs);
  EXPECT_EQ(large_done, 0);
  run(expect_first_page(client(), 'm'));  // small requests do not wait
  EXPECT_EQ(large_done, 0);
  EXPECT_TRUE(until([&] { return large_done == 1; }));
  EXPECT_LT(took_ns, 3 * options.session.pressure_ns);
  leave = true;
}

Task<void> wait_for_end(SimRuntime& runtime, std::string bytes, uint64_t* lasted_ns) {
  TestClient client;
  const uint64_t start_ns = runtime.now_ns();
  co_await client.connect(runtime);
  co_await client.send(bytes);
  const std::string got = co_await client.receive(1 << 20);
  *lasted_ns = runtime.now_ns() - start_ns;
}

TEST_F(NbdServerTest, AHandshakeHasADeadline) {
  start();
  for (const std::string& bytes : {std::string(), wire(Be32(3)), wire(Be32(3)) + "IHAVEOPT"}) {
    uint64_t lasted_ns = 0;
    run(wait_for_end(client(), bytes, &lasted_ns));
    EXPECT_GE(lasted_ns, 9 * kSecondNs);
    EXPECT_LE(lasted_ns, 11 * kSecondNs);
  }
}

TEST_F(NbdServerTest, ManySilentClientsDoNotKeepOthersOut) {
  start();
  std::vector<uint64_t> lasted_ns(200);
  int done = 0;
  for (uint64_t& lasted : lasted_ns) spawn(wait_for_end(client(), "", &lasted), &done);
  world.run_for(kSecondNs);
  EXPECT_GE(done, 200 - 64);
  run(expect_first_page(client(), '\0'));
}

Task<void> enter_and_stay(SimRuntime& runtime, uint32_t* entered, const bool* leave) {
  TestClient client;
  co_await client.connect(runtime);
  *entered = co_await client.enter("disk", true);
  while (!*leave) co_await runtime.executor().sleep_for(kSecondNs / 10);
}

TEST_F(NbdServerTest, TooManyClientsAreToldSo) {
  options.connections_per_export_max = 3;
  start();
  bool leave = false;
  uint32_t entered[4] = {1, 1, 1, 1};
  int done = 0;
  for (uint32_t& e : entered) {
    spawn(enter_and_stay(client(), &e, &leave), &done);
    world.run_for(kSecondNs);
  }
  EXPECT_EQ(entered[2], 0u);
  EXPECT_EQ(entered[3], uint32_t{kRepErrPolicy});
  leave = true;
  EXPECT_TRUE(until([&] { return disk_connections() == 0; }));
  run(expect_first_page(client(), '\0'));
}

// As many connections of one host as there are, then clients of another: they get their share, the first host keeps the
// rest, and nobody whose share is fair loses a connection.
Task<void> enter_and_watch(SimRuntime& runtime, uint32_t* entered, bool* closed) {
  TestClient client;
  co_await client.connect(runtime);
  *entered = co_await client.enter("disk", true);
  if (*entered == 0) co_await client.reply();  // nothing was asked: this is the end
  *closed = true;
}

TEST_F(NbdServerTest, OneHostCannotKeepOthersOut) {
  options.connections_per_export_max = 4;
  start();
  const runtime::NodeId other_node = world.add_node("other");
  world.start(other_node, [](SimRuntime&) { return std::make_unique<ClientProcess>(); });
  struct Client {
    uint32_t entered = ~0u;
    bool closed = false;
  };
  std::array<Client, 8> clients;
  int done = 0;
  const auto come = [&](size_t i, runtime::NodeId node) {
    SimRuntime& runtime = world.runtime(node);
    runtime.executor().spawn(wrap(enter_and_watch(runtime, &clients[i].entered, &clients[i].closed), &done));
    world.run_for(20 * kSecondNs);
  };
  for (size_t i = 0; i < 4; ++i) come(i, client_node);
  come(4, other_node);
  EXPECT_EQ(clients[4].entered, 0u);
  EXPECT_TRUE(clients[0].closed) << "the one that was silent longest";
  EXPECT_FALSE(clients[1].closed);
  come(5, other_node);
  EXPECT_EQ(clients[5].entered, 0u);
  EXPECT_TRUE(clients[1].closed);
  come(6, other_node);
  EXPECT_EQ(clients[6].entered, uint32_t{kRepErrPolicy}) << "shares are equal now";
  come(7, client_node);
  EXPECT_EQ(clients[7].entered, uint32_t{kRepErrPolicy});
  for (const size_t i : {2, 3, 4, 5}) EXPECT_FALSE(clients[i].closed) << i;
  EXPECT_EQ(disk_connections(), 4u);
}

// The same for handshakes that are never ended: those of another host are not pushed out by them.
Task<void> connect_only(SimRuntime& runtime, bool* closed) {
  TestClient client;
  co_await client.connect(runtime);
  co_await client.receive(1);
  *closed = true;
}

TEST_F(NbdServerTest, OneHostsHandshakesDoNotEndThoseOfOthers) {
  options.handshakes_max = 3;
  start();
  const runtime::NodeId other_node = world.add_node("other");
  world.start(other_node, [](SimRuntime&) { return std::make_unique<ClientProcess>(); });
  std::array<bool, 6> closed{};
  int done = 0;
  for (size_t i = 0; i < closed.size(); ++i) {
    SimRuntime& runtime = world.runtime(i == 0 ? other_node : client_node);
    runtime.executor().spawn(wrap(connect_only(runtime, &closed[i]), &done));
    world.run_for(kSecondNs / 2);
  }
  EXPECT_FALSE(closed[0]);
  EXPECT_TRUE(closed[1] && closed[2] && closed[3]);
  EXPECT_FALSE(closed[4] || closed[5]);
}

Task<void> write_then_see_the_end(SimRuntime& runtime, Reply* first, Reply* second) {
  TestClient client;
  co_await client.connect(runtime);
  co_await client.enter("disk", true);
  co_await client.send(request(kCmdWrite, 1, 0, 4096) + std::string(4096, 'd'));
  *first = co_await client.reply();
  *second = co_await client.reply();
}

TEST_F(NbdServerTest, RemovingAnExportWaitsForWhatHasBegun) {
  start();
  server().device.held = true;
  Reply first, second;
  int done = 0;
  spawn(write_then_see_the_end(client(), &first, &second), &done);
  EXPECT_TRUE(until([&] { return server().device.waiting == 1; }));
  server().remove("disk");
  world.run_for(30 * kSecondNs);
  EXPECT_FALSE(server().removed);
  server().device.release();
  EXPECT_TRUE(until([&] { return server().removed && done == 1; }));
  EXPECT_EQ(first.error, 0u);
  EXPECT_FALSE(first.closed);
  EXPECT_TRUE(second.closed);
  EXPECT_EQ(server().server.stats().size(), 1u);
  run(read_only(client()));
}

TEST_F(NbdServerTest, StopAnswersWhatHasBegunAndEndsEveryClient) {
  start();
  server().device.held = true;
  Reply first, second;
  uint32_t entered = 1;
  bool leave = false;
  uint64_t lasted_ns = 0;
  int done = 0;
  spawn(write_then_see_the_end(client(), &first, &second), &done);
  spawn(enter_and_stay(client(), &entered, &leave), &done);
  spawn(wait_for_end(client(), "", &lasted_ns), &done);
  EXPECT_TRUE(until([&] { return server().device.waiting == 1 && entered == 0; }));
  server().stop();
  world.run_for(kSecondNs);
  EXPECT_FALSE(server().stopped);
  server().device.release();
  EXPECT_TRUE(until([&] { return server().stopped; }));
  leave = true;
  EXPECT_TRUE(until([&] { return done == 3; }));
  EXPECT_FALSE(first.closed);
  EXPECT_TRUE(second.closed);
}

TEST_F(NbdServerTest, StopDoesNotWaitForAClientThatDoesNotRead) {
  start();
  run(fill_first_page(client(), 65536, 's'));
  bool leave = false;
  int done = 0;
  spawn(never_read(client(), 500, 65536, &leave), &done);
  world.run_for(3 * kSecondNs);
  server().stop();
  EXPECT_TRUE(world.run_until([&] { return server().stopped; }, world.now_ns() + 15 * kSecondNs));
  leave = true;
}

Task<void> write_until_cut(SimRuntime& runtime) {
  TestClient client;
  const bool connected = co_await client.connect(runtime);
  if (!connected) co_return;
  co_await client.enter("disk", true);
  for (uint64_t i = 0; i < 100'000; ++i) {
    co_await client.send(request(kCmdWrite, i, 0, 9000) + std::string(9000, 'k') + request(kCmdRead, i, 0, 9000));
    const Reply written = co_await client.reply();
    const Reply read = co_await client.reply();
    if (written.closed || read.closed) co_return;
  }
}

// Whatever is under way, killing the server destroys it cleanly: the sanitizers judge.
TEST_F(NbdServerTest, KilledAtAnyPoint) {
  start();
  for (int i = 0; i < 30; ++i) {
    bool leave = false;
    int done = 0;
    server().device.held = i % 3 == 0;
    spawn(never_read(client(), 300, 65536, &leave), &done);
    spawn(write_until_cut(client()), &done);
    spawn(vanish_in_payload(client()), &done);
    world.run_for(100'000 + i * 40'000);
    world.kill(server_node, runtime::Crash::kProcess);
    leave = true;
    EXPECT_TRUE(until([&] { return done == 3; }));
    world.restart(server_node);
  }
}

}  // namespace
}  // namespace foreshard::front
