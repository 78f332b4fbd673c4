// Sieve: tells which candidates are worth weighing at all. Of each context of each expert it remembers how often a
// candidate has lately been probable enough to be fetched; where that was hardly ever so, most are left out unseen,
// which spares the looking up of their pages. Some always pass, in no rhythm, so that a context can come back.
//
// Owner: the Prefetcher. Deterministic. Memory: kCodes counters.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/random.h"
#include "policy/predict/predictor.h"

namespace foreshard::policy {

class Sieve {
 public:
  Sieve() : contexts_(kCodes) {}
  bool passes(const Candidate& candidate) {
    const Context& context = contexts_[code(candidate)];
    return context.seen < kSeenFirst || context.share >= kShareMin || mix64(++held_back_) % kPassing == 0;
  }
  // What came of one that passed.
  void learn(const Candidate& candidate, bool probable) {
    Context& context = contexts_[code(candidate)];
    context.seen = std::min(context.seen + 1, kMemory);
    context.share += ((probable ? 1.0f : 0.0f) - context.share) / static_cast<float>(context.seen);
  }
  static constexpr uint64_t kBytes = 4096 * 8;

 private:
  static constexpr uint32_t kCodes = 4096;
  static constexpr uint32_t kSeenFirst = 64;
  static constexpr uint32_t kMemory = 256;
  static constexpr float kShareMin = 0.02f;
  static constexpr uint32_t kPassing = 8;
  struct Context {
    float share = 1;
    uint32_t seen = 0;
  };
  static uint32_t code(const Candidate& candidate) {
    return (candidate.context * 32u + candidate.expert * 2u + candidate.rank) * 0x9e3779b1u >> 20;
  }
  std::vector<Context> contexts_;
  uint64_t held_back_ = 0;
};

}  // namespace foreshard::policy
