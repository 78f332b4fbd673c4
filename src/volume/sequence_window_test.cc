// The window's mark against a plain set: it is always one below the oldest number that has not ended.
#include "volume/sequence_window.h"

#include <set>

#include <gtest/gtest.h>

#include "base/random.h"

namespace foreshard::volume {
namespace {

TEST(SequenceWindow, MarksWhereAllHaveEnded) {
  Random random(4);
  SequenceWindow window;
  std::set<uint64_t> under_way;
  uint64_t next = 1;
  for (int step = 0; step < 20000; ++step) {
    if (under_way.empty() || random.chance(under_way.size() < 50 ? 0.6 : 0.3)) {
      ASSERT_EQ(window.begin(), next);
      under_way.insert(next++);
    } else {
      auto one = under_way.begin();
      std::advance(one, static_cast<int64_t>(random.below(under_way.size())));
      window.end(*one);
      under_way.erase(one);
    }
    ASSERT_EQ(window.ended_through(), under_way.empty() ? next - 1 : *under_way.begin() - 1);
  }
}

}  // namespace
}  // namespace foreshard::volume
