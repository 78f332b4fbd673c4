// Blocking calls run elsewhere, one after the other in order, and their callers go on here with the result;
// messages of several threads reach a mailbox whole, in each sender's order, never more than its bound.
#include "runtime/worker_thread.h"

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <thread>
#include <vector>

#include "runtime/mailbox.h"
#include "runtime/manual_executor.h"
#include "runtime/real_runtime.h"
#include "runtime/sync.h"

namespace foreshard::runtime {
namespace {

struct Seen {
  std::vector<int> run_order;  // written by the worker, read after it
  std::vector<int> resume_order;
  bool right_threads = true;
};

Task<void> call(WorkerThread& worker, int id, Seen& seen) {
  const std::thread::id here = std::this_thread::get_id();
  auto work = [id, here, &seen] {
    if (std::this_thread::get_id() == here) seen.right_threads = false;
    seen.run_order.push_back(id);
    return std::make_unique<int>(id * 2);
  };
  const std::unique_ptr<int> result = co_await worker.run_blocking(std::move(work));
  if (std::this_thread::get_id() != here || *result != id * 2) seen.right_threads = false;
  seen.resume_order.push_back(id);
}

TEST(WorkerThreadTest, CallsRunInOrderElsewhereAndResumeHere) {
  ManualExecutor executor;
  Seen seen;
  {
    WorkerThread worker(executor, "test");
    for (int id = 0; id < 1000; ++id) executor.spawn(call(worker, id, seen));
    executor.run_until([&] { return executor.root_count() == 0; });
  }
  std::vector<int> expected;
  for (int id = 0; id < 1000; ++id) expected.push_back(id);
  EXPECT_EQ(seen.run_order, expected);
  EXPECT_EQ(seen.resume_order, expected);
  EXPECT_TRUE(seen.right_threads);
}

Task<void> blocking_sum(WorkerThread& worker, int rounds, int& sum) {
  for (int i = 0; i < rounds; ++i) {
    auto work = [&sum, i] { sum += i; };
    co_await worker.run_blocking(std::move(work));
  }
}

TEST(WorkerThreadTest, WakesASleepingReactor) {
  const std::unique_ptr<RealRuntime> runtime = std::move(RealRuntime::create().value());
  WorkerThread worker(runtime->executor(), "test");
  int sum = 0;
  runtime->run(blocking_sum(worker, 2000, sum));
  EXPECT_EQ(sum, 2000 * 1999 / 2);
}

Task<void> wait_for(WorkerThread& worker, std::shared_future<void> until, int& ran) {
  auto work = [until, &ran] {
    until.wait();
    ++ran;
  };
  co_await worker.run_blocking(std::move(work));
}

struct SetAtEnd {
  std::promise<void>& promise;
  ~SetAtEnd() { promise.set_value(); }
};

Task<void> set_when_destroyed(Executor& executor, std::promise<void>& go) {
  SetAtEnd set{go};
  WaitQueue never(executor);
  co_await never.wait();
}

TEST(WorkerThreadTest, CallersMayBeDestroyedQueuedOrRunning) {
  ManualExecutor executor;
  WorkerThread worker(executor, "test");
  std::promise<void> go;
  const std::shared_future<void> until = go.get_future().share();
  int ran = 0;
  executor.spawn(wait_for(worker, until, ran));
  executor.spawn(set_when_destroyed(executor, go));
  for (int i = 0; i < 2; ++i) executor.spawn(wait_for(worker, until, ran));
  executor.run();
  // The newest first: the two that are queued go, then what they all wait for comes about, then the oldest, which may
  // be running, is waited for.
  executor.destroy_tasks();
  EXPECT_LE(ran, 1);
}

// ---- Mailbox

struct Message {
  int sender;
  int number;
  std::unique_ptr<int> payload;
};

Task<void> receive_all(Mailbox<Message>& mailbox, std::vector<std::vector<int>>& numbers, bool& ended) {
  for (;;) {
    std::optional<Message> message = co_await mailbox.receive();
    if (!message) break;
    EXPECT_EQ(*message->payload, message->number);
    numbers[message->sender].push_back(message->number);
  }
  ended = true;
}

void send_numbers(Mailbox<Message>& mailbox, int sender, int count) {
  for (int number = 0; number < count; ++number) {
    Message message = {sender, number, std::make_unique<int>(number)};
    while (!mailbox.try_send(message)) std::this_thread::yield();
  }
}

void run_senders(Mailbox<Message>& mailbox, int senders, int count) {
  std::vector<std::thread> threads;
  for (int sender = 0; sender < senders; ++sender) {
    threads.emplace_back([&mailbox, sender, count] { send_numbers(mailbox, sender, count); });
  }
  for (std::thread& thread : threads) thread.join();
  mailbox.close();
}

Task<void> receive_and_stop(Reactor& reactor, Mailbox<Message>& mailbox, std::vector<std::vector<int>>& numbers) {
  bool ended = false;
  co_await receive_all(mailbox, numbers, ended);
  reactor.stop();
}

TEST(MailboxTest, SeveralThreadsToOneReactor) {
  const std::unique_ptr<RealRuntime> runtime = std::move(RealRuntime::create().value());
  Mailbox<Message> mailbox(runtime->executor(), 16);
  std::vector<std::vector<int>> numbers(3);
  std::thread senders([&mailbox] { run_senders(mailbox, 3, 5000); });
  runtime->executor().spawn(receive_and_stop(runtime->reactor(), mailbox, numbers));
  runtime->reactor().run();
  senders.join();
  std::vector<int> expected;
  for (int i = 0; i < 5000; ++i) expected.push_back(i);
  for (const std::vector<int>& of_one : numbers) EXPECT_EQ(of_one, expected);
}

TEST(MailboxTest, FullAndClosedRefuse) {
  ManualExecutor executor;
  Mailbox<Message> mailbox(executor, 2);
  EXPECT_TRUE(mailbox.try_send({0, 0, std::make_unique<int>(0)}));
  EXPECT_TRUE(mailbox.try_send({0, 1, std::make_unique<int>(1)}));
  Message third = {0, 2, std::make_unique<int>(2)};
  EXPECT_FALSE(mailbox.try_send(third));
  ASSERT_NE(third.payload, nullptr);
  std::vector<std::vector<int>> numbers(1);
  bool ended = false;
  executor.spawn(receive_all(mailbox, numbers, ended));
  executor.run();
  EXPECT_TRUE(mailbox.try_send(third));
  executor.run();
  EXPECT_FALSE(ended);
  mailbox.close();
  EXPECT_FALSE(mailbox.try_send({0, 3, std::make_unique<int>(3)}));
  executor.run();
  EXPECT_TRUE(ended);
  EXPECT_EQ(numbers[0], (std::vector<int>{0, 1, 2}));
}

}  // namespace
}  // namespace foreshard::runtime
