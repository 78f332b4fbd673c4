// Shows that requests of one second are spread over it where the clock counts seconds, that true ties and finer clocks
// are left alone, that nothing is lost or put in another order, and that little is held.
#include "policy/trace/coarse_times.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace foreshard::policy {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;

std::vector<TraceRequest> pass(const std::vector<std::optional<uint64_t>>& times, uint64_t* unit_ns = nullptr) {
  std::vector<TraceRequest> passed;
  CoarseTimes coarse([&](const TraceRequest& request) { passed.push_back(request); });
  for (size_t i = 0; i < times.size(); ++i) {
    TraceRequest request;
    request.time_ns = times[i];
    request.offset = i;
    coarse.take(request);
    EXPECT_LE(i + 1, passed.size() + CoarseTimes::kHeldMax);
  }
  coarse.finish();
  EXPECT_EQ(passed.size(), times.size());
  for (size_t i = 0; i < passed.size(); ++i) EXPECT_EQ(passed[i].offset, i);
  if (unit_ns != nullptr) *unit_ns = coarse.unit_ns();
  return passed;
}

TEST(CoarseTimes, TheRequestsOfASecondAreSpreadOverIt) {
  std::vector<std::optional<uint64_t>> times;
  for (const uint64_t second : {5u, 6u, 9u}) {
    for (int i = 0; i < 100; ++i) times.push_back(second * kSecond);
  }
  uint64_t unit_ns = 0;
  const std::vector<TraceRequest> passed = pass(times, &unit_ns);
  EXPECT_EQ(unit_ns, kSecond);
  for (size_t i = 0; i < passed.size(); ++i) EXPECT_EQ(*passed[i].time_ns, *times[i] + i % 100 * (kSecond / 100));
}

TEST(CoarseTimes, TiesOfAFineClockAreTrue) {
  std::vector<std::optional<uint64_t>> times;
  for (uint64_t i = 0; i < 300; ++i) times.push_back(i / 3 * 1'000'001);
  uint64_t unit_ns = 1;
  const std::vector<TraceRequest> passed = pass(times, &unit_ns);
  EXPECT_EQ(unit_ns, 0u);
  for (size_t i = 0; i < passed.size(); ++i) EXPECT_EQ(passed[i].time_ns, times[i]);
}

TEST(CoarseTimes, WithoutTimesNothingIsHeldOrChanged) {
  size_t passed = 0;
  CoarseTimes coarse([&](const TraceRequest& request) {
    EXPECT_FALSE(request.time_ns.has_value());
    ++passed;
  });
  for (size_t i = 1; i <= 10; ++i) {
    coarse.take({});
    EXPECT_EQ(passed, i);
  }
}

TEST(CoarseTimes, MoreThanCanBeHeldStayInOrderAndInTheirSecond) {
  std::vector<std::optional<uint64_t>> times(10, 0);
  times.insert(times.end(), CoarseTimes::kHeldMax * 3 + 5, kSecond);
  times.emplace_back(2 * kSecond);
  const std::vector<TraceRequest> passed = pass(times);
  for (size_t i = 11; i < passed.size(); ++i) EXPECT_GE(*passed[i].time_ns, *passed[i - 1].time_ns);
  EXPECT_GT(*passed[passed.size() - 2].time_ns, kSecond * 7 / 4);
  EXPECT_LT(*passed[passed.size() - 2].time_ns, 2 * kSecond);
}

// Merged traces go back in time, and some rows of a trace may lack a time.
TEST(CoarseTimes, TakesWhateverComes) {
  Random random(7);
  for (int round = 0; round < 20; ++round) {
    std::vector<std::optional<uint64_t>> times;
    for (int i = 0; i < 3000; ++i) {
      if (random.chance(0.1)) {
        times.emplace_back();
      } else if (random.chance(0.1)) {
        times.emplace_back(random.chance(0.01) ? UINT64_MAX / 2 : random.below(10) * 20'000'000);
      } else {
        times.push_back(times.empty() ? 0 : times.back());
      }
    }
    pass(times);
  }
}

}  // namespace
}  // namespace foreshard::policy
