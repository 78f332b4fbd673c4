#include "policy/predict/association.h"

#include <algorithm>
#include <bit>

#include "base/assert.h"
#include "base/random.h"

namespace foreshard::policy {
namespace {

constexpr uint32_t kSourcesFirst = 1024;
constexpr uint16_t kCountMax = 1000;
constexpr uint32_t kSeenMax = 1u << 24;

}  // namespace

AssociationPredictor::AssociationPredictor(uint32_t sources_max)
    : sources_max_(sources_max), sources_(std::min(sources_max, kSourcesFirst)) {
  ASSERT(std::has_single_bit(sources_max) && sources_max >= kWays, sources_max);
}

AssociationPredictor::Source* AssociationPredictor::find(uint64_t first_page) {
  const size_t set = (mix64(first_page) & (sources_.size() / kWays - 1)) * kWays;
  for (size_t way = set; way < set + kWays; ++way) {
    if (sources_[way].first_page == first_page) return &sources_[way];
  }
  return nullptr;
}

AssociationPredictor::Source& AssociationPredictor::take(uint64_t first_page) {
  if (Source* known = find(first_page)) return *known;
  const size_t set = (mix64(first_page) & (sources_.size() / kWays - 1)) * kWays;
  Source* place = &sources_[set];
  for (size_t way = set; way < set + kWays; ++way) {
    Source& source = sources_[way];
    if (source.first_page == UINT64_MAX) {
      place = &source;
      ++held_;
      break;
    }
    if (clock_ - source.last > clock_ - place->last) place = &source;
  }
  *place = Source{.first_page = first_page};
  return *place;
}

void AssociationPredictor::grow() {
  std::vector<Source> old(sources_.size() * 2);
  old.swap(sources_);
  held_ = 0;
  for (const Source& source : old) {
    if (source.first_page != UINT64_MAX) take(source.first_page) = source;
  }
}

// The follower's count grows; a new one takes the place of the weakest, which it must outlast.
void AssociationPredictor::follow(Source& source, const Observation& observation, uint32_t lag) {
  Follower* weakest = &source.followers[0];
  for (Follower& follower : source.followers) {
    if (follower.pages != 0 && follower.first_page == observation.first_page) {
      follower.count = std::min<uint16_t>(follower.count + 1, kCountMax);
      follower.pages = observation.pages;
      follower.lag = static_cast<uint16_t>(lag);
      return;
    }
    if (follower.count < weakest->count) weakest = &follower;
  }
  if (weakest->count > 1) {
    --weakest->count;
    return;
  }
  *weakest = {observation.first_page, observation.pages, 1, static_cast<uint16_t>(lag)};
}

AssociationPredictor::Source& AssociationPredictor::remember(const Observation& observation) {
  ++clock_;
  if (held_ > sources_.size() / 2 && sources_.size() < sources_max_) grow();
  uint32_t lag = 0;
  for (const Recent& recent : recent_) {
    if (recent.volume != stream_of(observation) || recent.first_page == observation.first_page) continue;
    if (Source* source = find(recent.first_page)) follow(*source, observation, ++lag);
  }
  std::copy_backward(recent_.begin(), recent_.end() - 1, recent_.end());
  recent_[0] = {stream_of(observation), observation.first_page};

  Source& source = take(observation.first_page);
  source.last = clock_;
  source.seen = std::min(source.seen + 1, kSeenMax);
  return source;
}

void AssociationPredictor::teach(const Observation& observation) {
  if (is_read(observation)) remember(observation);
}

void AssociationPredictor::observe(const Observation& observation, std::vector<Candidate>& candidates) {
  if (!is_read(observation)) return;
  const Source& source = remember(observation);
  for (const Follower& follower : source.followers) {
    if (follower.count < kSupportMin) continue;
    Candidate candidate;
    candidate.first_page = follower.first_page;
    candidate.pages = follower.pages;
    const uint32_t share = std::min(follower.count * 15u / source.seen, 15u);
    candidate.context = static_cast<uint16_t>(share * 8 + std::min<uint32_t>(std::bit_width(follower.count + 0u), 7));
    candidate.detail = static_cast<uint16_t>(follower.lag * 16 + std::min<uint32_t>(std::bit_width(source.seen), 15));
    candidates.push_back(candidate);
  }
}

}  // namespace foreshard::policy
