// BaselineAssoc: the association of the baselines, by pairs within a short window as Mithril mines them (Yang et al.,
// SoCC 2017): for each request's first page, which requests began within the kWindow that followed, and how often. What
// did so twice, and in at least half of the cases, is fetched when the page is asked for again. Never filtered.
//
// Owner: a replay. Memory: kEntriesMax entries; the least recently seen goes when they run out.
#pragma once

#include <array>
#include <list>
#include <unordered_map>

#include "policy/predict/predictor.h"

namespace foreshard::policy {

class BaselineAssoc final : public Predictor {
 public:
  static constexpr size_t kEntriesMax = 1u << 20;
  static constexpr size_t kWindow = 4;
  static constexpr size_t kSuccessors = 8;  // of an entry; a new one takes the place of the one seen least
  static constexpr uint32_t kPagesMax = 64;
  static constexpr uint32_t kSupportMin = 2;
  static constexpr double kConfidenceMin = 0.5;
  std::string_view name() const override { return "baseline-assoc"; }
  // To be shown every read, plain hits too.
  void observe(const Observation& observation, std::vector<Candidate>& candidates) override;
  uint64_t memory_bytes_max() const override { return kEntriesMax * (sizeof(Entry) + 64); }

 private:
  static constexpr uint64_t kNone = UINT64_MAX;
  struct Successor {
    uint64_t page = 0;
    uint32_t pages = 0;  // of its largest request
    uint32_t count = 0;  // 0: unused
  };
  struct Entry {
    uint32_t seen = 0;
    std::array<Successor, kSuccessors> successors{};
    std::list<uint64_t>::iterator age;
  };
  Entry& entry_of(uint64_t page);
  void learn(const Observation& observation);

  std::unordered_map<uint64_t, Entry> entries_;                          // only looked up
  std::list<uint64_t> ages_;                                             // the oldest first
  std::array<uint64_t, kWindow> window_ = {kNone, kNone, kNone, kNone};  // first pages of the last, the newest first
};

}  // namespace foreshard::policy
