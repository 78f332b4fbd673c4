// What coroutines wait on wakes the right ones in the right order, also when deadlines pass meanwhile.
#include "runtime/sync.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "base/random.h"
#include "runtime/manual_executor.h"

namespace foreshard::runtime {
namespace {

using Notes = std::vector<int>;

Task<void> wait_in(WaitQueue& queue, uint64_t deadline_ns, int id, Notes& woken, Notes& late) {
  const bool was_woken = co_await queue.wait_until(deadline_ns);
  (was_woken ? woken : late).push_back(id);
}

TEST(WaitQueueTest, WakesInOrderAndLetsTheLateGo) {
  ManualExecutor executor;
  WaitQueue queue(executor);
  Notes woken;
  Notes late;
  const uint64_t deadlines_ns[] = {UINT64_MAX, 10, 20, UINT64_MAX, 10};
  for (int id = 0; id < 5; ++id) executor.spawn(wait_in(queue, deadlines_ns[id], id, woken, late));
  executor.run();
  queue.wake_one();
  executor.run();
  EXPECT_EQ(woken, (Notes{0}));
  executor.advance_to(10);
  EXPECT_EQ(late, (Notes{1, 4}));
  queue.wake_one();
  executor.run();
  EXPECT_EQ(woken, (Notes{0, 2}));
  executor.advance_to(20);  // 2's deadline, cancelled by the wake
  EXPECT_EQ(late, (Notes{1, 4}));
  queue.wake_all();
  executor.run();
  EXPECT_EQ(woken, (Notes{0, 2, 3}));
  EXPECT_TRUE(queue.empty());
  queue.wake_one();
}

Task<void> take(Semaphore& semaphore, uint64_t units, int id, Notes& order) {
  co_await semaphore.acquire(units);
  order.push_back(id);
}

TEST(SemaphoreTest, ALargeRequestIsNotStarvedBySmallOnes) {
  ManualExecutor executor;
  Semaphore semaphore(executor, 4);
  Notes order;
  executor.spawn(take(semaphore, 3, 0, order));
  executor.spawn(take(semaphore, 4, 1, order));
  executor.spawn(take(semaphore, 1, 2, order));
  executor.spawn(take(semaphore, 2, 3, order));
  executor.run();
  EXPECT_EQ(order, (Notes{0}));
  EXPECT_EQ(semaphore.free(), 1u);
  EXPECT_FALSE(semaphore.try_acquire(1));  // not past those who wait
  semaphore.release(3);
  executor.run();
  EXPECT_EQ(order, (Notes{0, 1}));
  semaphore.release(4);
  executor.run();
  EXPECT_EQ(order, (Notes{0, 1, 2, 3}));
  EXPECT_EQ(semaphore.free(), 1u);
  EXPECT_TRUE(semaphore.try_acquire(1));
  EXPECT_FALSE(semaphore.try_acquire(1));
}

Task<void> use(Executor& executor, Semaphore& semaphore, uint64_t units, uint64_t& used, uint64_t& used_max,
               int& done) {
  co_await semaphore.acquire(units);
  used += units;
  used_max = std::max(used_max, used);
  const uint64_t until_ns = executor.now_ns() + units;
  co_await executor.sleep_until(until_ns);
  used -= units;
  semaphore.release(units);
  ++done;
}

TEST(SemaphoreTest, AllGetTheirTurnAndNeverMoreThanThereIs) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    Random random(seed);
    ManualExecutor executor;
    Semaphore semaphore(executor, 10);
    uint64_t used = 0;
    uint64_t used_max = 0;
    int done = 0;
    for (int i = 0; i < 100; ++i) {
      const uint64_t units = random.between(1, 10);
      executor.spawn(use(executor, semaphore, units, used, used_max, done));
      if (random.chance(0.2)) executor.advance_to(executor.now_ns() + random.below(5));
    }
    executor.advance_to(1'000'000);
    EXPECT_EQ(done, 100) << seed;
    EXPECT_LE(used_max, 10u) << seed;
    EXPECT_EQ(semaphore.free(), 10u) << seed;
  }
}

