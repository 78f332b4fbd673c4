// Payback: whether fetching ahead pays at all. What is fetched displaces what was there; where a page's past says how
// often it is read and nothing says when, as under random reads of which some pages are more popular than others, a
// prefetcher can be right two times in three and every read that it spares costs another. So a cache tells of sampled
// pages what it came to with prefetched pages in it, beside what it would have come to without (WithoutPrefetch).
//
// Where prefetching has spared next to no reads for as long as it takes to fill the cache, and has cost some, it is
// told to stop, and may try again after a time that doubles with each attempt that fails.
//
// Owner: a PageCache's WithoutPrefetch. Plain arithmetic, deterministic. Time is counted in pages that a reader would
// have missed without prefetching.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

namespace foreshard::policy {

class Payback {
 public:
  // The sample's part of the cache has so many pages. `settles`: what is in the cache now is not known; until as many
  // have come, nothing is concluded from what is there and what is not.
  Payback(uint64_t pages, bool settles)
      : pages_(std::max<uint64_t>(pages, 1)),
        memory_(std::max(static_cast<double>(pages), kMemoryMin)),
        settle_(settles ? pages_ : 0) {}

  // A page was fetched ahead; and what became of it: read, and it would have been missed; read, and it would have been
  // there anyway, so that it had been displaced before; gone unread.
  void issued() { ++waiting_; }
  void saved() {
    end_one();
    ++saved_;
  }
  void unneeded() {
    end_one();
    ++unneeded_;
  }
  void wasted() { end_one(); }
  // Another page was read that is there, and would not have been; or that is not, and would have been. A prefetched
  // page displaces few others: what goes beyond that has other causes, as where small differences decide which files
  // stay.
  void kept() { displace(-1); }
  void lost() { displace(1); }
  // A page was read; `missed`: without prefetching it would have been missed.
  void read(bool missed) {
    ++reads_;
    if (!missed) return;
    if (settle_ != 0 && --settle_ == 0) begin();
    if (pays_) {
      judge();
    } else if (--wait_ == 0) {
      pays_ = true;
      begin();
    }
  }

  bool pays() const { return pays_; }
  // Reads of a page that were spared for each prefetched page whose end is known, lately; below zero: it costs some.
  // None while few are known.
  std::optional<double> gain() const {
    return ended_ < kDoubt ? std::nullopt : std::optional<double>((saved_ - displaced_) / ended_);
  }
  uint64_t stops() const { return stops_; }

 private:
  static constexpr double kMemoryMin = 2000;            // prefetched pages, or as many as the cache has
  static constexpr double kHope = 0.3, kDoubt = 64;     // what is assumed before much is known, and for how long
  static constexpr double kEvidence = 128;              // pages that were prefetched or displaced, before it is judged
  static constexpr double kGainMin = 0.03;              // where it pays traces have .13 and more
  static constexpr double kCostMin = 0.01;              // of the reads; a sample tells less only by chance
  static constexpr double kDisplacedMax = 2;            // for each prefetched page
  static constexpr uint64_t kWait = 4, kWaitMax = 128;  // caches

  void end_one() {
    if (waiting_ != 0) --waiting_;
    const double stays = 1 - 1 / memory_;
    for (double* fading : {&ended_, &saved_, &unneeded_, &displaced_, &reads_}) *fading *= stays;
    ++ended_;
  }
  void displace(double pages) {
    if (!pays_ || settle_ != 0) return;
    const double most = kDisplacedMax * (ended_ + static_cast<double>(waiting_));
    displaced_ = std::clamp(displaced_ + pages, -most, most);
  }
  void begin() {
    ended_ = saved_ = unneeded_ = displaced_ = reads_ = 0;
    tried_ = below_ = 0;
  }
  // What is displaced is missed later: not before a cache full of pages has come and gone; and no short time says much.
  // After an attempt that failed a quarter of that is enough.
  void judge() {
    const uint64_t patience = waits_ == kWait ? pages_ : std::max<uint64_t>(pages_ / 4, 1);
    ++tried_;
    const bool known = tried_ >= patience && ended_ + std::max(displaced_ - saved_, 0.0) >= kEvidence;
    const bool gains = saved_ - displaced_ + kHope * kDoubt >= kGainMin * (ended_ + kDoubt);
    const bool costs = displaced_ + unneeded_ >= kCostMin * reads_;
    below_ = known && !gains && costs ? below_ + 1 : 0;
    if (below_ > patience + patience / 2) {
      pays_ = false;
      ++stops_;
      wait_ = waits_ * pages_;
      waits_ = std::min(waits_ * 2, kWaitMax);
    } else if (gains && ended_ >= memory_ / 2) {
      waits_ = kWait;
    }
  }

  uint64_t pages_;
  double memory_;
  uint64_t settle_;
  uint64_t waiting_ = 0;  // prefetched pages
  // All fading with the prefetched pages that end: those, and of them what was spared and what would have been there;
  // other pages lost, less those kept; and reads of a page.
  double ended_ = 0, saved_ = 0, unneeded_ = 0, displaced_ = 0, reads_ = 0;
  bool pays_ = true;
  uint64_t tried_ = 0, below_ = 0;  // time since it may; since it has not paid
  uint64_t wait_ = 0, waits_ = kWait;
  uint64_t stops_ = 0;
};

}  // namespace foreshard::policy
