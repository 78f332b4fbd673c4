// Shows that footprint proposes exactly what a plain list of all requests says was read in the region in its last pass
// and not yet in this one.
#include "policy/predict/footprint.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <utility>

#include "base/random.h"

namespace foreshard::policy {
namespace {

std::set<uint64_t> proposed(Predictor& expert, uint64_t first, uint32_t pages, bool write = false) {
  Observation observation;
  observation.first_page = first;
  observation.pages = pages;
  observation.write = write;
  std::vector<Candidate> candidates;
  expert.observe(observation, candidates);
  std::set<uint64_t> result;
  for (const Candidate& candidate : candidates) {
    EXPECT_EQ(candidate.pages, 1u);
    EXPECT_TRUE(result.insert(candidate.first_page).second);
  }
  return result;
}

// A pass over a region, as the history's header defines it, kept in sets.
struct Pass {
  uint64_t last = 0;
  std::set<uint64_t> current;
};

TEST(Footprint, ProposesWhatTheLastPassReadAtTheFirstRequestOfTheNext) {
  Random random(17);
  PageHistory history;
  FootprintPredictor footprint(history);
  std::map<uint64_t, Pass> model;
  uint64_t now = 0, compared = 0;
  for (int i = 0; i < 60000; ++i) {
    ++now;
    // Bursts over a few regions, so that passes begin and end.
    const uint64_t region = random.below(8) + static_cast<uint64_t>(i) / 1000 % 6 * 8;
    const uint64_t first = region * 16 + random.below(16);
    const auto pages = static_cast<uint32_t>(random.between(1, 6));
    std::set<uint64_t> expected;
    if (const auto known = model.find(first / 16); known != model.end()) {
      if (now - known->second.last > PageHistory::kPassObservations) expected = known->second.current;
    }
    ASSERT_EQ(proposed(footprint, first, pages), expected) << i;
    compared += expected.size();
    history.touch(first, pages);
    for (uint64_t page = first; page < first + pages; ++page) {
      Pass& pass = model[page / 16];
      if (now - pass.last > PageHistory::kPassObservations) pass.current.clear();
      pass.last = now;
      pass.current.insert(page);
    }
  }
  EXPECT_GT(compared, 1000u);
  EXPECT_TRUE(proposed(footprint, 0, 1, true).empty());
}

}  // namespace
}  // namespace foreshard::policy
