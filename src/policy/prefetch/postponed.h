// Postponed: what it costs to have waited with a fetch. A page that was not probable enough is often proposed again,
// nearer to its use, and fetched then. If it came in time, nothing was lost by waiting, and the refusal teaches
// nothing: to count the page as used would call for fetching all that may yet become more probable. But where its
// reader had to wait for it, the first proposal should have been followed, and counts as used, by half of the share of
// the fetch that the reader waited for. Without that, of what is proposed far ahead only what never was read would be
// learned from, whatever is fetched would be fetched late, and late it would stay.
//
// Owner: the Prefetcher. Plain arithmetic, no clock. Memory: kBytes for each page that the ledger can have issued.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "policy/prefetch/filter.h"

namespace foreshard::policy {

class Postponed {
 public:
  explicit Postponed(uint32_t records) : issued_(records) {}

  // The page of the ledger's record is fetched now. `refused`: as it is followed in shadow since it was refused; null:
  // it is not followed.
  void issue(uint32_t record, uint64_t now_ns, const FilterExample* refused) {
    Issued& issued = issued_[record];
    issued.time_ns = now_ns;
    issued.is_postponed = refused != nullptr;
    if (refused != nullptr) issued.refused = *refused;
  }
  // A reader asks for it while it is on its way. A fetch takes `latency_ns` at present; 0: not known.
  void awaited(uint32_t record, uint64_t now_ns, uint64_t latency_ns, OnlineFilter& filter) {
    Issued& issued = issued_[record];
    if (!issued.is_postponed || latency_ns == 0) return;
    issued.is_postponed = false;
    const uint64_t gone = now_ns - std::min(issued.time_ns, now_ns);
    if (gone >= latency_ns) return;
    const float lost = 1 - static_cast<float>(gone) / static_cast<float>(latency_ns);
    filter.learn(issued.refused, true, kShare * lost);
  }
  uint64_t memory_bytes() const { return issued_.size() * kBytes; }

 private:
  struct Issued {
    uint64_t time_ns = 0;
    FilterExample refused;
    bool is_postponed = false;
  };
  static constexpr uint64_t kBytes = sizeof(Issued);
  static constexpr float kShare = 0.5f;  // late is still better than missed, and what comes to nothing costs in full

  std::vector<Issued> issued_;
};

}  // namespace foreshard::policy
