// PlainReadahead: readahead in the manner of Linux' on-demand one, for many interleaved streams of a volume, and
// nothing more: the measure for what predicts better. The second request of a stream opens a window of twice the
// request; a reader that comes into the last half of a window calls for the next one, twice as large, up to
// window_pages_max. A stream may leave out a few pages. Never filtered.
//
// Owner: a replay. Memory: kStreams streams, fixed.
#pragma once

#include <array>

#include "policy/predict/predictor.h"

namespace foreshard::policy {

class PlainReadahead final : public Predictor {
 public:
  static constexpr uint32_t kStreams = 64;
  static constexpr uint32_t kWindowPagesMin = 4;
  static constexpr uint32_t kGapPages = 4;  // that a stream may leave out; half a window if that is more
  explicit PlainReadahead(uint32_t window_pages_max = 32) : window_pages_max_(window_pages_max) {}
  std::string_view name() const override { return "readahead"; }
  // To be shown every read, plain hits too.
  void observe(const Observation& observation, std::vector<Candidate>& candidates) override;
  uint64_t memory_bytes_max() const override { return sizeof(*this); }

 private:
  static constexpr uint64_t kUnused = UINT64_MAX;
  struct Stream {
    uint64_t next = kUnused;    // where the following request should start
    uint64_t window_end = 0;    // prefetched up to here
    uint32_t window_pages = 0;  // of the last window; 0: none yet
    uint64_t last_used = 0;
  };
  Stream* find(uint64_t first);
  Stream& oldest();

  const uint32_t window_pages_max_;
  std::array<Stream, kStreams> streams_{};
  uint64_t clock_ = 0;
};

}  // namespace foreshard::policy
