// StridePredictor: finds requests at constant distances, forward or backward, inside interleaved traffic: three of
// the last kRecent requests equally spaced are taken for a stream, a fourth confirms it, and from then on the next
// few steps are proposed. What the sequential expert sees (a distance of one request) is left to it.
//
// Owner: a PredictorSet. Memory: kStreams streams and kRecent requests, fixed. Cost: kRecent lookups per request
// that continues no stream.
#pragma once

#include <array>

#include "policy/predict/predictor.h"

namespace foreshard::policy {

class StridePredictor : public Predictor {
 public:
  static constexpr uint32_t kStreams = 32;
  static constexpr uint32_t kRecent = 32;
  static constexpr int64_t kStridePagesMax = 16384;  // 64 MiB
  static constexpr uint32_t kStepsAhead = 4;         // of a young stream
  static constexpr uint32_t kStepsAheadMax = 16;

  std::string_view name() const override { return "stride"; }
  void observe(const Observation& observation, std::vector<Candidate>& candidates) override;
  uint64_t memory_bytes_max() const override { return sizeof(*this); }

 private:
  struct Stream {
    uint64_t last = 0;
    int64_t stride = 0;     // 0: unused
    uint32_t pages = 0;     // of its requests
    uint32_t steps = 0;     // that kept the stride
    uint32_t proposed = 0;  // steps proposed beyond the last
    uint64_t last_used = 0;
  };
  static constexpr uint32_t kRecentSlots = 128;

  bool was_recent(uint64_t page) const;
  void remember(uint64_t page);
  bool continue_stream(const Observation& observation, std::vector<Candidate>& candidates);
  void start_stream(const Observation& observation);
  void propose(Stream& stream, std::vector<Candidate>& candidates);

  std::array<Stream, kStreams> streams_{};
  std::array<uint64_t, kRecent> recent_{};             // a ring of first pages
  std::array<uint8_t, kRecentSlots> recent_counts_{};  // of the ring's pages by hash: 0 means surely not there
  uint64_t recent_next_ = 0;
  uint64_t clock_ = 0;
};

}  // namespace foreshard::policy
