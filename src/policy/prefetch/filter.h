// OnlineFilter: one logistic model, learned while it is used, that turns the features of a proposed page into the
// probability that the page is read soon. A feature is a table and a code; the tables are hashed and of fixed size,
// so that memory is bounded whatever comes, and the probability is the sigmoid of the sum of one weight of each.
// Steps are AdaGrad's (Duchi, Hazan and Singer, JMLR 2011) with sums that are bounded, so that the model keeps
// up with a volume that changes. The pages of one request come out alike: a request of n pages teaches like the square
// root of n single ones.
//
// Owner: the Prefetcher. Deterministic. Memory: kBytes. Cost: a few ns for each feature of an example.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace foreshard::policy {

inline constexpr uint32_t kFilterTables = 32;
inline constexpr uint32_t kFilterCodes = 1024;  // of each table
inline constexpr uint32_t kFeaturesMax = 28;

// The features of one proposed page, kept until it is known what came of it.
struct FilterExample {
  std::array<uint16_t, kFeaturesMax> places;
  uint16_t count = 0;
  uint8_t weight = 1;       // for how many alike it stands
  uint8_t pages_width = 0;  // bit width of the pages of its request, whose outcomes come together: each says the less
  uint8_t probability = 0;  // as the filter said, of kProbabilityMax
  static constexpr uint8_t kProbabilityMax = 255;

  void add(uint32_t table, uint32_t code) {
    const uint32_t hash = code * 0x9e3779b1u;
    places[count++] = static_cast<uint16_t>(table * kFilterCodes + (hash >> 22));
  }
};

// One weight that has learned something.
struct FilterWeight {
  uint16_t place = 0;
  float value = 0;
  float squares = 0;
  bool operator==(const FilterWeight&) const = default;
};

class OnlineFilter {
 public:
  static constexpr uint64_t kBytes = uint64_t{kFilterTables} * kFilterCodes * 8;

  OnlineFilter();
  float probability(const FilterExample& example) const;
  // `share`: of an example that this one counts for.
  void learn(const FilterExample& example, bool used, float share = 1);
  uint64_t learned() const { return learned_; }
  // Weights that differ from a new filter's, by ascending place; and a filter that goes on from there. What is out of
  // place or out of all bounds is left out.
  std::vector<FilterWeight> weights() const;
  void restore(const std::vector<FilterWeight>& weights, uint64_t learned);

 private:
  struct Weight {
    float value = 0;
    float squares = 0;  // of the gradients so far
  };
  std::vector<Weight> weights_;
  uint64_t learned_ = 0;
};

}  // namespace foreshard::policy
