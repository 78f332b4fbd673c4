// Shows that interleaved streams are told apart as long as they are far from each other and few enough, and that the
// one not used for longest gives way.
#include "policy/predict/neural/stream_splitter.h"

#include <gtest/gtest.h>

#include <map>

#include "base/random.h"

namespace foreshard::policy {
namespace {

TEST(StreamSplitter, TellsInterleavedStreamsApart) {
  StreamSplitter splitter(64, 16);
  Random random(1);
  std::vector<uint64_t> ends;
  for (uint64_t i = 0; i < 16; ++i) ends.push_back((i + 1) << 20);
  std::map<size_t, uint32_t> chosen;
  for (int i = 0; i < 5000; ++i) {
    const size_t which = random.below(ends.size());
    const uint64_t first = ends[which] + random.below(129) - 64;
    const auto pages = static_cast<uint32_t>(random.between(1, 8));
    const StreamSplitter::Choice choice = splitter.choose(first, pages);
    ends[which] = first + pages;
    EXPECT_EQ(choice.fresh, !chosen.contains(which));
    const auto known = chosen.emplace(which, choice.stream).first;
    ASSERT_EQ(known->second, choice.stream);
  }
  EXPECT_EQ(chosen.size(), 16u);
}

TEST(StreamSplitter, TheLongestUnusedGivesWay) {
  StreamSplitter splitter(8, 2);
  EXPECT_EQ(splitter.choose(1000, 1).stream, 0u);
  EXPECT_EQ(splitter.choose(2000, 1).stream, 1u);
  EXPECT_FALSE(splitter.choose(1001, 1).fresh);
  const StreamSplitter::Choice third = splitter.choose(3000, 1);
  EXPECT_TRUE(third.fresh);
  EXPECT_EQ(third.stream, 1u);
  EXPECT_FALSE(splitter.choose(1002, 1).fresh);
}

TEST(StreamSplitter, WithoutNearnessAllIsOne) {
  StreamSplitter splitter(0, 64);
  EXPECT_TRUE(splitter.choose(5, 1).fresh);
  for (uint64_t page : {9ull, 1ull << 40, 0ull}) {
    const StreamSplitter::Choice choice = splitter.choose(page, 1);
    EXPECT_FALSE(choice.fresh);
    EXPECT_EQ(choice.stream, 0u);
  }
}

}  // namespace
}  // namespace foreshard::policy
