// DeltaPredictor: learns which step follows which within a neighbourhood: a step is the distance from one request to
// the next near it, and that one's size. Reads around a page that was asked for, records before their index, walks of
// irregular but recurring steps: what neither streams nor strides see, and what no history tells where the data is read
// for the first time, since steps recur where pages do not. After the last step, and after the last two, it proposes
// the two steps that have followed most often. (Delta correlation as in processors' prefetchers: Shevgoor et al.,
// Efficiently Prefetching Complex Address Patterns, MICRO 2015; here with sizes.)
//
// Owner: a PredictorSet. Memory: kPlaces neighbourhoods and kPatterns patterns, fixed. Cost: four small tables' lines.
#pragma once

#include <array>
#include <vector>

#include "base/random.h"
#include "policy/predict/predictor.h"

namespace foreshard::policy {

class DeltaPredictor : public Predictor {
 public:
  static constexpr uint32_t kPlaces = 1024;
  static constexpr uint32_t kRegionPagesLog2 = 8;
  static constexpr int64_t kReachPages = 1 << kRegionPagesLog2;  // of a step, forward and backward
  static constexpr uint32_t kPatterns = 1u << 13;
  static constexpr uint32_t kFollowers = 4;  // remembered of each pattern
  static constexpr uint32_t kProposed = 2;   // of those

  DeltaPredictor() : places_(kPlaces), patterns_(kPatterns) {}
  std::string_view name() const override { return "delta"; }
  void observe(const Observation& observation, std::vector<Candidate>& candidates) override;
  void expect(const Observation& observation) const override {
    __builtin_prefetch(&places_[place_of(observation.first_page >> kRegionPagesLog2)]);
  }
  uint64_t memory_bytes_max() const override {
    return sizeof(*this) + kPlaces * sizeof(Place) + kPatterns * sizeof(Pattern);
  }

 private:
  static constexpr uint64_t kNoRegion = UINT64_MAX;
  static constexpr uint32_t kPagesMax = 1023;  // of a request, as far as sizes are told apart
  // Of a region: its last request and what led to it.
  struct Place {
    uint64_t region = kNoRegion;
    uint64_t first_page = 0;
    uint32_t time = 0;  // observation
    uint32_t step = 0;  // as a hash; of a request that nothing near preceded, its size alone
    uint32_t step_before = 0;
  };
  struct Follower {
    int16_t delta = 0;
    uint16_t pages = 0;
    uint16_t count = 0;  // 0: free
  };
  struct Pattern {
    uint16_t tag = 0;
    uint16_t seen = 0;
    std::array<Follower, kFollowers> followers{};  // the most frequent first
  };

  static size_t place_of(uint64_t region) { return mix64(region) % kPlaces; }
  const Place* previous(uint64_t first_page) const;
  Pattern& pattern_of(uint32_t signature);
  void follow(uint32_t signature, int16_t delta, uint16_t pages);
  // Counts an occurrence, and proposes what followed the earlier ones.
  void propose(uint32_t signature, uint8_t rank, uint64_t first_page, std::vector<Candidate>& candidates);

  std::vector<Place> places_;      // by hash of region
  std::vector<Pattern> patterns_;  // by signature: a step, or two
  uint32_t clock_ = 0;
};

}  // namespace foreshard::policy
