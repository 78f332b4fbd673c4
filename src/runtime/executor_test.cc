// Timers fire in the order of their deadlines, equal ones in the order of starting, cancelled ones never;
// destroying the tasks destroys every frame where it stands, and nothing runs afterwards.
#include "runtime/executor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include "base/random.h"
#include "runtime/manual_executor.h"
#include "runtime/sync.h"

namespace foreshard::runtime {
namespace {

struct NotingTimer final : Timer {
  void fire() override { fired->push_back(id); }
  std::vector<int>* fired = nullptr;
  int id = 0;
};

TEST(ExecutorTest, TimersFireInOrderAgainstASortedModel) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    Random random(seed);
    ManualExecutor executor;
    std::vector<int> fired;
    std::vector<std::unique_ptr<NotingTimer>> timers;
    std::multimap<uint64_t, int> model;  // equal keys keep the order of insertion
    for (int i = 0; i < 200; ++i) {
      timers.push_back(std::make_unique<NotingTimer>());
      timers[i]->fired = &fired;
      timers[i]->id = i;
      const uint64_t deadline_ns = 1 + random.below(50);
      timers[i]->start(executor, deadline_ns);
      model.emplace(deadline_ns, i);
    }
    for (int i = 0; i < 200; ++i) {
      if (!random.chance(0.3)) continue;
      if (random.chance(0.5)) {
        timers[i]->cancel();
      } else {
        timers[i].reset();
      }
      std::erase_if(model, [i](const auto& entry) { return entry.second == i; });
    }
    std::vector<int> expected;
    for (const auto& [deadline_ns, id] : model) {
      if (deadline_ns <= 30) expected.push_back(id);
    }
    executor.advance_to(30);
    EXPECT_EQ(fired, expected) << seed;
    executor.advance_to(50);
    EXPECT_EQ(fired.size(), model.size()) << seed;
  }
}

Task<void> note_after(Executor& executor, uint64_t deadline_ns, std::vector<uint64_t>& times) {
  co_await executor.sleep_until(deadline_ns);
  times.push_back(executor.now_ns());
}

TEST(ExecutorTest, SleepersWakeAtTheirTimes) {
  ManualExecutor executor;
  std::vector<uint64_t> times;
  for (const uint64_t deadline_ns : {30, 10, 20, 10}) executor.spawn(note_after(executor, deadline_ns, times));
  executor.advance_to(100);
  EXPECT_EQ(times, (std::vector<uint64_t>{10, 10, 20, 30}));
  EXPECT_EQ(executor.root_count(), 0u);
}

Task<void> note_and_yield(Executor& executor, int id, std::vector<int>& order) {
  for (int i = 0; i < 3; ++i) {
    order.push_back(id);
    co_await executor.yield();
  }
}

TEST(ExecutorTest, YieldTakesTurns) {
  ManualExecutor executor;
  std::vector<int> order;
  for (int id = 0; id < 3; ++id) executor.spawn(note_and_yield(executor, id, order));
  executor.run();
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 0, 1, 2, 0, 1, 2}));
}

struct Counted {
  explicit Counted(int& count) : count_(count) { ++count_; }
  Counted(const Counted&) = delete;
  ~Counted() { --count_; }
  int& count_;
};

struct Waits {
  explicit Waits(Executor& executor) : semaphore(executor, 0), mutex(executor), signal(executor), shot(executor) {}
  Semaphore semaphore;
  Mutex mutex;
  Signal signal;
  OneShot<int> shot;
};

Task<void> inner_sleep(Executor& executor, int& alive) {
  const Counted counted(alive);
  co_await executor.sleep_until(1'000'000);
}

Task<void> wait_somewhere(Executor& executor, Waits& waits, int where, int& alive, int& ended) {
  const Counted counted(alive);
  if (where == 0) co_await waits.semaphore.acquire(1);
  if (where == 1) const Mutex::Guard guard = co_await waits.mutex.lock();
  if (where == 2) co_await waits.signal.wait();
  if (where == 3) [[maybe_unused]] const std::optional<int> value = co_await waits.shot.wait_until(500'000);
  if (where == 4) co_await inner_sleep(executor, alive);
  if (where == 5) {
    for (;;) co_await executor.yield();
  }
  ++ended;
}

Task<void> hold_for_ever(Executor& executor, Mutex& mutex) {
  const Mutex::Guard guard = co_await mutex.lock();
  co_await executor.sleep_until(UINT64_MAX - 1);
}

struct Bounded final : Executor {
  uint64_t now_ns() const override { return 0; }
  void post_from_thread(std::coroutine_handle<>) override {}
  void run(int resumptions) {
    for (int i = 0; i < resumptions && has_ready(); ++i) run_ready();
  }
  bool idle() const { return !has_ready() && next_deadline_ns() == UINT64_MAX; }
};

TEST(ExecutorTest, DestroyTasksDestroysEveryFrameWhereItStands) {
  Bounded executor;
  Waits waits(executor);
  int alive = 0;
  int ended = 0;
  executor.spawn(hold_for_ever(executor, waits.mutex));
  for (int where = 0; where <= 5; ++where) {
    for (int i = 0; i < 3; ++i) executor.spawn(wait_somewhere(executor, waits, where, alive, ended));
  }
  executor.run(100);
  executor.spawn(wait_somewhere(executor, waits, 0, alive, ended));  // never begun
  EXPECT_EQ(executor.root_count(), 20u);
  EXPECT_EQ(alive, 21);
  executor.destroy_tasks();
  EXPECT_EQ(alive, 0);
  EXPECT_EQ(ended, 0);
  EXPECT_EQ(executor.root_count(), 0u);
  EXPECT_TRUE(executor.idle());
  EXPECT_FALSE(waits.mutex.locked());
  // It stays dead.
  executor.spawn(wait_somewhere(executor, waits, 0, alive, ended));
  waits.signal.set();
  executor.run(100);
  EXPECT_EQ(alive, 0);
}

}  // namespace
}  // namespace foreshard::runtime
