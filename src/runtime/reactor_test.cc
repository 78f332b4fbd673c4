// The reactor keeps time, stays fair to timers and completions when some coroutines are always ready, is
// woken by other threads, awaits signals, and lets go of what the kernel was asked for.
#include "runtime/reactor.h"

#include <gtest/gtest.h>
#include <liburing.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <deque>
#include <thread>
#include <vector>

#include "base/buffer.h"
#include "runtime/pair.h"
#include "runtime/real_runtime.h"
#include "runtime/socket_connection.h"
#include "runtime/sync.h"
#include "runtime/test_folder.h"

namespace foreshard::runtime {

// The kernel's sign that it has work for the loop, as it leaves it up now and then though it has none.
struct KernelFlag {
  static void raise(Reactor& reactor) {
    __atomic_fetch_or(reactor.ring_->sq.kflags, IORING_SQ_TASKRUN, __ATOMIC_SEQ_CST);
  }
};

namespace {

class ReactorTest : public testing::TestWithParam<uint64_t> {
 protected:
  ReactorTest() {
    ReactorOptions options;
    options.spin_ns_max = GetParam();
    options.requests_max_per_submit = 8;
    runtime_ = std::move(RealRuntime::create(options).value());
  }
  std::unique_ptr<RealRuntime> runtime_;
};

// Never spinning, and far longer than any of the waits.
INSTANTIATE_TEST_SUITE_P(Spin, ReactorTest, testing::Values(0, 50'000, 100'000'000));

Task<int> sleep_and_answer(Executor& executor, uint64_t duration_ns) {
  const uint64_t deadline_ns = executor.now_ns() + duration_ns;
  co_await executor.sleep_until(deadline_ns);
  EXPECT_GE(executor.now_ns(), deadline_ns);
  co_return 42;
}

TEST_P(ReactorTest, SleepsAndAnswers) {
  for (const uint64_t duration_ns : {0, 1'000, 100'000, 3'000'000}) {
    EXPECT_EQ(runtime_->run(sleep_and_answer(runtime_->executor(), duration_ns)), 42);
  }
}

Task<void> be_always_ready(Executor& executor, bool& go_on) {
  while (go_on) co_await executor.yield();
}

Task<void> read_and_sleep(RealRuntime& runtime, Disk& disk, bool& go_on) {
  Result<std::unique_ptr<File>> file = disk.open("data", Disk::Open::kCreate);
  Buffer buffer = Buffer::zeroed(kPageBytes);
  for (int i = 0; i < 4; ++i) {
    const Result<void> written = co_await (*file)->write(i * kPageBytes, buffer.span());
    EXPECT_TRUE(written);
    const uint64_t deadline_ns = runtime.now_ns() + 100'000;
    co_await runtime.executor().sleep_until(deadline_ns);
  }
  go_on = false;
}

// Were the ready ones served first and always, this would never end.
TEST_P(ReactorTest, TheAlwaysReadyKeepNobodyWaiting) {
  const TestFolder folder;
  const std::unique_ptr<Disk> disk = std::move(runtime_->open_disk(folder.path()).value());
  bool go_on = true;
  for (int i = 0; i < 300; ++i) runtime_->executor().spawn(be_always_ready(runtime_->executor(), go_on));
  runtime_->run(read_and_sleep(*runtime_, *disk, go_on));
}

// Writes to the one end and reads at the other: neither ever has to wait.
Task<void> talk_to_oneself(Connection& here, Connection& there, bool& go_on, bool& ended) {
  std::vector<std::byte> bytes(10);
  const iovec piece = {bytes.data(), bytes.size()};
  while (go_on) {
    const Result<void> written = co_await here.write({&piece, 1});
    const Result<size_t> count = co_await there.read(bytes);
    if (!written || !count) break;
  }
  ended = true;
}

Task<void> sleep_and_clear(Executor& executor, bool& go_on) {
  const uint64_t deadline_ns = executor.now_ns() + 1'000'000;
  co_await executor.sleep_until(deadline_ns);
  go_on = false;
}

Task<void> talk_while_another_sleeps(Executor& executor, Connection& here, Connection& there, bool& ended) {
  bool go_on = true;
  executor.spawn(sleep_and_clear(executor, go_on));
  co_await talk_to_oneself(here, there, go_on, ended);
}

// Were calls that need no wait always answered at once, the sleeper would never be woken.
TEST_P(ReactorTest, ABusyConnectionKeepsNobodyWaiting) {
  Reactor& reactor = runtime_->reactor();
  bool ended = false;
  ConnectionPair pair = make_pair(reactor);
  runtime_->run(talk_while_another_sleeps(reactor, *pair.first, *pair.second, ended));
  EXPECT_TRUE(ended);

  int sockets[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
  const std::unique_ptr<Connection> first = make_socket_connection(reactor, FileDescriptor(sockets[0]), "first");
  const std::unique_ptr<Connection> second = make_socket_connection(reactor, FileDescriptor(sockets[1]), "second");
  ended = false;
  runtime_->run(talk_while_another_sleeps(reactor, *first, *second, ended));
  EXPECT_TRUE(ended);
}

struct SocketPair {
  explicit SocketPair(Reactor& reactor) {
    int sockets[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    here = make_socket_connection(reactor, FileDescriptor(sockets[0]), "here");
    there = make_socket_connection(reactor, FileDescriptor(sockets[1]), "there");
  }
  std::unique_ptr<Connection> here, there;
  uint64_t received = 0;
  std::optional<Error> error;
  bool ended = false;
};

Task<void> receive_until_the_end(SocketPair& pair) {
  std::vector<std::byte> bytes(64 << 10);
  while (!pair.ended) {
    const Result<size_t> count = co_await pair.here->read(bytes);
    if (!count) pair.error = count.error();
    pair.ended = !count || *count == 0;
    pair.received += count ? *count : 0;
  }
}

Task<int> send_to_many(Reactor& reactor, std::deque<SocketPair>& pairs, uint64_t bytes) {
  for (SocketPair& pair : pairs) reactor.spawn(receive_until_the_end(pair));
  const std::vector<std::byte> sent(bytes);
  // They wait, tried by the loop or in the kernel's hands; what comes, and also the end, reaches each of them.
  for (const uint64_t pause_ns : {0, 20'000, 300'000}) {
    co_await reactor.sleep_for(pause_ns);
    for (auto pair = pairs.rbegin(); pair != pairs.rend(); ++pair) {
      const iovec piece = {const_cast<std::byte*>(sent.data()), sent.size()};
      const Result<void> written = co_await pair->there->write({&piece, 1});
      EXPECT_TRUE(written);
    }
  }
  for (SocketPair& pair : pairs) {
    while (pair.received < 3 * bytes && !pair.ended) co_await reactor.sleep_for(10'000);
  }
  for (size_t i = 0; i < pairs.size(); ++i) {
    if (i % 2 == 0)
      pairs[i].there.reset();
    else
      pairs[i].here->shutdown();
  }
  for (SocketPair& pair : pairs) {
    while (!pair.ended) co_await reactor.sleep_for(10'000);
  }
  co_return 42;
}

// Also of more than a socket holds, which the sender must wait for in turn.
TEST_P(ReactorTest, WhoWaitsForASocketIsServedHoweverManyWait) {
  for (const size_t count : {1, 2, 3, 8}) {
    for (const uint64_t bytes : {10, 2 << 20}) {
      std::deque<SocketPair> pairs;
      for (size_t i = 0; i < count; ++i) pairs.emplace_back(runtime_->reactor());
      EXPECT_EQ(runtime_->run(send_to_many(runtime_->reactor(), pairs, bytes)), 42);
      for (size_t i = 0; i < count; ++i) {
        EXPECT_EQ(pairs[i].received, 3 * bytes) << i << " of " << count;
        EXPECT_EQ(pairs[i].error.has_value(), i % 2 == 1) << i << " of " << count;
      }
    }
  }
}

Task<int> read_under_a_stale_flag(Reactor& reactor, Connection& connection, std::atomic<bool>& waits) {
  for (int i = 0; i < 5; ++i) co_await reactor.sleep_for(10'000);  // short sleeps, so that it spins
  KernelFlag::raise(reactor);
  waits = true;
  std::vector<std::byte> bytes(10);
  const Result<size_t> count = co_await connection.read(bytes);
  co_return count ? static_cast<int>(*count) : -1;
}

// Else the loop goes round, believing it, and what waits for a socket is neither tried nor given to the kernel. Who
// writes is not of the loop, nor is it at once.
TEST_P(ReactorTest, AFlagThatTheKernelLeftUpStopsNobody) {
  int sockets[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
  const std::unique_ptr<Connection> here =
      make_socket_connection(runtime_->reactor(), FileDescriptor(sockets[0]), "here");
  const FileDescriptor there(sockets[1]);
  std::atomic<bool> waits{false};
  std::thread sender([&there, &waits] {
    while (!waits) std::this_thread::yield();
    for (int i = 0; i < 10'000; ++i) std::this_thread::yield();
    EXPECT_EQ(write(there.get(), "0123456789", 10), 10);
  });
  EXPECT_EQ(runtime_->run(read_under_a_stale_flag(runtime_->reactor(), *here, waits)), 10);
  sender.join();
}

struct Relay {
  bool await_ready() { return false; }
  void await_suspend(std::coroutine_handle<> h) { handle.store(h.address()); }
  void await_resume() {}
  std::atomic<void*>& handle;
};

Task<int> wait_for_thread(std::atomic<void*>& handle, int rounds) {
  int woken = 0;
  for (int i = 0; i < rounds; ++i) {
    Relay relay{handle};
    co_await relay;
    ++woken;
  }
  co_return woken;
}

void wake_rounds(Executor& executor, std::atomic<void*>& handle, int rounds) {
  for (int i = 0; i < rounds; ++i) {
    void* address = nullptr;
    while ((address = handle.exchange(nullptr)) == nullptr) std::this_thread::yield();
    executor.post_from_thread(std::coroutine_handle<>::from_address(address));
  }
}

TEST_P(ReactorTest, NoPostOfAnotherThreadIsSleptOver) {
  constexpr int kRounds = 3000;
  std::atomic<void*> handle{nullptr};
  Executor& executor = runtime_->executor();
  std::thread waker([&executor, &handle] { wake_rounds(executor, handle, kRounds); });
  EXPECT_EQ(runtime_->run(wait_for_thread(handle, kRounds)), kRounds);
  waker.join();
}

Task<int> raise_and_wait(RealRuntime& runtime, int signal_number) {
  kill(getpid(), signal_number);
  const int received = co_await runtime.wait_signal();
  co_return received;
}

TEST_P(ReactorTest, TerminationSignalsAreAwaited) {
  sigset_t before;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  block_termination_signals();
  EXPECT_EQ(runtime_->run(raise_and_wait(*runtime_, SIGTERM)), SIGTERM);
  EXPECT_EQ(runtime_->run(raise_and_wait(*runtime_, SIGINT)), SIGINT);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST_P(ReactorTest, RandomIsSeededAnewAndTheClockIsTodays) {
  const std::unique_ptr<RealRuntime> other = std::move(RealRuntime::create().value());
  EXPECT_NE(runtime_->random().next(), other->random().next());
  EXPECT_GT(runtime_->wall_ns(), 1'700'000'000'000'000'000u);
  EXPECT_LE(runtime_->now_ns(), runtime_->now_ns());
}

// A read of a pipe that is said to end soon, and does when somebody writes.
class PipeRead final : public KernelRequest {
 public:
  PipeRead(Reactor& reactor, int fd) : KernelRequest(true), reactor_(reactor), ended_(reactor) {
    io_uring_prep_read(reactor.prepare(*this), fd, &byte_, 1, 0);
  }
  ~PipeRead() { reactor_.withdraw(*this); }
  OneShot<int32_t>& ended() { return ended_; }

 private:
  void finished(int32_t result) override { ended_.set(result); }
  Reactor& reactor_;
  OneShot<int32_t> ended_;
  char byte_ = 0;
};

Task<int> read_one_of_many(Reactor& reactor, int from, int to) {
  int idle[2];
  EXPECT_EQ(pipe(idle), 0);
  {
    // Sixteen of which nothing comes keep the reactor waiting for several; timers and the one answer come all the same.
    std::deque<PipeRead> many;
    for (int i = 0; i < 16; ++i) many.emplace_back(reactor, idle[0]);
    for (int i = 0; i < 20; ++i) co_await reactor.sleep_for(200'000);
    PipeRead one(reactor, from);
    EXPECT_EQ(write(to, "x", 1), 1);
    const std::optional<int32_t> count = co_await one.ended().wait_until(UINT64_MAX);
    EXPECT_EQ(count, 1);
  }
  close(idle[0]);
  close(idle[1]);
  co_return 42;
}

TEST_P(ReactorTest, WaitingForSeveralKeepsNobodyWaiting) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_EQ(runtime_->run(read_one_of_many(runtime_->reactor(), ends[0], ends[1])), 42);
  close(ends[0]);
  close(ends[1]);
}

TEST_P(ReactorTest, ASleepingReactorUsesNoTurns) {
  runtime_->run(sleep_and_answer(runtime_->executor(), 5'000'000));
  const uint64_t before = runtime_->reactor().counters().turns;
  runtime_->run(sleep_and_answer(runtime_->executor(), 5'000'000));
  EXPECT_LE(runtime_->reactor().counters().turns - before, 10u);
}

}  // namespace
}  // namespace foreshard::runtime
