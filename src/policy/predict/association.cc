#include "policy/predict/association.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/assert.h"
#include "base/random.h"

namespace foreshard::policy {
namespace {

constexpr uint32_t kSourcesFirst = 1024;
constexpr size_t kGrowsAbove = 4;  // one place in so many: sets that are still to be split hold up to twice as much
constexpr uint16_t kCountMax = 1000;
constexpr uint32_t kSeenMax = 1u << 24;

}  // namespace

AssociationPredictor::AssociationPredictor(uint32_t sources_max)
    : sources_max_(sources_max), sets_(std::min(sources_max, kSourcesFirst) / kWays) {
  ASSERT(std::has_single_bit(sources_max) && sources_max >= kWays, sources_max);
  sources_.reserve(sources_max);  // is never moved; the memory is taken as it is used
  followers_.reserve(sources_max);
  sources_.resize(sets_.count() * kWays);
  followers_.resize(sets_.count() * kWays);
}

uint32_t AssociationPredictor::take(uint64_t first_page) {
  const size_t set = set_of(first_page);
  size_t place = set;
  for (size_t way = set; way < set + kWays; ++way) {
    if (sources_[way].first_page == first_page) return static_cast<uint32_t>(way);
  }
  for (size_t way = set; way < set + kWays; ++way) {
    if (sources_[way].first_page == kNoPage) {
      place = way;
      ++held_;
      break;
    }
    if (clock_ - sources_[way].last > clock_ - sources_[place].last) place = way;
  }
  sources_[place] = Source{.first_page = first_page};
  followers_[place] = Followers{};
  return static_cast<uint32_t>(place);
}

void AssociationPredictor::grow() {
  const size_t split = sets_.grow() * kWays, added = sources_.size();
  sources_.resize(added + kWays);
  followers_.resize(added + kWays);
  for (size_t way = 0; way < kWays; ++way) {
    const uint64_t first_page = sources_[split + way].first_page;
    if (first_page == kNoPage || set_of(first_page) == split) continue;
    sources_[added + way] = std::exchange(sources_[split + way], Source{});
    followers_[added + way] = std::exchange(followers_[split + way], Followers{});
    for (Recent& recent : recent_) {
      if (recent.first_page == first_page) recent.place = static_cast<uint32_t>(added + way);
    }
  }
}

// The follower's count grows; a new one takes the place of the weakest, which it must outlast.
void AssociationPredictor::follow(Followers& followers, const Observation& observation, uint32_t lag) {
  Follower* weakest = &followers[0];
  for (Follower& follower : followers) {
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

uint32_t AssociationPredictor::remember(const Observation& observation) {
  ++clock_;
  if (held_ > sources_.size() / kGrowsAbove && sources_.size() < sources_max_) grow();
  const uint32_t place = take(observation.first_page);
  uint32_t lag = 0;
  for (const Recent& recent : recent_) {
    if (recent.stream != stream_of(observation) || recent.first_page == observation.first_page) continue;
    if (recent.first_page != kNoPage && sources_[recent.place].first_page == recent.first_page)
      follow(followers_[recent.place], observation, ++lag);
  }
  std::copy_backward(recent_.begin(), recent_.end() - 1, recent_.end());
  recent_[0] = {stream_of(observation), observation.first_page, place};

  Source& source = sources_[place];
  source.last = clock_;
  source.seen = std::min(source.seen + 1, kSeenMax);
  return place;
}

void AssociationPredictor::teach(const Observation& observation) {
  if (is_read(observation)) remember(observation);
}

void AssociationPredictor::observe(const Observation& observation, std::vector<Candidate>& candidates) {
  if (!is_read(observation)) return;
  const uint32_t place = remember(observation);
  const Source& source = sources_[place];
  for (const Follower& follower : followers_[place]) {
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
