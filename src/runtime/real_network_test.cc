// Connections of every scheme carry bytes both ways, whole and in order, end in good order or at once, and
// listeners are private, replace dead ones and respect live ones.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <vector>

#include "base/random.h"
#include "runtime/pair.h"
#include "runtime/real_runtime.h"
#include "runtime/sync.h"
#include "runtime/test_folder.h"

namespace foreshard::runtime {
namespace {

constexpr uint64_t kSecondNs = 1'000'000'000;

std::vector<std::byte> random_bytes(uint64_t seed, size_t size) {
  Random random(seed);
  std::vector<std::byte> bytes(size);
  for (size_t at = 0; at < size; at += sizeof(uint64_t)) {
    const uint64_t value = random.next();
    memcpy(bytes.data() + at, &value, std::min(sizeof(value), size - at));
  }
  return bytes;
}

struct Ends {
  std::unique_ptr<Connection> client;
  std::unique_ptr<Connection> server;
};

Task<void> accept_one(Listener& listener, OneShot<std::unique_ptr<Connection>>& accepted) {
  Result<std::unique_ptr<Connection>> connection = co_await listener.accept();
  accepted.set(connection ? std::move(*connection) : nullptr);
}

Task<Ends> join(RealRuntime& runtime, Listener& listener) {
  OneShot<std::unique_ptr<Connection>> accepted(runtime.executor());
  runtime.executor().spawn(accept_one(listener, accepted));
  const uint64_t deadline_ns = runtime.now_ns() + 10 * kSecondNs;
  Result<std::unique_ptr<Connection>> client = co_await runtime.network().connect(listener.address(), deadline_ns);
  std::optional<std::unique_ptr<Connection>> server = co_await accepted.wait_until(UINT64_MAX);
  Ends ends;
  if (client) ends.client = std::move(*client);
  ends.server = std::move(*server);
  co_return ends;
}

class SchemeTest : public testing::TestWithParam<std::string> {
 protected:
  SchemeTest() : runtime_(std::move(RealRuntime::create().value())) {
    std::string address = GetParam();
    if (address == "unix") address = "unix:" + (folder_ / "socket");
    listener_ = std::move(runtime_->network().listen(address).value());
  }
  ~SchemeTest() override { runtime_->reactor().close(); }
  Ends joined() { return runtime_->run(join(*runtime_, *listener_)); }
  TestFolder folder_;
  std::unique_ptr<RealRuntime> runtime_;
  std::unique_ptr<Listener> listener_;
};

INSTANTIATE_TEST_SUITE_P(Schemes, SchemeTest,
                         testing::Values("unix", "tcp:127.0.0.1:0", "tcp:[::1]:0", "tcp:localhost:0", "local:here"));

Task<void> send_pieces(Connection& connection, const std::vector<std::byte>& bytes, size_t piece,
                       Result<void>& result) {
  std::vector<iovec> pieces;
  for (size_t at = 0; at < bytes.size(); at += piece) {
    pieces.push_back({const_cast<std::byte*>(bytes.data() + at), std::min(piece, bytes.size() - at)});
  }
  result = co_await connection.write(pieces);
}

Task<void> receive(Connection& connection, std::vector<std::byte>& into, size_t part, Gate::Pass) {
  size_t done = 0;
  while (done < into.size()) {
    const ByteSpan room = {into.data() + done, std::min(part, into.size() - done)};
    const Result<size_t> count = co_await connection.read(room);
    if (!count || *count == 0) co_return;
    done += *count;
  }
}

Task<void> send_pass(Connection& connection, const std::vector<std::byte>& bytes, size_t piece, Result<void>& result,
                     Gate::Pass) {
  co_await send_pieces(connection, bytes, piece, result);
}

struct Exchange {
  std::vector<std::byte> sent[2];
  std::vector<std::byte> received[2];
  Result<void> written[2];
};

Task<void> exchange(Executor& executor, Ends& ends, Exchange& e, size_t piece, size_t part) {
  Gate gate(executor);
  executor.spawn(send_pass(*ends.client, e.sent[0], piece, e.written[0], std::move(*gate.enter())));
  executor.spawn(send_pass(*ends.server, e.sent[1], piece, e.written[1], std::move(*gate.enter())));
  executor.spawn(receive(*ends.server, e.received[0], part, std::move(*gate.enter())));
  executor.spawn(receive(*ends.client, e.received[1], part, std::move(*gate.enter())));
  co_await gate.close();
}

TEST_P(SchemeTest, LargeTransfersBothWaysAtOnceArriveWhole) {
  Ends ends = joined();
  ASSERT_TRUE(ends.client && ends.server);
  struct Case {
    size_t bytes, piece, part;
  };
  // The second has more pieces than IOV_MAX.
  for (const Case c : {Case{8'000'000, 1'000'000, 333'333}, Case{1'500'000, 777, 4096}, Case{1, 1, 100}}) {
    Exchange e;
    for (int i = 0; i < 2; ++i) {
      e.sent[i] = random_bytes(i + c.bytes, c.bytes);
      e.received[i].resize(c.bytes);
    }
    runtime_->run(exchange(runtime_->executor(), ends, e, c.piece, c.part));
    EXPECT_TRUE(e.written[0] && e.written[1]);
    EXPECT_TRUE(e.sent[0] == e.received[0]) << c.bytes;
    EXPECT_TRUE(e.sent[1] == e.received[1]) << c.bytes;
  }
}

Task<Result<size_t>> read_some(Connection& connection, std::vector<std::byte>& into) {
  const Result<size_t> count = co_await connection.read(into);
  co_return count;
}

TEST_P(SchemeTest, TheLastBytesComeBeforeTheEnd) {
  Ends ends = joined();
  const std::vector<std::byte> sent = random_bytes(1, 1000);
  Result<void> written;
  runtime_->run(send_pieces(*ends.client, sent, 100, written));
  ASSERT_TRUE(written);
  ends.client.reset();
  std::vector<std::byte> received(2000);
  const Result<size_t> first = runtime_->run(read_some(*ends.server, received));
  ASSERT_TRUE(first);
  EXPECT_EQ(*first, 1000u);
  received.resize(1000);
  EXPECT_TRUE(received == sent);
  const Result<size_t> end = runtime_->run(read_some(*ends.server, received));
  ASSERT_TRUE(end);
  EXPECT_EQ(*end, 0u);
}

Task<void> note_read(Connection& connection, std::vector<std::byte>& into, Result<size_t>& result, Gate::Pass) {
  result = co_await connection.read(into);
}

Task<void> shut_while_pending(Executor& executor, std::unique_ptr<Connection>& connection, Result<size_t>& read_result,
                              Result<void>& write_result) {
  std::vector<std::byte> into(100);
  const std::vector<std::byte> large(30'000'000);
  Gate gate(executor);
  executor.spawn(note_read(*connection, into, read_result, std::move(*gate.enter())));
  executor.spawn(send_pass(*connection, large, large.size(), write_result, std::move(*gate.enter())));
  const uint64_t wake_ns = executor.now_ns() + 5'000'000;
  co_await executor.sleep_until(wake_ns);
  EXPECT_EQ(gate.inside(), 2u);
  connection->shutdown();
  co_await gate.close();
  // The operations have ended: this is the first moment at which a caller may destroy it.
  connection.reset();
}

TEST_P(SchemeTest, ShutdownEndsWhatIsPending) {
  Ends ends = joined();
  Result<size_t> read_result;
  Result<void> write_result;
  runtime_->run(shut_while_pending(runtime_->executor(), ends.client, read_result, write_result));
  ASSERT_FALSE(read_result);
  EXPECT_EQ(read_result.error().code, ErrorCode::kCancelled);
  ASSERT_FALSE(write_result);
  EXPECT_EQ(write_result.error().code, ErrorCode::kCancelled);
}

TEST_P(SchemeTest, AfterShutdownAllIsCancelledHereAndEndsThere) {
  Ends ends = joined();
  ends.client->shutdown();
  ends.client->shutdown();
  std::vector<std::byte> bytes(100);
  Result<size_t> read = runtime_->run(read_some(*ends.client, bytes));
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, ErrorCode::kCancelled);
  Result<void> written;
  runtime_->run(send_pieces(*ends.client, bytes, 100, written));
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, ErrorCode::kCancelled);
  read = runtime_->run(read_some(*ends.server, bytes));
  ASSERT_TRUE(read);
  EXPECT_EQ(*read, 0u);
}

Task<void> write_until_error(Connection& connection, Result<void>& result) {
  const std::vector<std::byte> bytes(100'000);
  for (int i = 0; i < 1000; ++i) {
    co_await send_pieces(connection, bytes, bytes.size(), result);
    if (!result) co_return;
  }
}

TEST_P(SchemeTest, WritingToOneWhoIsGoneFails) {
  Ends ends = joined();
  ends.server.reset();
  Result<void> result;
  runtime_->run(write_until_error(*ends.client, result));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kUnavailable);
}

Task<void> note_accept(Listener& listener, ErrorCode& code, Gate::Pass) {
  const Result<std::unique_ptr<Connection>> connection = co_await listener.accept();
  if (!connection) code = connection.error().code;
}

Task<void> shut_listener(Executor& executor, Listener& listener, ErrorCode& code) {
  Gate gate(executor);
  executor.spawn(note_accept(listener, code, std::move(*gate.enter())));
  const uint64_t wake_ns = executor.now_ns() + 1'000'000;
  co_await executor.sleep_until(wake_ns);
  listener.shutdown();
  co_await gate.close();
}

Task<Result<std::unique_ptr<Connection>>> connect(RealRuntime& runtime, std::string address) {
  const uint64_t deadline_ns = runtime.now_ns() + 10 * kSecondNs;
  Result<std::unique_ptr<Connection>> connection = co_await runtime.network().connect(address, deadline_ns);
  co_return connection;
}

TEST_P(SchemeTest, AShutListenerAcceptsNothingAndLeavesTheAddress) {
  ErrorCode code = ErrorCode::kIo;
  runtime_->run(shut_listener(runtime_->executor(), *listener_, code));
  EXPECT_EQ(code, ErrorCode::kCancelled);
  const std::string address = listener_->address();
  const Result<std::unique_ptr<Connection>> connection = runtime_->run(connect(*runtime_, address));
  ASSERT_FALSE(connection);
  EXPECT_EQ(connection.error().code, ErrorCode::kUnavailable);
  listener_.reset();
  EXPECT_TRUE(runtime_->network().listen(address));
}

TEST_P(SchemeTest, ALiveListenersAddressIsBusy) {
  const Result<std::unique_ptr<Listener>> second = runtime_->network().listen(listener_->address());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kBusy);
  Ends ends = joined();
  EXPECT_TRUE(ends.client && ends.server);
}

Task<void> read_until_end(std::unique_ptr<Connection> connection) {
  std::vector<std::byte> into(100);
  for (;;) {
    const Result<size_t> count = co_await connection->read(into);
    if (!count || *count == 0) co_return;
  }
}

Task<void> rest(Executor& executor) {
  const uint64_t wake_ns = executor.now_ns() + 1'000'000;
  co_await executor.sleep_until(wake_ns);
}

// A runtime that ends with connections under way: their tasks own them and are destroyed where they stand.
TEST_P(SchemeTest, TheRuntimeEndsWhileConnectionsWait) {
  Ends ends = joined();
  ErrorCode code = ErrorCode::kIo;
  Gate gate(runtime_->executor());
  runtime_->executor().spawn(read_until_end(std::move(ends.client)));
  runtime_->executor().spawn(read_until_end(std::move(ends.server)));
  runtime_->executor().spawn(note_accept(*listener_, code, std::move(*gate.enter())));
  runtime_->run(rest(runtime_->executor()));
  runtime_->reactor().close();
  EXPECT_EQ(runtime_->executor().root_count(), 0u);
}

// ---- many connections

Task<void> echo(std::unique_ptr<Connection> connection) {
  std::vector<std::byte> buffer(4096);
  for (;;) {
    const Result<size_t> count = co_await connection->read(buffer);
    if (!count || *count == 0) co_return;
    const iovec piece = {buffer.data(), *count};
    const Result<void> written = co_await connection->write({&piece, 1});
    if (!written) co_return;
  }
}

Task<void> serve(Executor& executor, Listener& listener) {
  for (;;) {
    Result<std::unique_ptr<Connection>> connection = co_await listener.accept();
    if (!connection) co_return;
    executor.spawn(echo(std::move(*connection)));
  }
}

Task<void> ask(RealRuntime& runtime, std::string address, uint64_t seed, uint64_t& right, Gate::Pass) {
  Result<std::unique_ptr<Connection>> connection = co_await connect(runtime, address);
  if (!connection) co_return;
  for (uint64_t round = 0; round < 20; ++round) {
    const std::vector<std::byte> sent = random_bytes(seed * 100 + round, 1 + mix64(seed + round) % 5000);
    const iovec piece = {const_cast<std::byte*>(sent.data()), sent.size()};
    const Result<void> written = co_await (*connection)->write({&piece, 1});
    std::vector<std::byte> received(sent.size());
    for (size_t done = 0; done < sent.size();) {
      const ByteSpan room = {received.data() + done, received.size() - done};
      const Result<size_t> count = co_await (*connection)->read(room);
      if (!count || *count == 0) co_return;
      done += *count;
    }
    if (written && received == sent) ++right;
  }
}

Task<void> ask_many(RealRuntime& runtime, std::string address, uint64_t clients, uint64_t& right) {
  Gate gate(runtime.executor());
  for (uint64_t i = 0; i < clients; ++i) {
    runtime.executor().spawn(ask(runtime, address, i, right, std::move(*gate.enter())));
  }
  co_await gate.close();
}

TEST_P(SchemeTest, ManyConnectionsEcho) {
  runtime_->executor().spawn(serve(runtime_->executor(), *listener_));
  uint64_t right = 0;
  runtime_->run(ask_many(*runtime_, listener_->address(), 300, right));
  EXPECT_EQ(right, 300u * 20u);
}

// ---- what is particular to unix and TCP

class RealNetworkTest : public testing::Test {
 protected:
  RealNetworkTest() : runtime_(std::move(RealRuntime::create().value())) {}
  ErrorCode listen_error(const std::string& address) {
    const Result<std::unique_ptr<Listener>> listener = runtime_->network().listen(address);
    return listener ? ErrorCode{} : listener.error().code;
  }
  TestFolder folder_;
  std::unique_ptr<RealRuntime> runtime_;
};

TEST_F(RealNetworkTest, UnixSocketsArePrivateAndRemoved) {
  const std::string path = folder_ / "socket";
  const mode_t before = umask(0);
  Result<std::unique_ptr<Listener>> listener = runtime_->network().listen("unix:" + path);
  umask(before);
  ASSERT_TRUE(listener);
  struct stat status;
  ASSERT_EQ(stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  listener->reset();
  EXPECT_NE(stat(path.c_str(), &status), 0);
}

TEST_F(RealNetworkTest, AStaleUnixSocketIsReplaced) {
  const std::string path = folder_ / "socket";
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, path.c_str(), path.size() + 1);
  ASSERT_EQ(bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(fd, 1), 0);
  EXPECT_EQ(listen_error("unix:" + path), ErrorCode::kBusy);
  close(fd);  // The file stays, as after a kill -9.
  const Result<std::unique_ptr<Listener>> listener = runtime_->network().listen("unix:" + path);
  ASSERT_TRUE(listener) << listener.error().message();
  const Ends ends = runtime_->run(join(*runtime_, **listener));
  EXPECT_TRUE(ends.client && ends.server);
  EXPECT_NE(ends.server->peer().find(std::to_string(getpid())), std::string::npos);
}

TEST_F(RealNetworkTest, WhatCannotBeListenedOnSaysWhy) {
  { std::ofstream(folder_ / "file") << "precious"; }
  EXPECT_EQ(listen_error("unix:" + (folder_ / "file")), ErrorCode::kExists);
  EXPECT_TRUE(std::filesystem::exists(folder_ / "file"));
  EXPECT_EQ(listen_error("unix:" + (folder_ / "missing/socket")), ErrorCode::kNotFound);
  EXPECT_EQ(listen_error("unix:" + (folder_ / std::string(120, 'x'))), ErrorCode::kInvalid);
  for (const char* address : {"", "unix:", "tcp:", "tcp:80", "tcp:127.0.0.1", "tcp:127.0.0.1:", "tcp:127.0.0.1:99999",
                              "tcp::80", "tcp:::1:80", "tcp:127.0.0.1:http", "http:x", "/path"}) {
    EXPECT_EQ(listen_error(address), ErrorCode::kInvalid) << address;
  }
}

TEST_F(RealNetworkTest, NobodyThereIsUnavailable) {
  for (const std::string& address :
       {"unix:" + (folder_ / "none"), std::string("tcp:127.0.0.1:1"), std::string("local:none")}) {
    const Result<std::unique_ptr<Connection>> connection = runtime_->run(connect(*runtime_, address));
    ASSERT_FALSE(connection);
    EXPECT_EQ(connection.error().code, ErrorCode::kUnavailable) << connection.error().message();
  }
}

Task<Result<std::unique_ptr<Connection>>> connect_by(RealRuntime& runtime, std::string address, uint64_t deadline_ns) {
  Result<std::unique_ptr<Connection>> connection = co_await runtime.network().connect(address, deadline_ns);
  co_return connection;
}

// A listener that never accepts, with a full backlog, is how a connect waits without any network.
TEST_F(RealNetworkTest, ConnectEndsAtItsDeadline) {
  const std::string path = folder_ / "socket";
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, path.c_str(), path.size() + 1);
  ASSERT_EQ(bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(fd, 0), 0);
  std::vector<std::unique_ptr<Connection>> connections;
  ErrorCode code = {};
  for (int i = 0; i < 3 && code == ErrorCode{}; ++i) {
    const uint64_t deadline_ns = runtime_->now_ns() + 20'000'000;
    Result<std::unique_ptr<Connection>> connection =
        runtime_->run(connect_by(*runtime_, "unix:" + path, deadline_ns));
    if (connection) {
      connections.push_back(std::move(*connection));
    } else {
      code = connection.error().code;
    }
  }
  EXPECT_EQ(code, ErrorCode::kTimeout);
  close(fd);
}

Task<ErrorCode> accept_without_files(RealRuntime& runtime, Listener& listener, int& attempts) {
  for (;;) {
    const Result<std::unique_ptr<Connection>> connection = co_await listener.accept();
    ++attempts;
    co_return connection ? ErrorCode{} : connection.error().code;
  }
}

TEST_F(RealNetworkTest, AcceptWithoutFilesIsUnavailableAndRecovers) {
  const std::unique_ptr<Listener> listener = std::move(runtime_->network().listen("tcp:127.0.0.1:0").value());
  const Result<std::unique_ptr<Connection>> client = runtime_->run(connect(*runtime_, listener->address()));
  ASSERT_TRUE(client);
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none = {0, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  int attempts = 0;
  const uint64_t start_ns = runtime_->now_ns();
  const ErrorCode code = runtime_->run(accept_without_files(*runtime_, *listener, attempts));
  const uint64_t took_ns = runtime_->now_ns() - start_ns;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(code, ErrorCode::kUnavailable);
  EXPECT_GE(took_ns, 10'000'000u);  // It waited: whoever tries again does not spin.
  EXPECT_EQ(runtime_->run(accept_without_files(*runtime_, *listener, attempts)), ErrorCode{});
}

}  // namespace
}  // namespace foreshard::runtime
