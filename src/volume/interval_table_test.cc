// The interval table against an independent model: random overlapping requests run on a small executor; at no
// time do two conflicting ones hold their place together, conflicting ones run in order of arrival, all end.
#include "volume/interval_table.h"

#include <vector>

#include <gtest/gtest.h>

#include "base/random.h"
#include "runtime/sync.h"

namespace foreshard::volume {
namespace {

class LoopExecutor : public runtime::Executor {
 public:
  ~LoopExecutor() override { destroy_tasks(); }
  uint64_t now_ns() const override { return now_; }
  void post_from_thread(std::coroutine_handle<>) override { FAIL(); }
  void run(Random& random) {
    while (has_ready()) run_ready(random.below(ready_count()));
  }

 private:
  uint64_t now_ = 0;
};

struct Seen {
  uint64_t first, end, arrival;
  bool exclusive;
};

struct Scene {
  LoopExecutor executor;
  IntervalTable table{executor};
  std::vector<Seen> running;
  std::vector<Seen> waiting;
  uint64_t arrivals = 0;
  uint64_t finished = 0;
};

bool conflict(const Seen& a, const Seen& b) {
  return (a.exclusive || b.exclusive) && a.first < b.end && b.first < a.end;
}

runtime::Task<void> request(Scene& scene, Seen self, uint64_t yields) {
  IntervalTable::Place place(scene.table, self.first, self.end,
                             self.exclusive ? IntervalTable::Kind::kExclusive : IntervalTable::Kind::kShared);
  self.arrival = scene.arrivals++;
  scene.waiting.push_back(self);
  co_await place.entered();
  std::erase_if(scene.waiting, [&self](const Seen& s) { return s.arrival == self.arrival; });
  for (const Seen& other : scene.running) EXPECT_FALSE(conflict(self, other));
  // Nobody who came earlier and conflicts may still be waiting.
  for (const Seen& other : scene.waiting) EXPECT_FALSE(other.arrival < self.arrival && conflict(self, other));
  scene.running.push_back(self);
  for (uint64_t i = 0; i < yields; ++i) co_await scene.executor.yield();
  std::erase_if(scene.running, [&self](const Seen& s) { return s.arrival == self.arrival; });
  ++scene.finished;
}

runtime::Task<void> start_all(Scene& scene, Random& random, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t first = random.below(40);
    const Seen seen{first, first + 1 + random.below(10), 0, random.chance(0.5)};
    co_await request(scene, seen, random.below(4));
  }
}

TEST(IntervalTable, RandomRequestsNeverOverlapWrongly) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    Random random(seed);
    Scene scene;
    for (int i = 0; i < 8; ++i) scene.executor.spawn(start_all(scene, random, 20));
    scene.executor.run(random);
    EXPECT_EQ(scene.finished, 160u) << "seed " << seed;
    EXPECT_EQ(scene.table.size(), 0u);
  }
}

runtime::Task<void> hold(Scene& scene, runtime::Signal& release, uint64_t first, uint64_t end, IntervalTable::Kind kind,
                         std::vector<int>& order, int name) {
  IntervalTable::Place place(scene.table, first, end, kind);
  co_await place.entered();
  order.push_back(name);
  co_await release.wait();
}

TEST(IntervalTable, AReadWaitsForAWriteAndAWriteForAnEarlierWaitingRead) {
  Random random(1);
  Scene scene;
  std::vector<int> order;
  runtime::Signal first(scene.executor), rest(scene.executor);
  using Kind = IntervalTable::Kind;
  scene.executor.spawn(hold(scene, first, 0, 4, Kind::kExclusive, order, 1));
  Random in_order(7);
  while (order.size() < 1) scene.executor.run(in_order);
  scene.executor.spawn(hold(scene, rest, 3, 8, Kind::kShared, order, 2));
  scene.executor.run(random);
  scene.executor.spawn(hold(scene, rest, 7, 9, Kind::kExclusive, order, 3));
  scene.executor.spawn(hold(scene, rest, 20, 21, Kind::kExclusive, order, 4));
  scene.executor.run(random);
  EXPECT_EQ(order, (std::vector<int>{1, 4}));
  first.set();
  scene.executor.run(random);
  EXPECT_EQ(order, (std::vector<int>{1, 4, 2}));
  rest.set();
  scene.executor.run(random);
  EXPECT_EQ(order, (std::vector<int>{1, 4, 2, 3}));
}

}  // namespace
}  // namespace foreshard::volume
