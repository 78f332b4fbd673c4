// Shows that steps which follow one another are learned in one place and proposed in another, with sizes, forward and
// backward, inside other traffic; and that random requests give hardly anything.
#include "policy/predict/delta.h"

#include <gtest/gtest.h>

#include <algorithm>

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
    return candidates;
  }
  DeltaPredictor predictor;
};

bool proposes(const std::vector<Candidate>& candidates, uint64_t first, uint32_t pages) {
  return std::any_of(candidates.begin(), candidates.end(), [&](const Candidate& candidate) {
    return candidate.first_page == first && candidate.pages == pages;
  });
}

// As a phone reads: a page, then 31 from the one before it on. Each place is new.
TEST(Delta, AStepLearnedInOnePlaceIsProposedInAnother) {
  Watcher watcher;
  Random random(1);
  int right = 0;
  for (uint64_t i = 0; i < 200; ++i) {
    const uint64_t first = 10'000 + i * 5000 + random.below(1000);
    right += proposes(watcher.read(first, 1), first - 1, 31);
    watcher.read(first - 1, 31);
  }
  EXPECT_GE(right, 195);
}

// The step after +3 depends on the one before it, which only the pattern of two steps knows.
TEST(Delta, TwoStepsTellMoreThanOne) {
  Watcher watcher;
  int right = 0;
  for (uint64_t i = 0; i < 100; ++i) {
    for (const int64_t before : {20, -20}) {
      const uint64_t base = 10'000 + (i * 2 + (before > 0)) * 3000;
      watcher.read(base, 2);
      watcher.read(base + static_cast<uint64_t>(before), 2);
      const uint64_t third = base + static_cast<uint64_t>(before) + 3;
      const std::vector<Candidate> candidates = watcher.read(third, 2);
      const uint64_t next = before > 0 ? third + 50 : third - 70;
      right += !candidates.empty() && candidates[0].first_page == next && candidates[0].rank == 0;
      watcher.read(next, 2);
    }
  }
  EXPECT_GE(right, 190);
}

TEST(Delta, NeighbourhoodsDoNotDisturbEachOther) {
  Watcher watcher;
  std::vector<uint64_t> at;
  for (uint64_t i = 0; i < 20; ++i) at.push_back(1'000'000 + i * 100'000);
  int right = 0, asked = 0;
  Random random(2);
  for (int round = 0; round < 30; ++round) {
    for (uint64_t& page : at) {
      const bool odd = round % 2 != 0;
      const std::vector<Candidate> candidates = watcher.read(page, odd ? 3 : 1);
      page += odd ? 9 : 30;
      if (round >= 4) {
        ++asked;
        right += proposes(candidates, page, odd ? 1 : 3);
      }
      watcher.read(random.below(uint64_t{1} << 40) + (uint64_t{1} << 41), 1);
    }
  }
  EXPECT_GE(right, asked * 95 / 100);
}

// Guesses are made where the volume is so small that requests are near one another; what they are worth is not the
// expert's to judge.
TEST(Delta, RequestsThatAreFarFromOneAnotherGiveNone) {
  Watcher near, far;
  Random random(3);
  size_t proposed = 0;
  for (int i = 0; i < 20'000; ++i) {
    proposed += near.read(random.below(1 << 20), 1).size();
    EXPECT_TRUE(far.read(static_cast<uint64_t>(i) * 1000, 1).empty());
  }
  EXPECT_GT(proposed, 0u);
}

TEST(Delta, AtMostTwoOfEachPatternAndNoneBeforeTheVolume) {
  Watcher watcher;
  Random random(4);
  for (int i = 0; i < 50'000; ++i) {
    const uint64_t first = random.below(600);
    const std::vector<Candidate> candidates = watcher.read(first, 1 + static_cast<uint32_t>(random.below(3)));
    ASSERT_LE(candidates.size(), 2 * DeltaPredictor::kProposed);
    for (const Candidate& candidate : candidates) {
      ASSERT_LE(candidate.first_page, first + static_cast<uint64_t>(DeltaPredictor::kReachPages));
      ASSERT_GE(candidate.pages, 1u);
    }
  }
}

TEST(Delta, WhatNoLongerFollowsIsOutlasted) {
  Watcher watcher;
  for (const uint64_t step : {uint64_t{40}, uint64_t{100}}) {
    bool last = false;
    for (uint64_t i = 0; i < 1000; ++i) {
      const uint64_t first = (i + step * 1000) * 5000;
      const std::vector<Candidate> candidates = watcher.read(first, 1);
      last = !candidates.empty() && candidates[0].first_page == first + step;
      watcher.read(first + step, 2);
    }
    EXPECT_TRUE(last) << step;
  }
}

}  // namespace
}  // namespace foreshard::policy
