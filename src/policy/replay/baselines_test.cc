// Shows what the baselines of stride and association propose: steps of a distance seen often, and what followed a page
// at least every other time; and what they must not.
#include <gtest/gtest.h>

#include "base/random.h"
#include "policy/replay/baseline_assoc.h"
#include "policy/replay/baseline_stride.h"
#include "policy/replay/plain_prefetch.h"

namespace foreshard::policy {
namespace {

std::vector<uint64_t> observe(Predictor& predictor, uint64_t first, uint32_t pages = 1, bool write = false) {
  Observation observation;
  observation.first_page = first;
  observation.pages = pages;
  observation.write = write;
  std::vector<Candidate> candidates;
  predictor.observe(observation, candidates);
  std::vector<uint64_t> proposed;
  for (const Candidate& candidate : candidates) {
    for (uint32_t i = 0; i < candidate.pages; ++i) proposed.push_back(candidate.first_page + i);
  }
  return proposed;
}

using Pages = std::vector<uint64_t>;

TEST(BaselineStride, ThreeEqualDistancesProposeFourSteps) {
  BaselineStride up;
  for (const uint64_t page : {1030, 1037, 1044}) EXPECT_TRUE(observe(up, page).empty());
  EXPECT_EQ(observe(up, 1051), (Pages{1058, 1065, 1072, 1079}));
  EXPECT_TRUE(observe(up, 1059).empty());
  BaselineStride down;
  for (const uint64_t page : {27, 20, 13}) EXPECT_TRUE(observe(down, page).empty());
  // Nothing below the first page.
  EXPECT_TRUE(observe(down, 6).empty());
  BaselineStride wide;
  for (const uint64_t page : {100, 110, 120}) observe(wide, page, 2);
  EXPECT_EQ(observe(wide, 130, 2), (Pages{140, 141, 150, 151, 160, 161, 170, 171}));
}

TEST(BaselineStride, EveryRegionHasItsStream) {
  BaselineStride stride;
  for (uint64_t step = 0; step < 3; ++step) {
    for (uint64_t region = 0; region < 4; ++region) EXPECT_TRUE(observe(stride, region * 100'000 + step * 9).empty());
  }
  for (uint64_t region = 0; region < 4; ++region) EXPECT_EQ(observe(stride, region * 100'000 + 27).size(), 4u);
}

TEST(BaselineStride, WritesAndRandomRequestsProposeNothing) {
  BaselineStride stride;
  for (uint64_t step = 0; step < 20; ++step) EXPECT_TRUE(observe(stride, step * 7, 1, true).empty());
  Random random(1);
  size_t proposed = 0;
  for (int i = 0; i < 10000; ++i) proposed += observe(stride, random.below(uint64_t{1} << 40)).size();
  EXPECT_EQ(proposed, 0u);
}

TEST(BaselineAssoc, WhatFollowedTwiceAndHalfOfTheTimeIsProposed) {
  BaselineAssoc assoc;
  Random random(1);
  const auto others = [&] {
    for (int i = 0; i < 4; ++i) EXPECT_TRUE(observe(assoc, 1'000'000 + random.below(uint64_t{1} << 40)).empty());
  };
  const auto pair = [&] {
    const Pages proposed = observe(assoc, 10);
    observe(assoc, 77);
    observe(assoc, 50, 3);
    others();
    return proposed;
  };
  EXPECT_TRUE(pair().empty());
  EXPECT_TRUE(pair().empty());
  EXPECT_EQ(pair(), (Pages{77, 50, 51, 52}));
  // Three cases of three; of seven they are less than half.
  for (int i = 0; i < 4; ++i) {
    EXPECT_FALSE(observe(assoc, 10).empty());
    others();
  }
  EXPECT_TRUE(observe(assoc, 10).empty());
}

TEST(BaselineAssoc, ARepeatedSequenceIsKnownTheThirdTime) {
  BaselineAssoc assoc;
  Random random(1);
  Pages sequence;
  for (int i = 0; i < 1000; ++i) sequence.push_back(random.below(uint64_t{1} << 40));
  for (int round = 0; round < 2; ++round) {
    for (size_t i = 0; i + 10 < sequence.size(); ++i) EXPECT_TRUE(observe(assoc, sequence[i]).empty());
  }
  for (size_t i = 4; i + 14 < sequence.size(); ++i) {
    EXPECT_EQ(observe(assoc, sequence[i]), (Pages{sequence.begin() + i + 1, sequence.begin() + i + 5}));
  }
}

TEST(BaselineAssoc, LargeRequestsAreProposedInPart) {
  BaselineAssoc assoc;
  for (int i = 0; i < 3; ++i) {
    const Pages proposed = observe(assoc, 10);
    EXPECT_EQ(proposed.size(), i == 2 ? BaselineAssoc::kPagesMax : 0) << i;
    observe(assoc, 5000, 1000);
    for (uint64_t other = 1; other < 5; ++other) observe(assoc, i * 1'000'000 + other * 10'000);
  }
}

// Proposes always the same.
class Stubborn : public Predictor {
 public:
  std::string_view name() const override { return "stubborn"; }
  void observe(const Observation& observation, std::vector<Candidate>& candidates) override {
    candidates.push_back({10, 4, 0.5f, 0});
    candidates.push_back({12, 4, 0.5f, 0});
  }
  uint64_t memory_bytes_max() const override { return 7; }
};

TEST(PlainPrefetch, FetchesWhatIsNeitherThereNorOnItsWayOnceAndKnowsWhatBecameOfIt) {
  std::vector<std::unique_ptr<Predictor>> predictors;
  predictors.push_back(std::make_unique<Stubborn>());
  PlainPrefetch plain({[](uint64_t page) { return page == 11; }, [](uint64_t page) { return page == 14; }},
                      std::move(predictors));
  std::vector<PageRange> to_fetch;
  plain.on_access({}, to_fetch);
  EXPECT_EQ(to_fetch, (std::vector<PageRange>{{10, 1}, {12, 2}, {15, 1}}));
  plain.on_first_use(10);
  plain.on_first_use(12);
  plain.on_first_use(15);
  plain.on_wasted(13, true);
  plain.on_wasted(99, true);
  const PrefetchFacts facts = plain.facts();
  EXPECT_DOUBLE_EQ(facts.ece, 0.25);
  const CalibrationBin& bin = facts.reliability[Calibration::kBins / 2];
  EXPECT_EQ(bin.pages, 4u);
  EXPECT_EQ(bin.used, 3u);
  EXPECT_EQ(facts.memory_bytes, 7u);
}

}  // namespace
}  // namespace foreshard::policy
