// Shows that streams are found, also when many are interleaved and a little out of order, that their windows grow and
// come in time, that pages are proposed once and only ahead, and that random requests start nothing.
#include "policy/predict/sequential.h"

#include <gtest/gtest.h>

#include <set>

namespace foreshard::policy {
namespace {

constexpr float kGuess = 0.2f;  // what a first request proposes lies below

struct Watcher {
  // Returns the pages that were proposed with more than a guess's confidence.
  std::vector<uint64_t> read(uint64_t first, uint32_t pages) {
    Observation observation;
    observation.first_page = first;
    observation.pages = pages;
    observation.missed_pages = pages;
    observation.outstanding_pages = outstanding_pages;
    candidates.clear();
    predictor.observe(observation, candidates);
    std::vector<uint64_t> proposed;
    for (const Candidate& candidate : candidates) {
      if (candidate.confidence < kGuess) continue;
      for (uint32_t i = 0; i < candidate.pages; ++i) proposed.push_back(candidate.first_page + i);
    }
    return proposed;
  }
  SequentialPredictor predictor;
  std::vector<Candidate> candidates;
  uint64_t outstanding_pages = 0;
};

TEST(Sequential, AStreamIsFoundAtItsSecondRequestAndThenCoveredAheadOfItself) {
  Watcher watcher;
  EXPECT_TRUE(watcher.read(1000, 1).empty());
  std::set<uint64_t> ahead;
  for (uint64_t page = 1001; page < 3000; ++page) {
    if (page > 1001) EXPECT_TRUE(ahead.contains(page)) << page;
    for (const uint64_t proposed : watcher.read(page, 1)) {
      EXPECT_GT(proposed, page);
      EXPECT_TRUE(ahead.insert(proposed).second) << "proposed twice: " << proposed;
    }
    // In time: the next request is never the first that was not proposed.
    EXPECT_TRUE(ahead.contains(page + 1));
  }
  EXPECT_LE(*ahead.rbegin(), 3000 + 2 * SequentialPredictor::kWindowPagesProvenMax);
}

TEST(Sequential, NothingIsProposedToAClientThatReadsFurtherAheadThanThereIsRoom) {
  Watcher small{SequentialPredictor(16), {}, 17};
  for (uint64_t page = 0; page < 10; ++page) EXPECT_TRUE(small.read(page, 1).empty()) << page;
  small.outstanding_pages = 16;
  EXPECT_FALSE(small.read(10, 1).empty());
  // With room for more than that there is.
  Watcher large;
  large.outstanding_pages = 17;
  size_t proposed = 0;
  for (uint64_t page = 0; page < 10; ++page) proposed += large.read(page, 1).size();
  EXPECT_GT(proposed, 0u);
}

TEST(Sequential, TheWindowDoublesUpToItsBound) {
  Watcher watcher;
  std::vector<size_t> windows;
  for (uint64_t page = 0; page < 200; ++page) {
    const size_t pages = watcher.read(page, 1).size();
    if (pages != 0) windows.push_back(pages);
  }
  ASSERT_GE(windows.size(), 5u);
  EXPECT_EQ(windows[0], 4u);
  for (size_t i = 1; i < windows.size(); ++i) {
    EXPECT_EQ(windows[i], std::min<size_t>(windows[i - 1] * 2, SequentialPredictor::kWindowPagesMax));
  }
}

TEST(Sequential, ManyInterleavedStreamsAreKeptApart) {
  Watcher watcher;
  std::set<uint64_t> ahead;
  uint64_t covered = 0;
  for (uint64_t step = 0; step < 64; ++step) {
    for (uint64_t stream = 0; stream < SequentialPredictor::kStreams; ++stream) {
      const uint64_t first = stream * 1'000'000 + step * 2;
      covered += ahead.contains(first) && ahead.contains(first + 1);
      for (const uint64_t page : watcher.read(first, 2)) {
        EXPECT_EQ(page / 1'000'000, stream);
        ahead.insert(page);
      }
    }
  }
  // All but the first two requests of each stream.
  EXPECT_EQ(covered, 62 * SequentialPredictor::kStreams);
}

TEST(Sequential, ADeepQueueMayReorderAProvenStream) {
  Watcher watcher;
  std::set<uint64_t> ahead;
  for (uint64_t request = 0; request < 8; ++request) {
    for (const uint64_t page : watcher.read(request * 4, 4)) ahead.insert(page);
  }
  uint64_t covered = 0;
  for (uint64_t group = 2; group < 100; ++group) {
    for (const uint64_t place : {1, 0, 3, 2}) {
      const uint64_t first = (group * 4 + place) * 4;
      covered += ahead.contains(first);
      for (const uint64_t page : watcher.read(first, 4)) ahead.insert(page);
    }
  }
  EXPECT_GE(covered, 98u * 4 - 4);
}

TEST(Sequential, RandomRequestsProposeOnlyGuesses) {
  Watcher watcher;
  Random random(3);
  uint64_t proposed = 0;
  for (int i = 0; i < 20000; ++i) proposed += watcher.read(random.below(1u << 26), 1).size();
  EXPECT_LE(proposed, 10u);
}

TEST(Sequential, WritesAreNotStreams) {
  SequentialPredictor predictor;
  std::vector<Candidate> candidates;
  for (uint64_t page = 0; page < 100; ++page) {
    Observation observation;
    observation.first_page = page;
    observation.pages = 1;
    observation.write = true;
    predictor.observe(observation, candidates);
  }
  EXPECT_TRUE(candidates.empty());
}

TEST(Sequential, ItAwaitsTheNextRequestOfEachStream) {
  Watcher watcher;
  for (uint64_t stream = 0; stream < 8; ++stream) watcher.read(stream * 1000, 4);
  uint64_t awaited = 0;
  for (uint64_t stream = 0; stream < 8; ++stream) awaited += watcher.predictor.awaits(stream * 1000 + 4);
  EXPECT_GE(awaited, 7u);  // two may share a place in the table
  EXPECT_FALSE(watcher.predictor.awaits(17));
}

TEST(Sequential, LargeRequestsThatDoNotStartOnAPageAreAStreamToo) {
  Watcher watcher;
  std::set<uint64_t> ahead;
  for (uint64_t request = 0; request < 20; ++request) {
    const uint64_t first = request * 32;
    if (request > 1) EXPECT_TRUE(ahead.contains(first + 32)) << request;
    for (const uint64_t page : watcher.read(first, 33)) ahead.insert(page);
  }
}

}  // namespace
}  // namespace foreshard::policy
