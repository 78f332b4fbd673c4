// Shows that the requests that continue a stream are proposed, also when many streams are interleaved, skip a little
// or run a little out of order; that a proven stream looks as far ahead as a fetch takes, in pieces that do not
// overlap and within its bound; and that nothing is ever proposed that lies behind the request.
#include "policy/predict/sequential.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "base/random.h"

namespace foreshard::policy {
namespace {

struct Watcher {
  explicit Watcher(uint32_t room = SequentialPredictor::kAheadPagesMax) : predictor(room) {}
  const std::vector<Candidate>& read(uint64_t first, uint32_t pages) {
    Observation observation;
    observation.time_ns = time_ns += interval_ns;
    observation.first_page = first;
    observation.pages = pages;
    observation.missed_pages = pages;
    observation.outstanding_pages = outstanding_pages;
    observation.fetch_latency_ns = fetch_latency_ns;
    candidates.clear();
    predictor.observe(observation, candidates);
    for (const Candidate& candidate : candidates) {
      EXPECT_GE(candidate.first_page, first + pages);
      EXPECT_GE(candidate.pages, 1u);
      for (uint32_t i = 0; i < candidate.pages; ++i) ahead.insert(candidate.first_page + i);
      furthest = std::max(furthest, candidate.first_page + candidate.pages);
    }
    return candidates;
  }
  bool covers(uint64_t first, uint32_t pages) const {
    for (uint64_t page = first; page < first + pages; ++page) {
      if (!ahead.contains(page)) return false;
    }
    return true;
  }
  SequentialPredictor predictor;
  std::vector<Candidate> candidates;
  std::set<uint64_t> ahead;  // every page proposed so far
  uint64_t furthest = 0;
  uint64_t outstanding_pages = 0, fetch_latency_ns = 0, interval_ns = 0, time_ns = 0;
};

TEST(Sequential, TheNextTwoRequestsAreProposedAfterEveryRequest) {
  Watcher watcher;
  for (uint64_t first = 1000; first < 5000; first += 4) {
    watcher.read(first, 4);
    EXPECT_TRUE(watcher.covers(first + 4, 8)) << first;
    EXPECT_LE(watcher.furthest, first + 4 + SequentialPredictor::kAheadPagesMax);
  }
}

// Each costs as much as many small ones where the stream ends here, and spares no more.
TEST(Sequential, OfLargeRequestsOnlyTheNextIsProposedUntilTheStreamIsProven) {
  constexpr uint32_t kPages = SequentialPredictor::kAlonePages;
  Watcher watcher;
  for (uint64_t first = 0; first < 4 * kPages; first += kPages) {
    watcher.read(first, kPages);
    EXPECT_EQ(watcher.furthest, first + 2 * kPages);
    EXPECT_TRUE(watcher.covers(first + kPages, kPages));
  }
  for (uint64_t first = 4 * kPages; first < 20 * kPages; first += kPages) watcher.read(first, kPages);
  EXPECT_GE(watcher.furthest, 22 * kPages);
}

TEST(Sequential, AYoungStreamOfSmallRequestsLooksSomePagesAhead) {
  Watcher watcher;
  const std::array<uint64_t, 6> furthest = {2, 2, 4, 8, 16, 16};  // pages ahead, after each request
  for (uint64_t page = 0; page < furthest.size(); ++page) {
    watcher.read(7000 + page, 1);
    EXPECT_EQ(watcher.furthest, 7001 + page + furthest[page]) << page;
    EXPECT_TRUE(watcher.covers(7001 + page, static_cast<uint32_t>(furthest[page])));
  }
}

TEST(Sequential, APieceFurtherAheadIsProposedOnce) {
  Watcher watcher;
  std::set<uint64_t> in_pieces;
  for (uint64_t page = 0; page < 2000; ++page) {
    const std::vector<Candidate>& candidates = watcher.read(page, 1);
    for (const Candidate& candidate : candidates) {
      EXPECT_LE(candidate.pages, SequentialPredictor::kPiecePagesMax);
      EXPECT_EQ(candidate.request_pages, 1u);
      if (candidate.first_page < page + 1 + SequentialPredictor::kWindowPagesMax) continue;
      for (uint32_t j = 0; j < candidate.pages; ++j) {
        EXPECT_TRUE(in_pieces.insert(candidate.first_page + j).second) << page;
      }
    }
  }
  EXPECT_GE(in_pieces.size(), 1900u);
}

TEST(Sequential, AProvenStreamLooksAsFarAheadAsAFetchTakes) {
  uint64_t ahead[2];
  for (const bool far : {false, true}) {
    Watcher watcher;
    watcher.interval_ns = 1'000'000;
    watcher.fetch_latency_ns = far ? 50'000'000 : 0;
    for (uint64_t i = 0; i < 300; ++i) watcher.read(i * 2, 2);
    ahead[far] = watcher.furthest - 600;
  }
  EXPECT_GE(ahead[1], 100u);  // the 50 requests that come while a fetch is on its way
  EXPECT_LT(ahead[0], ahead[1]);
  // However far away the data is, and however fast the reader.
  Watcher watcher;
  watcher.interval_ns = 1;
  watcher.fetch_latency_ns = uint64_t{1} << 63;
  for (uint64_t i = 0; i < 3000; ++i) watcher.read(i, 1);
  EXPECT_GT(watcher.furthest, 3000 + SequentialPredictor::kAheadPagesMax / 4);
  EXPECT_LE(watcher.furthest, 3000 + SequentialPredictor::kAheadPagesMax);
}

TEST(Sequential, NothingIsProposedBeyondTheRoomThatThereIs) {
  Watcher small(16);
  for (uint64_t i = 0; i < 200; ++i) {
    small.read(i * 12, 12);
    EXPECT_LE(small.furthest, (i + 1) * 12 + 16);
  }
  // To a client that has more than that under way itself only its next requests are proposed.
  Watcher deep;
  deep.outstanding_pages = SequentialPredictor::kAheadPagesMax + 1;
  for (uint64_t page = 0; page < 200; ++page) {
    EXPECT_LE(deep.read(page, 1).size(), SequentialPredictor::kStepsAlways);
  }
}

TEST(Sequential, WhatLiesFarAheadIsProposedOnce) {
  Watcher watcher;
  std::map<uint64_t, int> proposed;  // times each page was
  for (uint64_t page = 0; page < 2000; ++page) {
    for (const Candidate& candidate : watcher.read(page, 1)) {
      for (uint32_t i = 0; i < candidate.pages; ++i) ++proposed[candidate.first_page + i];
    }
  }
  // Once far ahead in a piece, and as each of the next requests.
  for (uint64_t page = 500; page < 1500; ++page) {
    EXPECT_EQ(proposed[page], 1 + static_cast<int>(SequentialPredictor::kStepsAlways)) << page;
  }
}

TEST(Sequential, ManyInterleavedStreamsAreKeptApart) {
  Watcher watcher;
  uint64_t covered = 0;
  for (uint64_t step = 0; step < 64; ++step) {
    for (uint64_t stream = 0; stream < SequentialPredictor::kStreams; ++stream) {
      const uint64_t first = stream * 1'000'000 + step * 2;
      covered += watcher.covers(first, 2);
      for (const Candidate& candidate : watcher.read(first, 2)) EXPECT_EQ(candidate.first_page / 1'000'000, stream);
      EXPECT_EQ(watcher.predictor.run(), step);
    }
  }
  EXPECT_EQ(covered, 63 * SequentialPredictor::kStreams);
}

TEST(Sequential, ADeepQueueMayReorderAStream) {
  Watcher watcher;
  uint64_t covered = 0;
  for (uint64_t group = 0; group < 100; ++group) {
    for (const uint64_t place : {1, 0, 3, 2}) {
      const uint64_t first = (group * 4 + place) * 4;
      covered += watcher.covers(first, 4);
      watcher.read(first, 4);
    }
  }
  EXPECT_GE(covered, 290u);  // three of four at least
}

TEST(Sequential, AStreamMaySkipAFewPagesButNotMany) {
  Watcher near, far;
  for (uint64_t i = 0; i < 50; ++i) {
    near.read(i * (2 + SequentialPredictor::kGapPagesMax), 2);
    far.read(i * (3 + SequentialPredictor::kGapPagesMax), 2);
    EXPECT_EQ(near.predictor.run(), i);
    EXPECT_EQ(far.predictor.run(), 0u);
  }
}

TEST(Sequential, RandomRequestsStartNoRun) {
  Watcher watcher;
  Random random(3);
  uint64_t runs = 0;
  for (int i = 0; i < 20000; ++i) {
    EXPECT_LE(watcher.read(random.below(1u << 26), 1).size(), SequentialPredictor::kStepsAlways);
    runs += watcher.predictor.run() != 0;
  }
  EXPECT_LE(runs, 1000u);
}

TEST(Sequential, NothingIsProposedBehindARequestAndNeverMuch) {
  Watcher watcher;  // whose read() checks the former
  Random random(8);
  uint64_t first = 0;
  for (int i = 0; i < 20000; ++i) {
    const auto pages = static_cast<uint32_t>(random.between(1, 40));
    first = random.chance(0.7) ? first + random.below(60) : random.below(2000);
    EXPECT_LE(watcher.read(first, pages).size(),
              SequentialPredictor::kStepsAlways +
                  SequentialPredictor::kAheadPagesMax / SequentialPredictor::kPiecePagesMax + 1);
  }
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
  EXPECT_EQ(predictor.run(), 0u);
}

TEST(Sequential, LargeRequestsThatDoNotStartOnAPageAreAStreamToo) {
  Watcher watcher;
  for (uint64_t request = 0; request < 20; ++request) {
    if (request > 1) EXPECT_TRUE(watcher.covers(request * 32, 33)) << request;
    watcher.read(request * 32, 33);
    EXPECT_EQ(watcher.predictor.run(), request);
    EXPECT_EQ(watcher.predictor.previous_pages(), request == 0 ? 0u : 33u);
  }
}

}  // namespace
}  // namespace foreshard::policy
