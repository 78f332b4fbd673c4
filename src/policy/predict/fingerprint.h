// FingerprintPredictor: recognises a boot or a job that was seen before by the requests that it opens with, also when
// they come in another order or another VM of the same image makes them, and proposes what came next, as far ahead as
// a fetch takes. Where the log needs the same request right before, this needs half of the last requests to have been
// in the same recording, anywhere near.
//
// A recording is what was read from the first request on, or from the first one after a pause, up to kRequestsMax
// requests. Recordings are carried from one driver to the next (LearnedState).
//
// Owner: a PredictorSet. Memory: kRecordingsMax recordings and an index of their pages; grows with what is recorded.
// Cost: one lookup for each request, one short look at each recording; about one ms when a recording ends.
// Invariant: matches_ and slots_ have one element for each of recordings_, and the index names each page of each of
// them once, by slot.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/random.h"
#include "policy/predict/predictor.h"

namespace foreshard::policy {

struct RecordedRequest {
  uint64_t first_page = 0;
  uint32_t pages = 0;
  uint32_t time_us = 0;  // since the recording began, saturating
  bool operator==(const RecordedRequest&) const = default;
};

struct Recording {
  bool at_attach = false;  // began with a driver, as a boot does; else after a pause
  std::vector<RecordedRequest> requests;
  bool operator==(const Recording&) const = default;
};

class FingerprintPredictor : public Predictor {
 public:
  static constexpr uint32_t kRecordingsMax = 16;
  static constexpr uint32_t kRequestsMax = 4096;  // of a recording
  static constexpr uint32_t kRequestsMin = 32;    // fewer are no recording
  static constexpr uint64_t kPauseNs = 10'000'000'000;
  static constexpr uint32_t kAheadMin = 16, kAheadMax = 256;  // requests ahead of the last one recognised
  static constexpr uint32_t kProposedMax = 32;                // after one request
  static constexpr uint32_t kOpening = 16;                    // requests proposed before anything is recognised

  FingerprintPredictor();
  std::string_view name() const override { return "fingerprint"; }
  void observe(const Observation& observation, std::vector<Candidate>& candidates) override;
  void expect(const Observation& observation) const override {
    if (!index_.empty()) __builtin_prefetch(&index_[mix64(observation.first_page) & (index_.size() - 1)]);
  }
  uint64_t memory_bytes_max() const override;

  // The oldest first; with what is being recorded, if it is long enough by now.
  std::vector<Recording> recordings() const;
  // In place of those there are; what is beyond the bounds is left out. Call before the first observation.
  void restore(std::vector<Recording> recordings);
  uint32_t known() const { return static_cast<uint32_t>(recordings_.size()); }
  // Of the recordings, how many are recognised in what is read at present.
  uint32_t recognised() const;

 private:
  struct Match {
    uint32_t window = 0;    // a bit for each of the last 32 requests: was in the recording, the last one lowest
    uint32_t cursor = 0;    // position after the furthest one recognised
    uint32_t proposed = 0;  // up to here
    uint32_t found = 0;     // requests of this session
    bool sure = false;      // proposals since were made as sure ones
  };
  struct Place {
    uint64_t page = UINT64_MAX;  // free
    uint16_t slot = 0;           // of its recording
    uint16_t position = 0;
  };
  // What becomes of a recording that has ended.
  struct Keeping {
    bool kept = false;
    size_t replaced = SIZE_MAX;  // position of the one whose place it takes; SIZE_MAX: none
  };

  bool is_recognised(const Match& match) const;
  void begin_session(bool at_attach);
  Keeping keeping() const;
  void end_recording();
  void build_index();
  void add_to_index(size_t position);
  void remove_from_index(size_t position);
  size_t home(uint64_t page) const { return mix64(page) & (index_.size() - 1); }
  void recognise(uint64_t first_page);
  void propose(const Observation& observation, std::vector<Candidate>& candidates);
  void propose_opening(std::vector<Candidate>& candidates) const;
  void push(const Recording& recording, uint32_t position, uint32_t context, uint32_t detail,
            std::vector<Candidate>& candidates) const;

  std::vector<Recording> recordings_;  // the one that was like something read last comes last
  std::vector<Match> matches_;
  std::vector<uint16_t> slots_;  // a recording keeps its slot while others come and go
  std::vector<Place> index_;     // open addressing, a power of two, at most half full
  size_t indexed_ = 0;           // places taken, at most: requests of recordings_
  Recording current_;
  bool recording_ = true;
  uint32_t session_requests_ = 0;
  uint64_t session_began_ns_ = 0, last_ns_ = 0;
};

}  // namespace foreshard::policy