Task<void> critical(Executor& executor, Mutex& mutex, int id, int& inside, Notes& order) {
  const Mutex::Guard guard = co_await mutex.lock();
  EXPECT_EQ(++inside, 1);
  const uint64_t until_ns = executor.now_ns() + 5;
  co_await executor.sleep_until(until_ns);
  order.push_back(id);
  --inside;
}

TEST(MutexTest, OneAtATimeInOrder) {
  ManualExecutor executor;
  Mutex mutex(executor);
  int inside = 0;
  Notes order;
  for (int id = 0; id < 5; ++id) executor.spawn(critical(executor, mutex, id, inside, order));
  executor.advance_to(1000);
  EXPECT_EQ(order, (Notes{0, 1, 2, 3, 4}));
  EXPECT_FALSE(mutex.locked());
}

Task<void> close_gate(Gate& gate, bool& closed) {
  co_await gate.close();
  closed = true;
}

TEST(GateTest, CloseWaitsForWhatIsInsideAndLetsNoMoreIn) {
  ManualExecutor executor;
  Gate gate(executor);
  std::optional<Gate::Pass> first = gate.enter();
  std::optional<Gate::Pass> second = gate.enter();
  ASSERT_TRUE(first && second);
  EXPECT_EQ(gate.inside(), 2u);
  bool closed = false;
  executor.spawn(close_gate(gate, closed));
  executor.run();
  EXPECT_FALSE(gate.enter());
  EXPECT_TRUE(gate.closed());
  const Gate::Pass moved = std::move(*first);
  first.reset();
  executor.run();
  EXPECT_FALSE(closed);
  EXPECT_EQ(gate.inside(), 2u);
  second.reset();
  executor.run();
  EXPECT_FALSE(closed);
  { const Gate::Pass last = std::move(const_cast<Gate::Pass&>(moved)); }
  executor.run();
  EXPECT_TRUE(closed);
}

Task<void> wait_signal_until(Signal& signal, uint64_t deadline_ns, int id, Notes& set, Notes& late) {
  const bool was_set = co_await signal.wait_until(deadline_ns);
  (was_set ? set : late).push_back(id);
}

TEST(SignalTest, WakesAllAndStaysSet) {
  ManualExecutor executor;
  Signal signal(executor);
  Notes set;
  Notes late;
  for (int id = 0; id < 3; ++id) executor.spawn(wait_signal_until(signal, id == 1 ? 10 : UINT64_MAX, id, set, late));
  executor.advance_to(10);
  EXPECT_EQ(late, (Notes{1}));
  signal.set();
  executor.run();
  EXPECT_EQ(set, (Notes{0, 2}));
  executor.spawn(wait_signal_until(signal, 0, 3, set, late));
  executor.run();
  EXPECT_EQ(set, (Notes{0, 2, 3}));
}

Task<void> take_value(OneShot<std::unique_ptr<int>>& shot, uint64_t deadline_ns, Notes& values, int& late) {
  std::optional<std::unique_ptr<int>> value = co_await shot.wait_until(deadline_ns);
  if (value) {
    values.push_back(**value);
  } else {
    ++late;
  }
}

TEST(OneShotTest, TheFirstValueArrivesOrTheDeadlineDoes) {
  ManualExecutor executor;
  Notes values;
  int late = 0;
  OneShot<std::unique_ptr<int>> shot(executor);
  executor.spawn(take_value(shot, 10, values, late));
  executor.advance_to(10);
  EXPECT_EQ(late, 1);
  executor.spawn(take_value(shot, 20, values, late));
  executor.run();
  shot.set(std::make_unique<int>(7));
  shot.set(std::make_unique<int>(8));
  executor.advance_to(30);
  EXPECT_EQ(values, (Notes{7}));
  EXPECT_EQ(late, 1);
}

}  // namespace
}  // namespace foreshard::runtime
