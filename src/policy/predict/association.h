// AssociationPredictor: counts which requests come soon after which, and proposes those that came together at least
// twice. Where the log only knows the last two times, this knows all of them, for the pairs that it has room for; the
// idea, with a bounded table in place of mined rows, is Mithril's (Yang et al., SoCC 2017).
//
// Owner: a PredictorSet. Memory: grows with the requests seen, four sources at a time, up to kSourcesMax; then the one
// of four that was left alone longest is forgotten. Cost: a lookup for each of the last kWindow requests.
#pragma once

#include <array>
#include <vector>

#include "base/random.h"
#include "policy/predict/linear_sets.h"
#include "policy/predict/predictor.h"

namespace foreshard::policy {

class AssociationPredictor : public Predictor {
 public:
  static constexpr uint32_t kSourcesMax = 1u << 16;
  static constexpr uint32_t kWindow = 3;      // requests after a source that are taken to belong to it
  static constexpr uint32_t kFollowers = 4;   // remembered of each source
  static constexpr uint32_t kSupportMin = 2;  // times together before it is proposed

  explicit AssociationPredictor(uint32_t sources_max = kSourcesMax);  // a power of two
  std::string_view name() const override { return "association"; }
  void observe(const Observation& observation, std::vector<Candidate>& candidates) override;
  void teach(const Observation& observation) override;
  void expect(const Observation& observation) const override {
    __builtin_prefetch(&sources_[set_of(observation.first_page)]);
  }
  void expect_more(const Observation& observation) const override {
    const size_t set = set_of(observation.first_page);
    for (size_t way = set; way < set + kWays; ++way) {
      if (sources_[way].first_page == observation.first_page) __builtin_prefetch(&followers_[way]);
    }
  }
  uint64_t memory_bytes_max() const override {
    return uint64_t{sources_max_} * (sizeof(Source) + sizeof(Followers)) + sizeof(*this);
  }

 private:
  static constexpr uint64_t kNoPage = UINT64_MAX;
  struct Follower {
    uint64_t first_page = 0;
    uint32_t pages = 0;  // 0: free
    uint16_t count = 0;
    uint16_t lag = 0;  // requests after the source, when it came last
  };
  struct alignas(64) Followers : std::array<Follower, kFollowers> {};
  static_assert(sizeof(Followers) == 64);
  // Of a source, what a search for it looks at: those of a set lie in one cache line.
  struct Source {
    uint64_t first_page = kNoPage;
    uint32_t last = 0;  // observation
    uint32_t seen = 0;
  };
  struct Recent {
    uint64_t stream = 0;
    uint64_t first_page = kNoPage;
    uint32_t place = 0;  // of its source, unless that one was forgotten since
  };
  static constexpr uint32_t kWays = 4;

  // The place of the observation's source.
  uint32_t remember(const Observation& observation);
  size_t set_of(uint64_t first_page) const { return sets_.of(mix64(first_page)) * kWays; }
  // The place of the page's source, which is made if it is missing.
  uint32_t take(uint64_t first_page);
  void follow(Followers& followers, const Observation& observation, uint32_t lag);
  void grow();

  const uint32_t sources_max_;
  LinearSets sets_;
  std::vector<Source> sources_;       // kWays of each set
  std::vector<Followers> followers_;  // of each source
  uint32_t held_ = 0;
  std::array<Recent, kWindow> recent_{};  // the newest first
  uint32_t clock_ = 0;
};

}  // namespace foreshard::policy
