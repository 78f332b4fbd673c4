#include "policy/prefetch/proposals.h"

#include <algorithm>
#include <bit>

#include "base/random.h"

namespace foreshard::policy {

Proposals::Proposals() : places_(kPlaces) {
  pages_.reserve(kPagesMax);
  run_pages_.reserve(kRunsMax * kRunPagesMax);
  run_ends_.reserve(kRunsMax);
  run_candidates_.reserve(kRunsMax);
}

Proposals::Place& Proposals::locate(uint64_t page) {
  uint64_t at = mix64(page) & places_mask_;
  while (places_[at].turn == turn_ && places_[at].page != page) at = (at + 1) & places_mask_;
  return places_[at];
}

void Proposals::gather(const Observation& observation, std::span<const Candidate> candidates, uint64_t volume_pages,
                       const std::function<PageState(uint64_t)>& state_of) {
  pages_.clear();
  run_pages_.clear();
  run_ends_.clear();
  run_candidates_.clear();
  places_used_ = 0;
  uint64_t pages_proposed = 0;
  for (const Candidate& candidate : candidates) pages_proposed += std::min(candidate.pages, kRunPagesMax);
  places_mask_ = std::clamp<uint64_t>(std::bit_ceil(pages_proposed * 2), kPlacesMin, kPlaces) - 1;
  if (++turn_ == 0) {
    std::fill(places_.begin(), places_.end(), Place{});
    turn_ = 1;
  }
  for (size_t number = 0; number < candidates.size() && run_ends_.size() < kRunsMax; ++number) {
    const Candidate& candidate = candidates[number];
    if (candidate.first_page >= volume_pages) continue;
    const uint64_t pages = std::min<uint64_t>({candidate.pages, kRunPagesMax, volume_pages - candidate.first_page});
    take(observation, candidate, candidate.first_page + pages, state_of);
    if (run_ends_.size() > run_candidates_.size()) run_candidates_.push_back(static_cast<uint32_t>(number));
  }
}

void Proposals::take(const Observation& observation, const Candidate& candidate, uint64_t end,
                     const std::function<PageState(uint64_t)>& state_of) {
  const size_t run_begin = run_pages_.size();
  for (uint64_t page = candidate.first_page; page < end; ++page) {
    if (page - observation.first_page < observation.pages) continue;  // wraps around for what lies before it
    Place& place = locate(page);
    if (place.turn != turn_) {
      if (places_used_ == kPlaces / 2) break;
      ++places_used_;
      place = {page, turn_, kThere};
      const PageState state = pages_.size() < kPagesMax ? state_of(page) : PageState::kThere;
      if (state != PageState::kThere) {
        place.proposal = static_cast<uint16_t>(pages_.size());
        Proposal& fresh = pages_.emplace_back();
        fresh.page = page;
        fresh.followed = state == PageState::kFollowed;
        fresh.offset = static_cast<uint16_t>(page - candidate.first_page);
      }
    }
    if (place.proposal != kThere) run_pages_.push_back(place.proposal);
  }
  auto missing = static_cast<uint32_t>(run_pages_.size() - run_begin);
  if (missing == 0) return;
  run_ends_.push_back(static_cast<uint32_t>(run_pages_.size()));
  if (candidate.request_pages != 0) missing = std::min(missing, candidate.request_pages);
  const auto source = static_cast<uint8_t>(candidate.expert * 2 + candidate.rank);
  for (size_t i = run_begin; i < run_pages_.size(); ++i) {
    Proposal& proposal = pages_[run_pages_[i]];
    if (missing > proposal.missing) {
      proposal.missing = missing;
      proposal.pages = candidate.pages;
    }
    if ((proposal.sources >> source & 1) != 0 || proposal.opinions == Proposal::kOpinionsMax) continue;
    proposal.sources |= 1u << source;
    proposal.opinion[proposal.opinions++] = {source, candidate.context, candidate.detail, candidate.confidence};
  }
}

}  // namespace foreshard::policy
