// Proves that a session seen before is recognised, in another order too, and proposed from where it stands as far ahead
// as a fetch takes; that one never seen is not; and that recordings come back as they were saved, within their bounds.
#include "policy/predict/fingerprint.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/random.h"

namespace foreshard::policy {
namespace {

constexpr uint64_t kMs = 1'000'000;

std::vector<uint64_t> random_pages(uint64_t seed, size_t count) {
  Random random(seed);
  std::vector<uint64_t> pages;
  for (size_t i = 0; i < count; ++i) pages.push_back(random.below(1u << 30));
  return pages;
}

class Session {
 public:
  explicit Session(FingerprintPredictor& predictor) : predictor_(predictor) {}
  // Reads a page 1 ms after the last one; what was proposed then.
  std::vector<Candidate> read(uint64_t page, uint64_t fetch_latency_ns = 0) {
    Observation observation;
    observation.time_ns = now_ns_ += kMs;
    observation.volume = VolumeId{1};
    observation.first_page = page;
    observation.pages = 1;
    observation.missed_pages = 1;
    observation.fetch_latency_ns = fetch_latency_ns;
    std::vector<Candidate> candidates;
    predictor_.observe(observation, candidates);
    return candidates;
  }
  // How many of the pages had been proposed before they were read.
  size_t foreseen(const std::vector<uint64_t>& pages) {
    std::set<uint64_t> proposed;
    size_t count = 0;
    for (const uint64_t page : pages) {
      count += proposed.contains(page);
      for (const Candidate& candidate : read(page)) proposed.insert(candidate.first_page);
    }
    return count;
  }
  void pause() { now_ns_ += FingerprintPredictor::kPauseNs; }

