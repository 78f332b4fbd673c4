// NearPredictor: proposes the few pages right before a request; and around one for what was never read before, the
// pages behind and before it that are worth a fetch: cold data is mostly read near what has just been read, in requests
// whose sizes and gaps no table of steps foresees. Two small logistic models, learned as it goes, say of every page of
// the window that is not there how probable it is that it is read soon, and that the next request reads up to it and no
// further. Of each side that many pages are proposed whose sum of (probability - threshold + gain * probability
// of ending there) is largest, if that is above nothing: a page that is hardly probable goes along where those behind
// it are, since a request is spared only when all of it is there. What it proposes is decided by that and passes no
// other threshold.
//
// Owner: a PredictorSet. Memory: fixed, taken when it is first needed. Time is counted in reads.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/random.h"
#include "policy/predict/page_history.h"
#include "policy/predict/predictor.h"

namespace foreshard::policy {

class NearPredictor : public Predictor {
 public:
  static constexpr uint32_t kPagesAfter = 48, kPagesBefore = 8;
  static constexpr uint32_t kSinglesBefore = 3;

  // The history is its owner's, who keeps it up to date after each observation. `there`: whether a page needs no fetch.
  NearPredictor(const PageHistory& history, std::function<bool(uint64_t page)> there)
      : history_(history), there_(std::move(there)) {}
  std::string_view name() const override { return "near"; }
  void observe(const Observation& observation, std::vector<Candidate>& candidates) override;
  uint64_t memory_bytes_max() const override {
    return sizeof(*this) + kFeatures * kCodes * sizeof(Weight) + kPending * sizeof(Example) +
           kHeads * sizeof(uint32_t) + kChains * sizeof(Chain);
  }

 private:
  static constexpr uint32_t kFeatures = 11, kCodes = 4096;
  static constexpr uint32_t kPending = 1u << 14, kHeads = 1u << 14;
  static constexpr uint32_t kNone = UINT32_MAX;
  static constexpr size_t kChains = 64;
  static constexpr uint32_t kNoGap = 31;

  // Of one feature, for both models, with the sums of squares of their steps.
  struct Weight {
    float read = 0, read_squares = 1;
    float ends = 0, ends_squares = 1;
  };
  // A page of a window, until it is known what came of it.
  struct Example {
    uint64_t page = 0;
    uint64_t anchor = 0;  // first page of the request
    uint32_t time = 0;
    uint32_t next = kNone;  // with the same hash
    std::array<uint16_t, kFeatures> places;
    bool after = false;  // behind the request, not before it
    bool may_be_read = false, may_be_end = false;
  };
  // Requests each of which goes on behind the one before, with small gaps, and not far in all.
  struct Chain {
    uint64_t first = 0, end = 0;
    uint32_t pages = 0, pages_before = 0;  // of its last request, and of the one before
    uint32_t gap = kNoGap;                 // between the two
    uint32_t length = 0;
  };
  // A request and what is around it.
  struct Window {
    uint64_t first = 0, end = 0;
    uint64_t after = 0, before = 0;  // from the request on: which pages were ever read, a bit each
    Chain chain;
    bool in_stream = false;  // it goes on at once with a large request of the same size
    bool beside = false;     // it begins behind another chain, but does not go on with it
    bool was_read(uint64_t page) const {
      if (page >= end) return page - end < 64 && (after >> (page - end) & 1) != 0;
      return page >= first || (first - 1 - page < 64 && (before >> (first - 1 - page) & 1) != 0);
    }
  };

  static uint32_t head_of(uint64_t page) { return static_cast<uint32_t>(mix64(page) % kHeads); }
  static uint16_t place_of(uint32_t feature, uint64_t code) {
    static_assert(kCodes == 1u << 12);
    return static_cast<uint16_t>(feature * kCodes + ((code + 1) * 0x9e3779b97f4a7c15ull >> 52));
  }
  uint64_t which_were_read(uint64_t first_page, uint32_t pages) const;
  void propose_before(const Observation& observation, std::vector<Candidate>& candidates) const;
  void learn_from(const Observation& observation);
  void pass_time();
  Example& take(uint64_t page);
  void drop(Example& example);
  void learn_read(Example& example, bool read);
  void learn_end(Example& example, bool ends);
  // Of one of the two models.
  void learn(const Example& example, bool outcome, float Weight::*value, float Weight::*squares, float size);
  void follow(Window& window);
  void describe(const Window& window, Example& example) const;
  void propose(const Window& window, bool after, float threshold, std::vector<Candidate>& candidates);

  const PageHistory& history_;
  std::function<bool(uint64_t)> there_;
  std::vector<Weight> weights_;     // kCodes of each feature
  std::vector<Example> examples_;   // a ring
  std::vector<uint32_t> heads_;     // of the examples of a page, by hash
  uint64_t oldest_ = 0, next_ = 0;  // of the ring
  uint64_t undecided_ = 0;          // the oldest that may still be an end
  std::vector<Chain> chains_;       // the one that went on last comes last
  uint32_t time_ = 0;
  uint32_t learned_reads_ = 0;  // since there was something to learn from, as far as it matters
  uint32_t proposed_at_ = 0;
  uint32_t quiet_windows_ = 0;
};

}  // namespace foreshard::policy
