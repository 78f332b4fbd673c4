// The reactor keeps time, stays fair to timers and completions when some coroutines are always ready, is
// woken by other threads, awaits signals, and lets go of what the kernel was asked for.
#include "runtime/reactor.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "base/buffer.h"
#include "runtime/pair.h"
#include "runtime/real_runtime.h"
#include "runtime/sync.h"
#include "runtime/test_folder.h"

namespace foreshard::runtime {
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
  for (int i = 0; i < 10; ++i) {
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
  for (int i = 0; i < 1000; ++i) runtime_->executor().spawn(be_always_ready(runtime_->executor(), go_on));
  runtime_->run(read_and_sleep(*runtime_, *disk, go_on));
}

Task<void> write_without_end(Connection& connection, bool& go_on) {
  std::vector<std::byte> bytes(100);
  const iovec piece = {bytes.data(), bytes.size()};
  while (go_on) {
    const Result<void> written = co_await connection.write({&piece, 1});
    if (!written) co_return;
  }
  connection.shutdown();
}

Task<void> read_without_end(Connection& connection) {
  std::vector<std::byte> bytes(10);
  for (;;) {
    const Result<size_t> count = co_await connection.read(bytes);
    if (!count || *count == 0) co_return;
  }
}

Task<void> sleep_and_clear(Executor& executor, bool& go_on) {
  const uint64_t deadline_ns = executor.now_ns() + 1'000'000;
  co_await executor.sleep_until(deadline_ns);
  go_on = false;
}

// Both ends always have something to do at once, with no wait between.
TEST_P(ReactorTest, ABusyConnectionKeepsNobodyWaiting) {
  ConnectionPair pair = make_pair(runtime_->executor());
  bool go_on = true;
  runtime_->executor().spawn(write_without_end(*pair.first, go_on));
  runtime_->executor().spawn(read_without_end(*pair.second));
  runtime_->run(sleep_and_clear(runtime_->executor(), go_on));
  runtime_->reactor().close();
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
  constexpr int kRounds = 20'000;
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

TEST_P(ReactorTest, ASleepingReactorUsesNoTurns) {
  runtime_->run(sleep_and_answer(runtime_->executor(), 5'000'000));
  const uint64_t before = runtime_->reactor().counters().turns;
  runtime_->run(sleep_and_answer(runtime_->executor(), 5'000'000));
  EXPECT_LE(runtime_->reactor().counters().turns - before, 10u);
}

}  // namespace
}  // namespace foreshard::runtime
