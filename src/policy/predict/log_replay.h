// LogReplayPredictor: remembers the read requests that missed or used a prefetched page, in their order, and when one
// comes that was there before proposes what followed it then: the requests after its last two occurrences. How many
// requests before it were the same as then (the match) tells how far the past can be trusted. It knows desktops that
// start the same programs, builds, boots and query plans, in whatever spatial order.
//
// Streams (stream_of) are kept apart: what followed is what followed in the same volume, process or VM.
//
// Volumes must not share page numbers.
//
// Owner: a PredictorSet. Memory: grows with what is seen, up to entries_max entries and an index of as many buckets;
// then the oldest entries are forgotten. Cost: a few cache misses for each occurrence.
// Invariant: distances between entries never reach beyond the ring when they are followed (alive). A place of the
// index names a slot of the ring that holds an entry of a page of its bucket, and each page has one place at most.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "base/random.h"
#include "policy/predict/linear_sets.h"
#include "policy/predict/predictor.h"

namespace foreshard::policy {

struct LoggedRequest {
  uint64_t first_page = 0;
  uint32_t pages = 0;
  bool operator==(const LoggedRequest&) const = default;
};

class LogReplayPredictor : public Predictor {
 public:
  static constexpr uint32_t kEntriesMax = 1u << 18;
  static constexpr uint32_t kOccurrences = 2;    // of the request in the past that are looked at
  static constexpr uint32_t kSteps = 8;          // requests proposed from each
  static constexpr uint32_t kStepsTrusted = 16;  // where the match is at least kMatchTrusted
  static constexpr uint32_t kMatchTrusted = 4;
  static constexpr uint32_t kStepsFar = 96;  // at most, where a fetch takes longer than kStepsTrusted requests
  // Of the steps up to kStepsTrusted, those proposed again after each request while the past is followed, a bit each: a
  // request that was not worth a fetch from far is looked at again when it has come nearer, but not after each step.
  static constexpr uint32_t kStepsAgain = 1u << 1 | 1u << 2 | 1u << 4 | 1u << 8 | 1u << 12 | 1u << 16;

  // entries_max: a power of two.
  explicit LogReplayPredictor(uint32_t entries_max = kEntriesMax);
  std::string_view name() const override { return "log"; }
  void observe(const Observation& observation, std::vector<Candidate>& candidates) override;
  void teach(const Observation& observation) override;
  void expect(const Observation& observation) const override {
    __builtin_prefetch(&index_[buckets_.of(mix64(observation.first_page))]);
  }
  void expect_more(const Observation& observation) const override;
  uint64_t memory_bytes_max() const override;
  // The last requests, at most so many, the oldest first.
  std::vector<LoggedRequest> recent(size_t requests_max) const;
  uint64_t memory_bytes() const;  // taken now

 private:
  // Distances are in entries, so that they stay true as the ring turns; 0: none.
  struct Entry {
    uint64_t first_page = 0;
    uint32_t pages = 0;
    uint32_t back = 0;     // to the previous occurrence of the same first page
    uint32_t forward = 0;  // to the next entry of the same volume
    uint16_t match = 0;    // entries before it that were also before its previous occurrence
    uint16_t occurrences = 0;
  };
  static_assert(sizeof(Entry) == 24);
  struct Last {
    uint64_t volume = 0;
    uint64_t position = UINT64_MAX;
  };
  static constexpr uint32_t kVolumes = 1024;
  static constexpr uint32_t kWays = 4;
  // Each names a ring slot, plus one, in the lower kSlotBits; above them a part of the page's hash, so that the ring
  // is rarely looked at in vain. 0: free.
  using Bucket = std::array<uint32_t, kWays>;
  static constexpr uint32_t kSlotBits = 20;

  // Takes the request in: the position of its entry.
  uint64_t remember(const Observation& observation);
  Entry& at(uint64_t position) { return ring_[position & (entries_max_ - 1)]; }
  bool alive(uint64_t position) const { return position < next_ && next_ - position <= entries_max_; }
  uint64_t position_of(uint32_t slot) const;
  static uint32_t slot_of(uint32_t place) { return (place & ((1u << kSlotBits) - 1)) - 1; }
  static uint32_t place_of(uint64_t page, uint32_t slot);
  // The place that names the page's last entry, or the one to take for it. Its value is 0 in the latter case.
  uint32_t& locate(uint64_t page);
  void grow();
  // The slot's entry is about to be written over.
  void forget(uint32_t slot);
  uint16_t match_of(uint64_t before, uint64_t occurrence);
  void measure_pace(const Observation& observation);
  // How many requests come while a fetch is on its way, twice over; at least kStepsTrusted.
  uint32_t steps_trusted(const Observation& observation) const;
  static bool proposed_at(uint32_t step, uint8_t rank, uint32_t match, uint32_t steps);
  void propose(uint64_t occurrence, uint8_t rank, uint32_t match, uint32_t occurrences, uint32_t steps,
               std::vector<Candidate>& candidates);

  const uint32_t entries_max_;
  std::vector<Entry> ring_;                 // entry number modulo entries_max_; shorter until it is full
  LinearSets buckets_;
  std::vector<Bucket> index_;               // by hash of first page
  std::vector<Last> last_;                  // by hash of volume: its last entry
  uint64_t next_ = 0;                       // number of the next entry
  uint64_t last_ns_ = 0, interval_ns_ = 0;  // between requests, smoothed
};

}  // namespace foreshard::policy
