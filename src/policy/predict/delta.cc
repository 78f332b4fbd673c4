#include "policy/predict/delta.h"

#include <algorithm>
#include <bit>
#include <cstdlib>

namespace foreshard::policy {
namespace {

constexpr uint16_t kSeenMax = 1024;  // then old counts make half of new ones

// Never 0. A request that nothing near preceded has no delta.
uint32_t hash_step(int64_t delta, uint32_t pages, bool first) {
  const auto distance = static_cast<uint64_t>(delta + DeltaPredictor::kReachPages);
  return static_cast<uint32_t>(mix64((distance * 2 + first) << 16 | pages) >> 32) | 1;
}

uint32_t hash_steps(uint32_t step, uint32_t before) {
  return static_cast<uint32_t>(mix64(uint64_t{before} << 32 | step) >> 32);
}

}  // namespace

// The latest request of the page's region, or of the next one on the page's side, within reach.
const DeltaPredictor::Place* DeltaPredictor::previous(uint64_t first_page) const {
  const uint64_t region = first_page >> kRegionPagesLog2;
  const bool upper = (first_page >> (kRegionPagesLog2 - 1) & 1) != 0;
  const Place* latest = nullptr;
  for (const uint64_t near : {region, upper ? region + 1 : region - 1}) {
    const Place& place = places_[place_of(near)];
    if (place.region != near || near == kNoRegion) continue;
    if (std::abs(static_cast<int64_t>(first_page - place.first_page)) > kReachPages) continue;
    if (latest == nullptr || clock_ - place.time < clock_ - latest->time) latest = &place;
  }
  return latest;
}

DeltaPredictor::Pattern& DeltaPredictor::pattern_of(uint32_t signature) {
  Pattern& pattern = patterns_[signature % kPatterns];
  const auto tag = static_cast<uint16_t>(signature >> 16 | 1);
  if (pattern.tag != tag) {
    pattern = Pattern{};
    pattern.tag = tag;
  }
  return pattern;
}

// A new follower takes the place of the rarest, which it must outlast.
void DeltaPredictor::follow(uint32_t signature, int16_t delta, uint16_t pages) {
  auto& followers = pattern_of(signature).followers;
  auto at = std::find_if(followers.begin(), followers.end(), [&](const Follower& follower) {
    return follower.count != 0 && follower.delta == delta && follower.pages == pages;
  });
  if (at == followers.end()) {
    --at;
    if (at->count > 1) {
      --at->count;
      return;
    }
    *at = {delta, pages, 0};
  }
  if (at->count < UINT16_MAX) ++at->count;
  for (; at != followers.begin() && (at - 1)->count < at->count; --at) std::swap(*(at - 1), *at);
}

void DeltaPredictor::propose(uint32_t signature, uint8_t rank, uint64_t first_page,
                             std::vector<Candidate>& candidates) {
  Pattern& pattern = pattern_of(signature);
  if (++pattern.seen >= kSeenMax) {
    pattern.seen /= 2;
    for (Follower& follower : pattern.followers) follower.count /= 2;
  }
  for (uint32_t place = 0; place < kProposed; ++place) {
    const Follower& follower = pattern.followers[place];
    if (follower.count == 0) return;
    if (follower.delta < 0 && first_page < static_cast<uint64_t>(-follower.delta)) continue;
    Candidate candidate;
    candidate.first_page = first_page + static_cast<uint64_t>(static_cast<int64_t>(follower.delta));
    candidate.pages = follower.pages;
    candidate.rank = rank;
    const uint32_t share = std::min(follower.count * 16u / pattern.seen, 15u);
    const uint32_t count = std::min<uint32_t>(std::bit_width(follower.count + 0u), 7);
    candidate.context = static_cast<uint16_t>((share * 8 + count) * kProposed + place);
    candidate.detail = static_cast<uint16_t>(share * 128 + static_cast<uint32_t>(follower.delta / 4 + 64) % 128);
    candidates.push_back(candidate);
  }
}

void DeltaPredictor::observe(const Observation& observation, std::vector<Candidate>& candidates) {
  if (!is_read(observation)) return;
  ++clock_;
  const uint64_t first = observation.first_page;
  const auto pages = static_cast<uint16_t>(std::min(observation.pages, kPagesMax));
  Place now{.region = first >> kRegionPagesLog2, .first_page = first, .time = clock_};
  if (const Place* from = previous(first)) {
    const auto delta = static_cast<int16_t>(first - from->first_page);
    follow(from->step, delta, pages);
    if (from->step_before != 0) follow(hash_steps(from->step, from->step_before), delta, pages);
    now.step = hash_step(delta, pages, false);
    now.step_before = from->step;
  } else {
    now.step = hash_step(0, pages, true);
  }
  places_[place_of(now.region)] = now;
  if (now.step_before != 0) propose(hash_steps(now.step, now.step_before), 0, first, candidates);
  propose(now.step, 1, first, candidates);
}

}  // namespace foreshard::policy
