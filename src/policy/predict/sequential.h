// SequentialPredictor: finds ascending streams among interleaved requests, in the manner of Linux' on-demand
// readahead: the second request of a stream opens a window, the window doubles as the stream goes on, and the next
// one is proposed when the stream enters the last, so that it arrives in time. A proven stream may run a little out
// of order, as deep queues do, and looks further ahead.
//
// Owner: a PredictorSet. Memory: kStreams streams and the table of awaited pages, fixed.
// Invariant: next <= proposed_end of a stream that has proposed, and nothing below `next` is ever proposed.
#pragma once

#include <array>

#include "base/random.h"
#include "policy/predict/predictor.h"

namespace foreshard::policy {

class SequentialPredictor : public Predictor {
 public:
  static constexpr uint32_t kStreams = 64;
  static constexpr uint32_t kWindowPagesMax = 32;        // of a young stream of small requests: 128 KiB
  static constexpr uint32_t kWindowPagesProvenMax = 256;  // of one that has kept going: 1 MiB
  static constexpr uint32_t kWindowPagesEver = 1024;      // however large its requests

  // No window is larger than window_pages_max, whatever the requests: a window and its predecessor must fit the
  // place that the cache has for them. Where that is less than the client has under way itself, nothing is proposed.
  explicit SequentialPredictor(uint32_t window_pages_max = kWindowPagesEver) : window_pages_max_(window_pages_max) {}
  std::string_view name() const override { return "sequential"; }
  void observe(const Observation& observation, std::vector<Candidate>& candidates) override;
  uint64_t memory_bytes_max() const override { return sizeof(*this); }
  // Whether a stream expects its next request to start here. May be wrong about streams that ended.
  bool awaits(uint64_t page) const { return awaited_[slot_of(page)] == page; }

 private:
  struct Stream {
    uint64_t next = kUnused;     // where the following request should start
    uint64_t proposed_end = 0;   // proposals reach up to here
    uint64_t marker = 0;         // entering this page calls for the next window
    uint64_t last_used = 0;
    uint64_t pages = 0;          // run through so far
    uint32_t window_pages = 0;
    uint32_t requests = 0;       // that continued it
  };
  static constexpr uint64_t kUnused = UINT64_MAX;
  static constexpr uint32_t kAwaited = 256;

  static uint32_t slot_of(uint64_t page) { return static_cast<uint32_t>(page * 0x9e3779b97f4a7c15ull >> 56); }
  Stream* find(uint64_t first, uint64_t end);
  Stream& oldest();
  void start(const Observation& observation, std::vector<Candidate>& candidates);
  void advance(Stream& stream, const Observation& observation, std::vector<Candidate>& candidates);

  const uint32_t window_pages_max_;
  std::array<Stream, kStreams> streams_{};
  std::array<uint64_t, kAwaited> awaited_ = filled();
  uint64_t clock_ = 0;  // requests observed
  static std::array<uint64_t, kAwaited> filled() {
    std::array<uint64_t, kAwaited> all;
    all.fill(kUnused);
    return all;
  }
};

}  // namespace foreshard::policy