 private:
  FingerprintPredictor& predictor_;
  uint64_t now_ns_ = kMs;
};

std::vector<Recording> recording_of(const std::vector<uint64_t>& pages) {
  FingerprintPredictor predictor;
  Session session(predictor);
  for (const uint64_t page : pages) session.read(page);
  return predictor.recordings();
}

TEST(Fingerprint, ABootIsForeseenByAnotherDriver) {
  const std::vector<uint64_t> boot = random_pages(1, 600);
  FingerprintPredictor predictor;
  predictor.restore(recording_of(boot));
  Session session(predictor);
  EXPECT_GE(session.foreseen(boot), 595u);
  EXPECT_EQ(predictor.recognised(), 1u);
}

// Eight requests under way at a time come in any order among themselves.
TEST(Fingerprint, AnotherOrderIsRecognised) {
  const std::vector<uint64_t> boot = random_pages(2, 600);
  std::vector<uint64_t> shuffled = boot;
  Random random(3);
  for (size_t first = 0; first < shuffled.size(); first += 8) {
    for (size_t i = 7; i > 0; --i) std::swap(shuffled[first + i], shuffled[first + random.below(i + 1)]);
  }
  FingerprintPredictor predictor;
  predictor.restore(recording_of(boot));
  Session session(predictor);
  EXPECT_GE(session.foreseen(shuffled), 560u);
}

TEST(Fingerprint, WhatWasNeverSeenIsNotProposed) {
  FingerprintPredictor predictor;
  predictor.restore(recording_of(random_pages(4, 600)));
  Session session(predictor);
  size_t proposed = 0;
  for (const uint64_t page : random_pages(5, 600)) proposed += session.read(page).size();
  EXPECT_EQ(proposed, FingerprintPredictor::kOpening);
  EXPECT_EQ(predictor.recognised(), 0u);
}

TEST(Fingerprint, AJobIsRecognisedAfterAPause) {
  const std::vector<uint64_t> job = random_pages(6, 300);
  FingerprintPredictor predictor;
  Session session(predictor);
  session.foreseen(random_pages(7, 100));
  session.pause();
  EXPECT_EQ(session.foreseen(job), 0u);
  session.pause();
  EXPECT_GE(session.foreseen(job), 290u);
  EXPECT_EQ(predictor.recordings().size(), 2u) << "the second time is no other job";
}

TEST(Fingerprint, LooksAsFarAheadAsAFetchTakes) {
  const std::vector<uint64_t> boot = random_pages(8, 600);
  const auto furthest = [&](uint64_t latency_ns) {
    FingerprintPredictor predictor;
    predictor.restore(recording_of(boot));
    Session session(predictor);
    std::ptrdiff_t ahead = 0;
    for (size_t i = 0; i < 200; ++i) {
      for (const Candidate& candidate : session.read(boot[i], latency_ns)) {
        const auto position = std::find(boot.begin(), boot.end(), candidate.first_page) - boot.begin();
        ahead = std::max(ahead, position - static_cast<std::ptrdiff_t>(i));
      }
    }
    return ahead;
  };
  EXPECT_LE(furthest(1 * kMs), 2 * static_cast<std::ptrdiff_t>(FingerprintPredictor::kAheadMin));
  EXPECT_GE(furthest(50 * kMs), 95);
  EXPECT_LE(furthest(1'000'000 * kMs), static_cast<std::ptrdiff_t>(FingerprintPredictor::kAheadMax) + 1);
}

TEST(Fingerprint, RecordingsAreBoundedAndTheNewestStay) {
  FingerprintPredictor predictor;
  Session session(predictor);
  for (uint64_t job = 0; job < 2 * FingerprintPredictor::kRecordingsMax; ++job) {
    session.foreseen(random_pages(100 + job, 64));
    session.pause();
  }
  session.foreseen(random_pages(10, FingerprintPredictor::kRequestsMax * 2));
  const std::vector<Recording> recordings = predictor.recordings();
  ASSERT_EQ(recordings.size(), FingerprintPredictor::kRecordingsMax);
  EXPECT_EQ(recordings.back().requests.size(), FingerprintPredictor::kRequestsMax);
  EXPECT_EQ(recordings.front().requests.front().first_page,
            random_pages(100 + FingerprintPredictor::kRecordingsMax + 1, 1).front());
  FingerprintPredictor other;
  other.restore(recordings);
  EXPECT_EQ(other.recordings(), recordings);
}

TEST(Fingerprint, ARecordingThatCannotBeIsTakenWithoutHarm) {
  Recording recording;
  recording.requests = {{UINT64_MAX, 1, 0}, {5, 0, 0}, {kPageNumbers - 1, 9, 0}, {7, 1, UINT32_MAX}, {8, 1, 0}};
  FingerprintPredictor predictor;
  predictor.restore(std::vector<Recording>(100, recording));
  EXPECT_EQ(predictor.known(), FingerprintPredictor::kRecordingsMax);
  Session session(predictor);
  for (const uint64_t page : {7ul, 8ul, 7ul, 8ul}) session.read(page, UINT64_MAX / 4);
}

// More jobs than there are recordings come and go, alike and different, some with pages in common.
TEST(Fingerprint, KnowsTheLastJobsThroughoutALongLife) {
  FingerprintPredictor predictor;
  Session session(predictor);
  Random random(8);
  constexpr size_t kJobs = 24, kLength = 300;
  std::vector<std::vector<uint64_t>> jobs;
  const std::vector<uint64_t> common = random_pages(99, 50);
  for (size_t job = 0; job < kJobs; ++job) {
    jobs.push_back(random_pages(job + 1, kLength));
    std::copy(common.begin(), common.end(), jobs.back().begin() + 100);
  }
  std::vector<size_t> order;  // of their last runs, the latest last
  for (int run = 0; run < 300; ++run) {
    const auto job = static_cast<size_t>(random.below(kJobs));
    const auto known = std::find(order.rbegin(), order.rend(), job);
    const auto ago = static_cast<size_t>(known - order.rbegin());
    std::vector<uint64_t> pages = jobs[job];
    // It changes from run to run, by less than what makes it another one.
    for (int i = 0; i < 10; ++i) pages[150 + random.below(150)] = random.below(1u << 30);
    const size_t foreseen = session.foreseen(pages);
    // The present session is one more than those kept.
    if (known == order.rend() || ago > FingerprintPredictor::kRecordingsMax) {
      EXPECT_LT(foreseen, kLength / 3) << run;
    } else if (ago < FingerprintPredictor::kRecordingsMax - 1) {
      EXPECT_GT(foreseen, kLength * 2 / 3) << run;
    }
    if (known != order.rend()) order.erase(std::next(known).base());
    order.push_back(job);
    session.pause();
    EXPECT_LE(predictor.known(), FingerprintPredictor::kRecordingsMax);
  }
}

}  // namespace
}  // namespace foreshard::policy
