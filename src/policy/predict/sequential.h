// SequentialPredictor: follows ascending streams among interleaved requests, and proposes the requests that continue
// them. Every request may be the first of a stream: its two successors (one, where they are large) are proposed at
// once, and what a first request, a second one or a long run is worth on this volume is left to the filter. From the
// third request on a few pages more are proposed, which matters where requests are small. A stream may skip a few pages
// or run a little out of order, as deep queues do. One that has proved itself looks as far ahead as a fetch takes, in
// large pieces.
//
// Owner: a PredictorSet. Memory: kStreams streams, fixed. Cost: one pass over the streams' next pages.
// Invariant: nothing below `next` is proposed; areas_ counts what next_ holds.
#pragma once

#include <array>

#include "policy/predict/predictor.h"

namespace foreshard::policy {

class SequentialPredictor : public Predictor {
 public:
  static constexpr uint32_t kStreams = 64;
  static constexpr uint64_t kGapPagesMax = 16;      // that a stream may skip
  static constexpr uint32_t kStepsAlways = 2;       // requests proposed after each
  static constexpr uint32_t kAlonePages = 128;      // but of requests that large the next one only
  static constexpr uint32_t kProvenRequests = 6;    // from here on a stream looks further ahead
  static constexpr uint32_t kAheadPagesMax = 1024;  // but never further than this
  static constexpr uint32_t kPiecePagesMax = 32;    // of what lies further ahead
  // From so many requests on it proposes, after each, so many pages at least, and twice as many after the next, up to
  // the last (or the constructor's).
  static constexpr uint32_t kWindowRequests = 2, kWindowPagesFirst = 4, kWindowPagesMax = 16;

  // Never looks further ahead than so many pages, whatever the requests: there must be room for it in the cache.
  // Where the client has more than that under way itself, nothing further is proposed.
  explicit SequentialPredictor(uint32_t ahead_pages_max = kAheadPagesMax, uint32_t window_pages_max = kWindowPagesMax)
      : ahead_pages_max_(ahead_pages_max), window_pages_max_(window_pages_max) {
    next_.fill(kUnused);
  }
  std::string_view name() const override { return "sequential"; }
  void observe(const Observation& observation, std::vector<Candidate>& candidates) override;
  uint64_t memory_bytes_max() const override { return sizeof(*this); }

  // Of the stream that the last observed request belongs to.
  uint32_t run() const { return streams_[current_].run; }
  uint32_t previous_pages() const { return streams_[current_].previous_pages; }

 private:
  struct Stream {
    uint64_t proposed_end = 0;    // pieces reach up to here
    uint64_t time_ns = 0;         // of its last request
    uint64_t interval_ns = 0;     // between requests, smoothed
    uint32_t run = 0;             // requests that continued it
    uint32_t request_pages = 0;   // of its last request
    uint32_t previous_pages = 0;  // of the one before
    uint64_t pages = 0;           // run through so far
  };
  static constexpr uint64_t kUnused = uint64_t{1} << 62;  // far from every page
  enum class Fit : uint8_t { kNew, kExact, kSkipped, kBehind };

  // Of the streams, how many go on near there, by hash: 0 means surely none.
  static constexpr uint32_t kAreas = 256, kAreaShift = 6;
  static uint32_t area(uint64_t page) {
    return static_cast<uint32_t>((page >> kAreaShift) * 0x9e3779b97f4a7c15ull >> 56);
  }
  bool may_fit(uint64_t first) const;
  void set_next(uint32_t place, uint64_t next);
  Fit find(uint64_t first, uint64_t end, uint32_t& place) const;
  void advance(Stream& stream, const Observation& observation);
  static uint64_t steps_always(uint64_t request_pages) { return request_pages < kAlonePages ? kStepsAlways : 1; }
  uint64_t window_pages(const Stream& stream) const;
  uint64_t ahead_pages(const Stream& stream, const Observation& observation) const;
  void propose(Stream& stream, uint64_t next, uint32_t gap_code, const Observation& observation,
               std::vector<Candidate>& candidates);

  const uint32_t ahead_pages_max_, window_pages_max_;
  std::array<uint64_t, kStreams> next_;         // where each stream's following request should start
  std::array<uint64_t, kStreams> last_used_{};  // observation
  std::array<uint8_t, kAreas> areas_{};         // of next_
  std::array<Stream, kStreams> streams_{};
  uint32_t current_ = 0;
  uint64_t clock_ = 0;  // requests observed
};

}  // namespace foreshard::policy
