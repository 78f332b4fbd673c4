// Shows that what the log proposes is exactly what a plain list of all requests says: what followed the last two
// occurrences of the request among the newest entries, in the same volume, and further where more of the past matched;
// also when the ring has turned many times and several volumes are interleaved.
#include "policy/predict/log_replay.h"

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <tuple>
#include <vector>

#include "base/random.h"

namespace foreshard::policy {
namespace {

struct Request {
  uint64_t volume = 0, first_page = 0;
  uint32_t pages = 0;
};
struct Expected {
  uint64_t first_page;
  uint32_t pages;
  uint8_t rank;
};

// All requests there ever were; everything is searched for anew, from the newest on.
class PlainList {
 public:
  explicit PlainList(uint64_t entries_max) : entries_max_(entries_max) {}
  std::vector<Expected> observe(const Request& request) {
    const size_t now = requests_.size();
    requests_.push_back(request);
    matches_.push_back(0);
    next_of_.push_back(now);
    const std::optional<size_t> before = last(request.volume);
    if (before) next_of_[*before] = now;
    last_of_[request.volume] = now;
    const std::optional<size_t> first = occurrence(request.first_page, now);
    if (!first) return {};
    if (before) matches_[now] = match(*before, *first);
    std::vector<Expected> result;
    follow(*first, 0,
           matches_[now] >= LogReplayPredictor::kMatchTrusted ? LogReplayPredictor::kStepsTrusted
                                                              : LogReplayPredictor::kSteps,
           matches_[now] == 0                                   ? 0u
           : matches_[now] == LogReplayPredictor::kMatchTrusted ? LogReplayPredictor::kSteps
                                                                : 1000u,
           result);
    if (const std::optional<size_t> second = occurrence(request.first_page, *first))
      follow(*second, 1, LogReplayPredictor::kSteps, 1000, result);
    return result;
  }

 private:
  bool remembered(size_t number) const { return requests_.size() - number <= entries_max_; }
  std::optional<size_t> last(uint64_t volume) const {
    const auto known = last_of_.find(volume);
    if (known == last_of_.end() || !remembered(known->second)) return std::nullopt;
    return known->second;
  }
  std::optional<size_t> occurrence(uint64_t first_page, size_t before) const {
    for (size_t i = before; i-- > 0 && remembered(i);) {
      if (requests_[i].first_page == first_page) return i;
    }
    return std::nullopt;
  }
  // How many requests of the volume up to `before` also came before `occurrence`; up to three may have come in between.
  uint32_t match(size_t before, size_t occurrence_of_now) const {
    const std::optional<size_t> past = occurrence(requests_[before].first_page, before);
    if (!past) return 0;
    size_t at = *past;
    for (int step = 0; step < 4; ++step) {
      if (next_of_[at] == at) return 0;
      at = next_of_[at];
      if (at == occurrence_of_now) return matches_[before] + 1;
    }
    return 0;
  }
  void follow(size_t from, uint8_t rank, uint32_t steps, uint32_t all_beyond, std::vector<Expected>& result) const {
    size_t at = from;
    for (uint32_t step = 1; step <= steps && next_of_[at] != at; ++step) {
      at = next_of_[at];
      if (at + 1 == requests_.size()) return;  // the request itself
      if (step <= all_beyond && step != 1 && step != 2 && step % 4 != 0) continue;
      result.push_back({requests_[at].first_page, requests_[at].pages, rank});
    }
  }

