// Displacement: what a page is worth that makes room for a prefetched one: the share of pages that left the cache
// unused and were read all the same within the time that they had been there, by a request that had to wait. Where that
// is high, as for random reads of a volume that is not much larger than the cache, a prefetched page may well be used,
// and nothing is gained, since the one that had to go would have been used as well. A page of a request of many counts
// the less, since all of them together spare one wait.
//
// Forgets slowly; what is nearly sure passes in the meantime.
//
// Owner: the Prefetcher. Time is counted in pages that went into the cache. Pages are sampled by hash. Memory: fixed.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "base/random.h"

namespace foreshard::policy {

class Displacement {
 public:
  // It left the cache for want of room, unused. So many are followed, evenly over the time, as there are places for: to
  // give one up for another would favour those that are read soon.
  void evicted(uint64_t page, uint64_t now) {
    if (!sampled(page) || now < follow_at_ || next_ - oldest_ == kFollowed) return;
    follow_at_ = now + spacing_;
    Place& place = table_[place_of(page)];
    if (place.number != 0) return;
    ring_[next_ % kFollowed] = {page, now};
    place = {page, ++next_};
  }
  // A request of so many pages; `missed`: some page of it was not in the cache.
  void read(uint64_t first_page, uint64_t pages, bool missed, uint64_t now, uint64_t horizon) {
    spacing_ = horizon / kFollowed;
    if (next_ == oldest_) return;
    for (; oldest_ != next_ && ring_[oldest_ % kFollowed].time + horizon < now; ++oldest_) {
      Place& place = table_[place_of(ring_[oldest_ % kFollowed].page)];
      if (place.number == oldest_ + 1) settle(place, false, 0);
    }
    const double lost = missed ? 1 / weight(pages) : 0;
    for (uint64_t page = first_page; page < first_page + std::min(pages, kPagesMax); ++page) {
      if (!sampled(page)) continue;
      Place& place = table_[place_of(page)];
      if (place.number != 0 && place.page == page) settle(place, true, lost);
    }
  }
  // From which probability of being used before it leaves a page whose request lacks so many is worth what it
  // displaces: somewhat more than that one's, since it is the best of many guesses. But what is nearly sure comes next,
  // and the other one later, if at all.
  double worth(uint64_t missing) const { return std::min(kGain * lost_ * weight(missing), kSure); }
  // The share that was read, also where the request found all that it read; until enough is seen, one that is usual.
  double share() const { return share_ + kUsualShare * kDoubt / static_cast<double>(seen_ + kDoubt); }
  static constexpr double kUsualShare = 0.155;
  // Something was refused for it. Nothing more may leave the cache then; what is not measured is forgotten.
  void refused() {
    share_ *= 1 - kForgetting;
    lost_ *= 1 - kForgetting;
  }

 private:
  static constexpr uint64_t kFollowed = 1024, kPlaces = 4096;
  static constexpr uint64_t kSampledOf = 8;
  static constexpr uint64_t kPagesMax = 1024;  // of a request
  static constexpr uint64_t kMemory = 8192, kDoubt = 16;
  static constexpr double kGain = 1.25, kSure = 0.8;
  static constexpr double kForgetting = 1.0 / (1 << 20);
  struct Left {
    uint64_t page = 0;
    uint64_t time = 0;
  };
  struct Place {
    uint64_t page = 0;
    uint64_t number = 0;  // in ring_, plus one; 0: free
  };

  // The pages of a request spare one wait together, so that each is worth the less, the more there are. Not in full
  // proportion: a request rarely lacks all that it reads.
  static double weight(uint64_t pages) { return std::sqrt(static_cast<double>(std::max<uint64_t>(pages, 1))); }
  static bool sampled(uint64_t page) { return mix64(page) % kSampledOf == 0; }
  static uint64_t place_of(uint64_t page) { return mix64(page) >> 32 & (kPlaces - 1); }
  void settle(Place& place, bool used, double lost) {
    place.number = 0;
    seen_ = std::min(seen_ + 1, kMemory);
    const double step = 1 / static_cast<double>(seen_ + kDoubt);
    share_ += ((used ? 1.0 : 0.0) - share_) * step;
    lost_ += (lost - lost_) * step;
  }

  std::array<Left, kFollowed> ring_{};
  std::array<Place, kPlaces> table_{};  // by hash; of two that meet in a place the second one is not followed
  uint64_t oldest_ = 0, next_ = 0;
  uint64_t spacing_ = 0, follow_at_ = 0;
  double share_ = 0;  // that was read
  double lost_ = 0;   // that was read by a request that had to wait, by weight
  uint64_t seen_ = 0;
};

}  // namespace foreshard::policy
