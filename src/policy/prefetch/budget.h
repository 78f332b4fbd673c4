// The two brakes of prefetching. PrecisionGates stops, by expert and level of confidence, what has not been paying;
// WasteBudget bounds what may be wasted in all. Both learn from the ledger's outcomes, shadow ones included, so that
// what was stopped starts again when it would pay. Owner: the Prefetcher. Plain arithmetic, no clock.
#pragma once

#include <array>
#include <cstdint>

#include "policy/prefetch/ledger.h"

namespace foreshard::policy {

inline constexpr uint32_t kBuckets = 8;

// The level of an expert's stated confidence; what the level is worth is measured.
inline uint8_t confidence_bucket(float confidence) {
  if (!(confidence > 0)) return 0;
  return static_cast<uint8_t>(confidence >= 1 ? kBuckets - 1 : static_cast<uint32_t>(confidence * kBuckets));
}

// For each (expert, bucket): the measured share of proposed pages that were used, forgetting slowly. Open above
// the least precision; closed ones reopen a margin above it. What was never measured is believed if the expert
// itself is confident, and must earn its opening in shadow otherwise.
class PrecisionGates {
 public:
  explicit PrecisionGates(double precision_min);
  bool open(uint8_t expert, uint8_t bucket) const { return gate(expert, bucket).open; }
  double precision(uint8_t expert, uint8_t bucket) const { return gate(expert, bucket).precision; }
  // Closed, and by many samples hardly ever right.
  bool hopeless(uint8_t expert, uint8_t bucket) const;
  void learn(const PrefetchLedger::Outcome& outcome);
  // Whether any level of the expert is open.
  bool any_open(uint8_t expert) const;
  uint64_t stops() const { return stops_; }
  uint64_t starts() const { return starts_; }

 private:
  struct Gate {
    double precision = 0;
    uint32_t samples = 0;
    bool open = false;
  };
  const Gate& gate(uint8_t expert, uint8_t bucket) const { return gates_[expert * kBuckets + bucket]; }
  double precision_min_;
  std::array<Gate, kExpertsMax * kBuckets> gates_{};
  uint64_t stops_ = 0, starts_ = 0;
};

// Tokens are pages that may be wasted. Demand earns `share` of a token for each page read, a prefetched page that
// turns out unused costs one, and what is still open is expected to cost what its precision says.
class WasteBudget {
 public:
  explicit WasteBudget(double share);
  void earn(uint64_t demand_pages);
  void waste() { tokens_ -= 1; }
  // How many pages of this precision may be issued now, when so many prefetched ones are still open.
  uint64_t affordable(double precision, uint64_t open_pages) const;
  double tokens() const { return tokens_; }

 private:
  double share_;
  double tokens_;
};

}  // namespace foreshard::policy
