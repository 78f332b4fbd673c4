// Shows that constant strides are found in both directions and inside other traffic, and that random requests
// seldom look like one.
#include "policy/predict/stride.h"

#include <gtest/gtest.h>

#include <set>

#include "base/random.h"

namespace foreshard::policy {
namespace {

struct Watcher {
  std::vector<Candidate> read(uint64_t first, uint32_t pages) {
    Observation observation;
    observation.first_page = first;
    observation.pages = pages;
    observation.missed_pages = pages;
    std::vector<Candidate> candidates;
    predictor.observe(observation, candidates);
    for (const Candidate& candidate : candidates) {
      for (uint32_t i = 0; i < candidate.pages; ++i) ahead.insert(candidate.first_page + i);
    }
    return candidates;
  }
  StridePredictor predictor;
  std::set<uint64_t> ahead;
};

TEST(Stride, IsFoundAtItsFourthRequestAndThenStaysAhead) {
  Watcher watcher;
  for (uint64_t i = 0; i < 3; ++i) EXPECT_TRUE(watcher.read(5000 + i * 100, 2).empty());
  for (uint64_t i = 3; i < 200; ++i) {
    const uint64_t first = 5000 + i * 100;
    if (i > 3) EXPECT_TRUE(watcher.ahead.contains(first) && watcher.ahead.contains(first + 1)) << i;
    watcher.read(first, 2);
  }
  EXPECT_LE(*watcher.ahead.rbegin(), 5000 + (200 + StridePredictor::kStepsAheadMax) * 100);
  for (const uint64_t page : watcher.ahead) EXPECT_LE((page - 5000) % 100, 1u);
}

TEST(Stride, RunsBackwardAndStopsAtTheFirstPage) {
  Watcher watcher;
  uint64_t covered = 0;
  for (uint64_t i = 0; i <= 50; ++i) {
    const uint64_t first = 500 - i * 10;
    covered += watcher.ahead.contains(first);
    watcher.read(first, 1);
  }
  EXPECT_EQ(covered, 51u - 4);
  EXPECT_LE(*watcher.ahead.rbegin(), 500u);
}

TEST(Stride, IsFoundInsideInterleavedStridesAndRandomRequests) {
  Watcher watcher;
  Random random(5);
  uint64_t covered = 0, strided = 0;
  for (uint64_t step = 0; step < 300; ++step) {
    for (uint64_t stream = 0; stream < 6; ++stream) {
      const uint64_t first = (stream << 32) + 100000 + step * (30 + stream * 7);
      covered += watcher.ahead.contains(first);
      ++strided;
      watcher.read(first, 1);
    }
    watcher.read((uint64_t{9} << 32) + random.below(1u << 30), 1);
  }
  EXPECT_GE(covered, strided - 6 * 5);
}

TEST(Stride, RandomRequestsSeldomLookLikeOne) {
  Watcher watcher;
  Random random(11);
  uint64_t proposed = 0;
  for (int i = 0; i < 20000; ++i) proposed += watcher.read(random.below(1u << 20), 1).size();
  EXPECT_LE(proposed, 200u);
}

}  // namespace
}  // namespace foreshard::policy
