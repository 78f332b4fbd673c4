// Proposals: what the experts propose after one request, page by page: pages that several propose are one proposal with
// several opinions, and pages that are cached or on their way are left out. The candidates stay known as runs, since a
// request is worth completing from its front.
//
// Owner: the Prefetcher. Memory: fixed bounds; what goes beyond them is left out.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "policy/predict/predictor.h"

namespace foreshard::policy {

// Of a proposed page. There: in the cache, on its way, or not to be had at present.
enum class PageState : uint8_t { kNeeded, kFollowed, kThere };  // followed: in shadow, from an earlier proposal

struct Opinion {
  uint8_t source = 0;  // expert * 2 + rank
  uint16_t context = 0;
  uint16_t detail = 0;
  float confidence = 0;
};

struct Proposal {
  static constexpr uint32_t kOpinionsMax = 6;

  uint64_t page = 0;
  uint32_t missing = 0;  // pages not there of the largest request that it is proposed as a part of
  uint32_t pages = 0;    // of that request
  uint16_t offset = 0;   // within the first request that it is proposed as a part of
  uint32_t sources = 0;  // a bit for each opinion's source
  uint8_t opinions = 0;
  bool followed = false;
  std::array<Opinion, kOpinionsMax> opinion;
};

class Proposals {
 public:
  static constexpr uint32_t kPagesMax = 1024;
  static constexpr uint32_t kRunPagesMax = 512;  // of one candidate
  static constexpr uint32_t kRunsMax = 128;      // candidates that lack pages
  using Run = std::span<const uint16_t>;         // numbers of proposals

  Proposals();
  // Left out: pages in state kThere, those of the request itself and those from volume_pages on.
  void gather(const Observation& observation, std::span<const Candidate> candidates, uint64_t volume_pages,
              const std::function<PageState(uint64_t)>& state_of);
  // The number of the candidate that a run lacks pages of.
  uint32_t candidate(size_t run) const { return run_candidates_[run]; }
  std::span<const Proposal> pages() const { return {pages_.data(), pages_.size()}; }
  size_t runs() const { return run_ends_.size(); }
  Run run(size_t number) const {
    const size_t begin = number == 0 ? 0 : run_ends_[number - 1];
    return {run_pages_.data() + begin, run_ends_[number] - begin};
  }
  static constexpr uint64_t kBytesMax =
      kPagesMax * sizeof(Proposal) + kRunsMax * (kRunPagesMax * sizeof(uint16_t) + 2 * sizeof(uint32_t)) + (1u << 16);
  uint64_t memory_bytes() const {  // taken now
    return pages_.capacity() * sizeof(Proposal) + run_pages_.capacity() * sizeof(uint16_t) +
           (run_ends_.capacity() + run_candidates_.capacity()) * sizeof(uint32_t) + places_.capacity() * sizeof(Place);
  }

 private:
  static constexpr uint32_t kPlaces = 4096, kPlacesMin = 256;
  static constexpr uint16_t kThere = UINT16_MAX;  // known to need no fetch
  struct Place {
    uint64_t page = 0;
    uint32_t turn = 0;  // gather() that filled it; another one: free
    uint16_t proposal = 0;
  };

  Place& locate(uint64_t page);
  void take(const Observation& observation, const Candidate& candidate, uint64_t end,
            const std::function<PageState(uint64_t)>& state_of);

  std::vector<Proposal> pages_;
  std::vector<uint16_t> run_pages_;
  std::vector<uint32_t> run_ends_, run_candidates_;
  std::vector<Place> places_;
  uint32_t places_used_ = 0;  // of places_
  uint64_t places_mask_ = 0;  // few candidates share few cache lines
  uint32_t turn_ = 0;
};

}  // namespace foreshard::policy
