// AssociationPredictor: counts which requests come soon after which, and proposes those that came together at least
// twice. Where the log only knows the last two times, this knows all of them, for the pairs that it has room for; the
// idea, with a bounded table in place of mined rows, is Mithril's (Yang et al., SoCC 2017).
//
// Owner: a PredictorSet. Memory: grows with the requests seen up to kSourcesMax sources; then the one of four that was
// left alone longest is forgotten. Cost: a lookup for each of the last kWindow requests.
#pragma once

#include <array>
#include <vector>

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
  uint64_t memory_bytes_max() const override { return uint64_t{sources_max_} * sizeof(Source) + sizeof(*this); }

 private:
  struct Follower {
    uint64_t first_page = 0;
    uint32_t pages = 0;  // 0: free
    uint16_t count = 0;
    uint16_t lag = 0;  // requests after the source, when it came last
  };
  struct Source {
    uint64_t first_page = UINT64_MAX;
    uint32_t last = 0;  // observation
    uint32_t seen = 0;
    std::array<Follower, kFollowers> followers{};
  };
  struct Recent {
    uint64_t volume = 0;
    uint64_t first_page = UINT64_MAX;
  };
  static constexpr uint32_t kWays = 4;

  Source& remember(const Observation& observation);
  Source* find(uint64_t first_page);
  Source& take(uint64_t first_page);
  void follow(Source& source, const Observation& observation, uint32_t lag);
  void grow();

  const uint32_t sources_max_;
  std::vector<Source> sources_;  // sets of kWays
  uint32_t held_ = 0;
  std::array<Recent, kWindow> recent_{};  // the newest first
  uint32_t clock_ = 0;
};

}  // namespace foreshard::policy
