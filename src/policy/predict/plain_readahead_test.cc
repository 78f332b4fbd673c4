// Shows that interleaved streams are read ahead, in windows within their bound and each page once, and that requests
// in no order propose nothing.
#include "policy/predict/plain_readahead.h"

#include <gtest/gtest.h>

#include <set>

#include "base/random.h"

namespace foreshard::policy {
namespace {

std::vector<Candidate> observe(Predictor& predictor, uint64_t first, uint32_t pages, bool write = false) {
  Observation observation;
  observation.first_page = first;
  observation.pages = pages;
  observation.write = write;
  std::vector<Candidate> candidates;
  predictor.observe(observation, candidates);
  return candidates;
}

TEST(PlainReadahead, InterleavedStreamsAreReadAheadEachPageOnce) {
  for (const uint32_t window_max : {8u, 32u}) {
    for (const uint32_t pages : {1u, 3u, 8u}) {
      PlainReadahead readahead(window_max);
      std::set<uint64_t> proposed;
      uint64_t uncovered = 0;
      for (uint64_t step = 0; step < 200; ++step) {
        for (uint64_t stream = 0; stream < PlainReadahead::kStreams; ++stream) {
          const uint64_t first = stream * 1'000'000 + step * pages;
          for (uint32_t i = 0; i < pages; ++i) uncovered += !proposed.contains(first + i);
          for (const Candidate& candidate : observe(readahead, first, pages)) {
            EXPECT_LE(candidate.pages, window_max);
            EXPECT_GE(candidate.first_page, first + pages);
            EXPECT_LE(candidate.first_page + candidate.pages, first + pages + 2 * window_max);
            for (uint32_t i = 0; i < candidate.pages; ++i) {
              EXPECT_TRUE(proposed.insert(candidate.first_page + i).second);
            }
          }
        }
      }
      // The first two requests of each stream.
      EXPECT_LE(uncovered, 2 * pages * PlainReadahead::kStreams) << window_max << " " << pages;
    }
  }
}

TEST(PlainReadahead, TheWindowGrowsToItsBound) {
  PlainReadahead readahead;
  uint32_t largest = 0, last = 0;
  for (uint64_t page = 0; page < 300; ++page) {
    for (const Candidate& candidate : observe(readahead, page, 1)) {
      EXPECT_GE(candidate.pages, last);
      largest = last = candidate.pages;
    }
  }
  EXPECT_EQ(largest, 32u);
}

TEST(PlainReadahead, OneStreamTooManyPushesOutTheLeastUsed) {
  PlainReadahead readahead;
  for (uint64_t stream = 0; stream <= PlainReadahead::kStreams; ++stream) observe(readahead, stream * 1000, 1);
  EXPECT_FALSE(observe(readahead, PlainReadahead::kStreams * 1000 + 1, 1).empty());
  EXPECT_TRUE(observe(readahead, 1, 1).empty());
}

TEST(PlainReadahead, NoOrderAndWritesProposeNothing) {
  PlainReadahead readahead;
  Random random(1);
  size_t proposed = 0;
  for (int i = 0; i < 10000; ++i) proposed += observe(readahead, random.below(uint64_t{1} << 40), 4).size();
  EXPECT_EQ(proposed, 0u);
  for (uint64_t page = 0; page < 100; ++page) EXPECT_TRUE(observe(readahead, page, 1, true).empty());
}

}  // namespace
}  // namespace foreshard::policy
