// Shows that near proposes the pages right before a request and none before the first; and, around what was never read
// before, that it learns up to where the requests behind go and proposes just that, gaps included; leaves alone what is
// there, what was read before and what has no order; and stands any request.
#include "policy/predict/near.h"

#include <gtest/gtest.h>

#include <set>

namespace foreshard::policy {
namespace {

struct Volume {
  PageHistory history;
  std::set<uint64_t> cached;
  NearPredictor near{history, [this](uint64_t page) { return cached.contains(page); }};
  float threshold = 0.6f;
  std::vector<Candidate> singles, chosen;  // of the last request

  void read(uint64_t first, uint32_t pages, bool write = false) {
    Observation observation;
    observation.first_page = first;
    observation.pages = observation.missed_pages = pages;
    observation.write = write;
    observation.threshold = threshold;
    std::vector<Candidate> candidates;
    near.observe(observation, candidates);
    if (!write) history.touch(first, pages);
    singles.clear();
    chosen.clear();
    for (const Candidate& candidate : candidates) (candidate.is_chosen ? chosen : singles).push_back(candidate);
  }
};

std::set<uint64_t> pages_of(const std::vector<Candidate>& candidates) {
  std::set<uint64_t> pages;
  for (const Candidate& candidate : candidates) {
    for (uint32_t i = 0; i < candidate.pages; ++i) EXPECT_TRUE(pages.insert(candidate.first_page + i).second);
  }
  return pages;
}

TEST(Near, ProposesThePagesBeforeARequest) {
  static_assert(NearPredictor::kSinglesBefore == 3);
  Volume volume;
  volume.read(100, 5);
  EXPECT_EQ(pages_of(volume.singles), (std::set<uint64_t>{97, 98, 99}));
  volume.read(2, 1);
  EXPECT_EQ(pages_of(volume.singles), (std::set<uint64_t>{0, 1}));
  volume.read(0, 1);
  EXPECT_TRUE(volume.singles.empty());
  volume.read(100, 5, true);
  EXPECT_TRUE(volume.singles.empty());
  volume.read(100, 0);
  EXPECT_TRUE(volume.singles.empty());
}

// Four pages somewhere, then six more behind a gap of two, and nothing else near it: again and again, never twice in
// the same place.
void read_somewhere(Volume& volume, Random& random) {
  const uint64_t first = random.below(uint64_t{1} << 40) * 64;
  volume.read(first, 4);
  volume.read(first + 6, 6);
}

TEST(Near, LearnsHowFarItIsReadBehindWhatIsNew) {
  Volume volume;
  Random random(1);
  volume.read(1000, 4);
  EXPECT_TRUE(volume.chosen.empty()) << "nothing is known yet";
  for (int i = 0; i < 2000; ++i) read_somewhere(volume, random);
  EXPECT_TRUE(volume.chosen.empty()) << "nothing is read behind the second request";
  volume.read(uint64_t{1} << 50, 4);
  ASSERT_EQ(volume.chosen.size(), 1u);
  EXPECT_EQ(volume.chosen[0].first_page, (uint64_t{1} << 50) + 4);
  EXPECT_EQ(volume.chosen[0].pages, 8u);
  EXPECT_GT(volume.chosen[0].confidence, 0.6f);
  EXPECT_LT(volume.chosen[0].confidence, 0.9f) << "two of eight are not read";
}

TEST(Near, LearnsWhatIsReadBeforeWhatIsNew) {
  Volume volume;
  Random random(2);
  for (int i = 0; i < 2000; ++i) {
    const uint64_t first = random.below(uint64_t{1} << 40) * 64 + 32;
    volume.read(first, 4);
    volume.read(first - 2, 2);
  }
  volume.read(uint64_t{1} << 50, 4);
  ASSERT_EQ(volume.chosen.size(), 1u);
  EXPECT_EQ(volume.chosen[0].first_page, (uint64_t{1} << 50) - 2);
  EXPECT_EQ(volume.chosen[0].pages, 2u);
}

TEST(Near, ChoosesLessWhereMoreIsAskedForButStillWhatIsNearlySure) {
  Volume volume;
  Random random(8);
  for (int i = 0; i < 4000; ++i) {
    // The two pages behind are read always, the eight behind those half of the time.
    const uint64_t first = random.below(uint64_t{1} << 40) * 64;
    volume.read(first, 4);
    volume.read(first + 4, 2);
    if (random.chance(0.5)) volume.read(first + 6, 8);
  }
  uint64_t place = uint64_t{1} << 50;
  const auto chosen_at = [&volume, &place](float threshold) {
    volume.threshold = threshold;
    volume.read(place += 1024, 4);
    return pages_of(volume.chosen).size();
  };
  EXPECT_EQ(chosen_at(0.3f), 10u);
  EXPECT_EQ(chosen_at(0.9f), 2u);
  EXPECT_EQ(chosen_at(1.5f), 0u);
}

TEST(Near, LeavesAloneWhatIsThereAndWhatWasReadBefore) {
  Volume volume;
  Random random(3);
  for (int i = 0; i < 2000; ++i) read_somewhere(volume, random);
  const uint64_t first = uint64_t{1} << 50;
  for (uint64_t page = first + 4; page < first + 100; ++page) volume.cached.insert(page);
  volume.read(first, 4);
  EXPECT_TRUE(volume.chosen.empty());
  volume.cached.clear();
  volume.read(first, 4);
  EXPECT_TRUE(volume.chosen.empty());
}

TEST(Near, ChoosesNextToNothingWhereNothingIsNear) {
  Volume volume;
  Random random(4);
  uint64_t chosen = 0;
  for (int i = 0; i < 20'000; ++i) {
    volume.read(random.below(uint64_t{1} << 40), 1 + static_cast<uint32_t>(random.below(8)));
    chosen += pages_of(volume.chosen).size();
  }
  EXPECT_LT(chosen, 1000u);
}

// Only a part of the windows is looked at then: which one must not hang on the rhythm of the requests.
TEST(Near, BeginsAgainWhateverTheRhythm) {
  for (int phase = 0; phase < 8; ++phase) {
    Volume volume;
    Random random(6);
    for (int i = 0; i < 5000 + phase; ++i) volume.read(random.below(uint64_t{1} << 40), 4);
    for (int i = 0; i < 5000; ++i) read_somewhere(volume, random);
    uint64_t right = 0;
    for (uint64_t i = 0; i < 64; ++i) {
      volume.read((uint64_t{1} << 50) + i * 1024, 4);
      right += pages_of(volume.chosen).size() == 8;
    }
    EXPECT_GT(right, 48u) << phase;
  }
}

// The first outcomes of all are good, since those that are not come later: the less of them must be waited for.
TEST(Near, DoesNotBeginWithGoodOutcomesOnlyHoweverLateItBegins) {
  for (const bool late : {false, true}) {
    Volume volume;
    Random random(7);
    for (uint64_t page = 0; page < 400; ++page) volume.history.touch(page, 1);
    for (int i = 0; late && i < 5000; ++i) volume.read(random.below(400), 1);
    uint64_t chosen = 0;
    for (int i = 0; i < 150; ++i) {
      const uint64_t first = 10'000 + random.below(uint64_t{1} << 40);
      volume.read(first, 1);
      chosen += pages_of(volume.chosen).size();
      if (random.chance(0.3)) volume.read(first + 1 + random.below(20), 1);
      chosen += pages_of(volume.chosen).size();
    }
    EXPECT_LT(chosen, 400u) << late;
  }
}

TEST(Near, StandsAnyRequest) {
  Volume volume;
  Random random(5);
  for (int i = 0; i < 50'000; ++i) {
    const uint64_t first = random.chance(0.5) ? random.below(300) : kPageNumbers - 1 - random.below(300);
    const auto pages = static_cast<uint32_t>(random.chance(0.01) ? random.below(UINT32_MAX) : random.below(40));
    if (random.chance(0.1)) volume.cached.insert(first);
    volume.read(first, pages, random.chance(0.2));
    for (const Candidate& candidate : volume.chosen) {
      ASSERT_GE(candidate.pages, 1u);
      ASSERT_LE(candidate.pages, NearPredictor::kPagesAfter);
      ASSERT_TRUE(candidate.confidence > 0 && candidate.confidence <= 1);
    }
  }
  EXPECT_LT(volume.near.memory_bytes_max(), uint64_t{3} << 20);
}

}  // namespace
}  // namespace foreshard::policy