  const uint64_t entries_max_;
  std::vector<Request> requests_;
  std::vector<uint32_t> matches_;
  std::vector<size_t> next_of_;  // in the same volume; itself: none yet
  std::map<uint64_t, size_t> last_of_;
};

std::vector<Candidate> observe(LogReplayPredictor& log, const Request& request) {
  Observation observation;
  observation.volume = VolumeId{request.volume};
  observation.first_page = request.first_page;
  observation.pages = request.pages;
  std::vector<Candidate> candidates;
  log.observe(observation, candidates);
  return candidates;
}

// Where a fetch takes long, what is proposed lies far enough ahead, and most of it once only.
TEST(LogReplay, LooksAsFarAheadAsAFetchTakes) {
  for (const auto& [latency_us, ahead_min, ahead_max] :
       {std::tuple{100u, 12u, 17u}, std::tuple{20'000u, 38u, 42u}, std::tuple{10'000'000u, 90u, 97u}}) {
    LogReplayPredictor log;
    uint64_t proposed = 0, ahead = 0;
    constexpr uint64_t kRequests = 1000;
    for (uint64_t i = 0; i < 2 * kRequests; ++i) {
      Observation observation;
      observation.time_ns = (i + 1) * 1'000'000;
      observation.volume = VolumeId{1};
      observation.first_page = mix64(i % kRequests) >> 8;
      observation.pages = 1;
      observation.fetch_latency_ns = uint64_t{latency_us} * 1000;
      std::vector<Candidate> candidates;
      log.observe(observation, candidates);
      if (i < kRequests + 100 || i > kRequests + 800) continue;
      proposed += candidates.size();
      for (uint64_t step = 1; step <= 100; ++step) {
        if (!candidates.empty() && candidates.back().first_page == mix64((i + step) % kRequests) >> 8) ahead = step;
      }
    }
    EXPECT_GE(ahead, ahead_min) << latency_us;
    EXPECT_LE(ahead, ahead_max) << latency_us;
    EXPECT_LE(proposed, 700 * 20u) << latency_us;
  }
}

// Sequences that recur, with a little left out, put in and mixed with each other.
struct Traffic {
  Traffic(uint64_t seed, uint64_t volumes, uint64_t different, bool apart) : random(seed) {
    for (uint64_t volume = 0; volume < volumes; ++volume) {
      for (int i = 0; i < 3; ++i) {
        std::vector<Request> program;
        for (int j = 0; j < 25; ++j) program.push_back(request(volume, different, apart));
        programs.push_back(program);
      }
    }
    next.resize(volumes, 0);
    running.resize(volumes, 0);
    this->different = different;
    this->apart = apart;
  }
  Request request(uint64_t volume, uint64_t pages, bool kept_apart) {
    const uint64_t page = random.below(pages);
    return {volume + 1, kept_apart ? (volume << 40) + page : page, static_cast<uint32_t>(random.between(1, 9))};
  }
  Request operator()() {
    const size_t volume = random.below(next.size());
    if (random.chance(0.05)) return request(volume, different, apart);
    const std::vector<Request>& program = programs[volume * 3 + running[volume]];
    next[volume] += random.chance(0.05) ? 2 : 1;
    if (next[volume] >= program.size()) {
      next[volume] = 0;
      running[volume] = random.below(3);
    }
    return programs[volume * 3 + running[volume]][next[volume]];
  }
  Random random;
  std::vector<std::vector<Request>> programs;
  std::vector<size_t> next, running;
  uint64_t different = 0;
  bool apart = false;
};

TEST(LogReplay, IsWhatAPlainListOfAllRequestsSays) {
  uint64_t compared = 0;
  for (const uint32_t entries_max : {1u, 2u, 16u, 64u, 512u, 4096u}) {
    for (const uint64_t volumes : {1, 3}) {
      for (const bool apart : {false, true}) {
        LogReplayPredictor log(entries_max);
        PlainList list(entries_max);
        Traffic traffic(entries_max + volumes * 2 + apart, volumes, 60, apart);
        for (int i = 0; i < 6000; ++i) {
          const Request request = traffic();
          const std::vector<Candidate> candidates = observe(log, request);
          const std::vector<Expected> expected = list.observe(request);
          ASSERT_EQ(candidates.size(), expected.size()) << entries_max << " " << volumes << " " << i;
          for (size_t j = 0; j < expected.size(); ++j) {
            ASSERT_EQ(candidates[j].first_page, expected[j].first_page) << entries_max << " " << volumes << " " << i;
            ASSERT_EQ(candidates[j].pages, expected[j].pages);
            ASSERT_EQ(candidates[j].rank, expected[j].rank);
          }
          compared += expected.size();
        }
      }
    }
  }
  EXPECT_GT(compared, 500'000u);
}

// When the ring has turned, the index must not be full of what was forgotten: of a cycle that the ring holds, (nearly)
// every request is known, however many others came through before.
TEST(LogReplay, WhatWasForgottenTakesNoPlaceFromWhatIsRemembered) {
  LogReplayPredictor log(4096);
  Random random(3);
  for (int i = 0; i < 100'000; ++i) observe(log, {1, random.next() >> 8, 1});
  uint64_t known = 0;
  for (int round = 0; round < 10; ++round) {
    for (uint64_t i = 0; i < 4000; ++i) known += !observe(log, {1, i * 1000, 1}).empty();
  }
  EXPECT_GE(known, 9u * 4000 * 98 / 100);
}

TEST(LogReplay, StatesTheMemoryThatItTakesAtMost) {
  for (const uint32_t entries_max : {64u, 1u << 12, 1u << 15}) {
    LogReplayPredictor log(entries_max);
    uint64_t most = 0;
    for (uint64_t i = 0; i < 3 * entries_max; ++i) {
      observe(log, {1, i, 1});
      most = std::max(most, log.memory_bytes());
    }
    EXPECT_LE(most, log.memory_bytes_max()) << entries_max;
    EXPECT_GE(most, log.memory_bytes_max() / 2) << entries_max;
  }
}

TEST(LogReplay, WritesAndEmptyRequestsAreNotRemembered) {
  LogReplayPredictor log(64);
  for (int i = 0; i < 100; ++i) {
    std::vector<Candidate> candidates;
    Observation observation;
    observation.first_page = static_cast<uint64_t>(i % 5);
    observation.pages = 1;
    observation.write = true;
    log.observe(observation, candidates);
    observation.write = false;
    observation.pages = 0;
    log.observe(observation, candidates);
    EXPECT_TRUE(candidates.empty());
  }
}

}  // namespace
}  // namespace foreshard::policy
