// Shows that pages are counted as a set would count them.
#include "policy/replay/page_census.h"

#include <gtest/gtest.h>

#include <set>

#include "base/random.h"

namespace foreshard::policy {
namespace {

TEST(PageCensus, CountsAsASetDoes) {
  Random random(1);
  PageCensus census;
  std::set<uint64_t> model;
  for (int i = 0; i < 5000; ++i) {
    const uint64_t first = random.below(20000) + (random.below(3) << 44), pages = 1 + random.below(600);
    census.add(first, pages);
    for (uint64_t page = first; page < first + pages; ++page) model.insert(page);
    if (i % 500 == 0) ASSERT_EQ(census.pages(), model.size());
  }
  EXPECT_EQ(census.pages(), model.size());
}

}  // namespace
}  // namespace foreshard::policy
