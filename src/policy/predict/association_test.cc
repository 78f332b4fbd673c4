// Shows that what is proposed after a request is exactly what a plain map of counts says came within the window after
// it at least twice, also while the table grows; that the strongest followers stay; and that volumes are kept apart.
#include "policy/predict/association.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <deque>
#include <map>
#include <set>

#include "base/random.h"

namespace foreshard::policy {
namespace {

std::vector<Candidate> observe(AssociationPredictor& association, uint64_t volume, uint64_t first, uint32_t pages = 1) {
  Observation observation;
  observation.volume = VolumeId{volume};
  observation.first_page = first;
  observation.pages = pages;
  std::vector<Candidate> candidates;
  association.observe(observation, candidates);
  return candidates;
}

// How often which page came within the window after which.
struct Counts {
  void observe(uint64_t volume, uint64_t first) {
    for (const auto& [other_volume, other] : window) {
      if (other_volume == volume && other != first) ++count[other][first];
    }
    window.push_front({volume, first});
    if (window.size() > AssociationPredictor::kWindow) window.pop_back();
  }
  std::map<uint64_t, std::map<uint64_t, uint32_t>> count;
  std::deque<std::pair<uint64_t, uint64_t>> window;
};

// Programs of ten requests each, in any order, with another volume's requests in between, so that no page has more
// followers than are remembered.
void run_programs(uint64_t programs, int runs, bool exact) {
  Random random(programs);
  AssociationPredictor association;
  Counts counts;
  uint64_t expected = 0, proposed = 0;
  for (int run = 0; run < runs; ++run) {
    const uint64_t program = random.below(programs);
    for (uint64_t i = 0; i < 13; ++i) {
      const uint64_t volume = i < 10 ? 0 : 9;
      // Pages as large as they get.
      const uint64_t page = i < 10 ? kPageNumbers - 1 - program * 16 - i : i;
      const std::vector<Candidate> candidates = observe(association, volume, page, static_cast<uint32_t>(i + 1));
      counts.observe(volume, page);
      std::map<uint64_t, uint32_t> often;
      for (const auto& [follower, count] : counts.count[page]) {
        if (count >= AssociationPredictor::kSupportMin) often[follower] = count;
      }
      expected += often.size();
      for (const Candidate& candidate : candidates) {
        const auto known = often.find(candidate.first_page);
        ASSERT_NE(known, often.end()) << page;
        const uint64_t place =
            candidate.first_page < 16 ? candidate.first_page : (kPageNumbers - 1 - candidate.first_page) % 16;
        ASSERT_EQ(candidate.pages, place + 1);
        if (exact) ASSERT_EQ(candidate.context % 8, std::min<uint32_t>(std::bit_width(known->second), 7));
        often.erase(known);
        ++proposed;
      }
      if (exact) ASSERT_TRUE(often.empty()) << page;
    }
  }
  EXPECT_GT(expected, 1000u);
  EXPECT_GE(proposed * 100, expected * (exact ? 100 : 80));
}

TEST(Association, IsWhatAPlainMapOfCountsSays) { run_programs(20, 600, true); }

// Where two pages meet in a full set the older one is forgotten, and starts again at nothing.
TEST(Association, ForgetsLittleWhileItGrows) { run_programs(1000, 6000, false); }

TEST(Association, WhatComesOftenOutlastsWhatComesOnce) {
  AssociationPredictor association;
  Random random(2);
  for (uint64_t i = 0; i < 2000; ++i) {
    observe(association, 1, 100);
    observe(association, 1, 200);
    observe(association, 1, 1000 + random.below(1u << 30));
    for (uint64_t j = 0; j < AssociationPredictor::kWindow; ++j) observe(association, 2, 5 + j);
    if (i < 10) continue;
    const std::vector<Candidate> candidates = observe(association, 1, 100);
    ASSERT_FALSE(candidates.empty());
    EXPECT_TRUE(
        std::any_of(candidates.begin(), candidates.end(), [](const Candidate& c) { return c.first_page == 200; }));
    EXPECT_LE(candidates.size(), AssociationPredictor::kFollowers);
  }
}

TEST(Association, VolumesDoNotFollowEachOther) {
  AssociationPredictor association;
  for (int i = 0; i < 100; ++i) {
    // Page 0 of volume 0 is a page like any other.
    EXPECT_TRUE(observe(association, 0, 0).empty());
    EXPECT_TRUE(observe(association, 1, 1000).empty());
  }
}

TEST(Association, ASmallTableStaysSmall) {
  AssociationPredictor association(4);
  EXPECT_LE(association.memory_bytes_max(), 1024u);
  Random random(9);
  for (int i = 0; i < 10000; ++i) {
    EXPECT_LE(observe(association, random.below(2), random.below(100)).size(), AssociationPredictor::kFollowers);
  }
}

TEST(Association, WritesAreNotTaken) {
  AssociationPredictor association;
  std::vector<Candidate> candidates;
  for (int i = 0; i < 100; ++i) {
    Observation observation;
    observation.first_page = static_cast<uint64_t>(i % 2);
    observation.pages = 1;
    observation.write = true;
    association.observe(observation, candidates);
  }
  EXPECT_TRUE(candidates.empty());
}

}  // namespace
}  // namespace foreshard::policy
