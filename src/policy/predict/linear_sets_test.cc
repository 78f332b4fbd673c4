// Shows that a table of linear sets finds everything where it belongs after each step of growth, that a step moves what
// is in one set only, and that the sets fill alike.
#include "policy/predict/linear_sets.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/random.h"

namespace foreshard::policy {
namespace {

TEST(LinearSets, EachStepSplitsOneSet) {
  LinearSets sets(4);
  std::vector<std::vector<uint64_t>> table(4);
  for (uint64_t key = 0; key < 3000; ++key) table[sets.of(mix64(key))].push_back(mix64(key));
  while (sets.count() < 300) {
    const uint64_t before = sets.count(), split = sets.grow();
    ASSERT_EQ(sets.count(), before + 1);
    ASSERT_LT(split, before);
    std::vector<uint64_t> stay, move;
    for (const uint64_t hash : table[split]) (sets.of(hash) == before ? move : stay).push_back(hash);
    table[split] = std::move(stay);
    table.push_back(std::move(move));
    for (size_t set = 0; set < table.size(); ++set)
      for (const uint64_t hash : table[set]) ASSERT_EQ(sets.of(hash), set) << before;
  }
  // 256 sets in the present round, of which 44 have been split.
  for (size_t set = 0; set < 300; ++set) {
    const bool halved = set < 44 || set >= 256;
    EXPECT_LT(table[set].size(), halved ? 20u : 32u) << set;
  }
}

}  // namespace
}  // namespace foreshard::policy
