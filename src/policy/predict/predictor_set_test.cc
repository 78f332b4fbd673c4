// Shows that the set shows every expert every observation and marks what each proposes, in their order and within its
// bound; that experts are chosen by name; and that streams are watched even where nobody proposes them.
#include "policy/predict/predictor_set.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/random.h"
#include "policy/predict/near.h"
#include "policy/predict/stride.h"

namespace foreshard::policy {
namespace {

Observation read_of(uint64_t first, uint32_t pages) {
  Observation observation;
  observation.first_page = first;
  observation.pages = pages;
  observation.missed_pages = pages;
  return observation;
}

bool not_there(uint64_t) { return false; }

TEST(PredictorSet, HoldsAllExpertsOrThoseThatAreNamed) {
  const PageHistory history;
  const PredictorSet all(65536, {}, history, not_there);
  ASSERT_EQ(all.size(), PredictorSet::names().size());
  std::set<std::string_view> names;
  for (uint32_t expert = 0; expert < all.size(); ++expert) {
    EXPECT_EQ(all.name(expert), PredictorSet::names()[expert]);
    names.insert(all.name(expert));
  }
  EXPECT_EQ(names.size(), all.size());
  EXPECT_LE(all.memory_bytes_max(), 32u << 20);

  const PredictorSet two(65536, {"stride", "log"}, history, not_there);
  ASSERT_EQ(two.size(), 2u);
  EXPECT_EQ(two.name(0), "log");
  EXPECT_EQ(two.name(1), "stride");
}

TEST(PredictorSet, MarksWhatEachExpertSaysAndKeepsWhatWasThere) {
  PageHistory history;
  PredictorSet set(65536, {"near", "stride"}, history, not_there);
  // The same experts alone, whose words must come out again.
  StridePredictor stride;
  NearPredictor near(history, not_there);
  Random random(3);
  for (uint64_t i = 0; i < 500; ++i) {
    const Observation observation = read_of(i % 2 == 0 ? 50000 + i * 50 : random.below(1u << 20), 2);
    std::vector<Candidate> candidates(1), expected(1);
    candidates[0].first_page = expected[0].first_page = 77;
    candidates[0].expert = expected[0].expert = 9;
    set.observe(observation, candidates);
    stride.observe(observation, expected);
    const size_t by_stride = expected.size();
    near.observe(observation, expected);
    ASSERT_EQ(candidates.size(), expected.size());
    for (size_t j = 0; j < candidates.size(); ++j) {
      EXPECT_EQ(candidates[j].first_page, expected[j].first_page);
      EXPECT_EQ(candidates[j].pages, expected[j].pages);
      EXPECT_EQ(candidates[j].expert, j == 0 ? 9 : j < by_stride ? 0 : 1);
    }
  }
}

TEST(PredictorSet, ProposesNoMoreThanItsBound) {
  PageHistory history;
  PredictorSet set(uint64_t{1} << 20, {}, history, not_there);
  Random random(5);
  size_t most = 0;
  for (int pass = 0; pass < 20; ++pass) {
    for (uint64_t i = 0; i < 300; ++i) {
      const Observation observation = read_of(i % 3 == 0 ? i * 7919 % 4096 : i, 1 + i % 3);
      std::vector<Candidate> candidates;
      set.observe(observation, candidates);
      history.touch(observation.first_page, observation.pages);
      most = std::max(most, candidates.size());
      for (const Candidate& candidate : candidates) EXPECT_LT(candidate.expert, set.size());
    }
  }
  EXPECT_LE(most, PredictorSet::kCandidatesMax);
  EXPECT_GE(most, 16u);
}

TEST(PredictorSet, WatchesStreamsThatNobodyProposes) {
  const PageHistory history;
  PredictorSet set(65536, {"footprint"}, history, not_there);
  for (uint64_t page = 0; page < 50; ++page) {
    std::vector<Candidate> candidates;
    set.observe(read_of(page, 1), candidates);
    EXPECT_TRUE(candidates.empty());
    EXPECT_EQ(set.stream().run(), page);
  }
}

TEST(PredictorSet, KnowsWhichKindOfKnowledgeStandsBehindAProposal) {
  const PageHistory history;
  const PredictorSet all(65536, {}, history, not_there);
  for (uint32_t expert = 0; expert < all.size(); ++expert) {
    for (const uint32_t rank : {0u, 1u}) {
      const bool past = all.name(expert) == "log" || all.name(expert) == "fingerprint";
      const uint32_t expected = past ? 1 : all.name(expert) == "sequential" ? 2 : 0;
      EXPECT_EQ(all.kind_of(1u << (expert * 2 + rank)), expected) << all.name(expert);
    }
  }
  const PredictorSet near(65536, {"near"}, history, not_there);
  EXPECT_EQ(near.kind_of(3), 0u);
}

// Traces and clients name any page: sums that wrap around must neither hang nor trip anything, and what is proposed
// stays bounded. (Under the sanitizers this shows overflows too.)
TEST(PredictorSet, TakesRequestsThatNoVolumeCanHave) {
  Random random(13);
  // A small cache: its bound on reading ahead is smaller than the requests.
  for (const uint64_t cache_pages : {uint64_t{64}, uint64_t{1} << 20}) {
    PageHistory history;
    PredictorSet set(cache_pages, {}, history, not_there);
    const uint64_t bases[] = {0, uint64_t{1} << 52, kPageNumbers, uint64_t{1} << 62, uint64_t{1} << 63, UINT64_MAX};
    uint64_t first = 0;
    for (int i = 0; i < 20000; ++i) {
      const uint64_t base = bases[random.below(std::size(bases))];
      first = random.chance(0.5) ? first + random.below(40) : base - random.below(100) + random.below(100);
      const uint32_t pages = random.chance(0.2) ? UINT32_MAX - static_cast<uint32_t>(random.below(40))
                                                : static_cast<uint32_t>(random.below(40));
      Observation observation = read_of(first, pages);
      observation.time_ns = random.next();
      observation.fetch_latency_ns = random.next();
      std::vector<Candidate> candidates;
      set.observe(observation, candidates);
      ASSERT_LE(candidates.size(), PredictorSet::kCandidatesMax);
      if (!is_read(observation)) ASSERT_TRUE(candidates.empty());
    }
  }
}

TEST(PredictorSet, TheSamePageForEverIsNoReasonForMore) {
  PageHistory history;
  PredictorSet set(uint64_t{1} << 20, {}, history, not_there);
  for (int i = 0; i < 20000; ++i) {
    std::vector<Candidate> candidates;
    set.observe(read_of(5000, 1), candidates);
    history.touch(5000, 1);
    ASSERT_LE(candidates.size(), PredictorSet::kCandidatesMax);
  }
}

TEST(PredictorSet, AnExpertThatIsAddedComesBehindTheOthers) {
  const PageHistory history;
  PredictorSet set(65536, {"stride"}, history, not_there);
  set.add(std::make_unique<NearPredictor>(history, not_there));
  ASSERT_EQ(set.size(), 2u);
  EXPECT_EQ(set.name(1), "near");
  std::vector<Candidate> candidates;
  set.observe(read_of(100, 1), candidates);
  ASSERT_EQ(candidates.size(), NearPredictor::kSinglesBefore);
  EXPECT_EQ(candidates[0].expert, 1);
}

}  // namespace
}  // namespace foreshard::policy
