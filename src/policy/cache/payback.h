// Payback: whether fetching ahead pays at all. What is fetched displaces what was there; where a page's past says how
// often it is read and nothing says when, as under random reads of which some pages are more popular than others, a
// prefetcher can be right two times in three and every read that it spares costs another. So a cache tells of sampled
// pages what it came to with prefetched pages in it, beside what it would have come to without (WithoutPrefetch).
//
// Where prefetching has spared next to no reads for as long as it takes to fill the cache, it is told to stop, and may
// try again after a time that doubles with each attempt that fails.
//
// Owner: a PageCache's WithoutPrefetch. Plain arithmetic, deterministic. Time is counted in pages that the cache would
// have taken in without prefetching.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

namespace foreshard::policy {

class Payback {
 public:
  // The sample's part of the cache has so many pages.
  explicit Payback(uint64_t pages)
      : pages_(std::max<uint64_t>(pages, 1)), memory_(std::max(static_cast<double>(pages), kMemoryMin)) {}

  // A page was fetched ahead; and what became of it: read, and it would have been missed; read, and it would have been
  // there anyway; gone unread.
  void issued() { ++waiting_; }
  void saved() {
    end_one();
    ++spared_;
  }
  void unneeded() { end_one(); }
  void wasted() { end_one(); }
  // Another page was read that is there, and would not have been; or that is not, and would have been. A prefetched
  // page displaces few others: what goes beyond that has other causes, as where small differences decide which files
  // stay.
  void kept() { ++spared_; }
  void lost() { spared_ = std::max(spared_ - 1, -kLostMax * (ended_ + static_cast<double>(waiting_))); }
  // Without prefetching a page would have come into the cache.
  void arrived() {
    if (pays_) {
      judge();
    } else if (--wait_ == 0) {
      pays_ = true;
      ended_ = spared_ = 0;
      tried_ = below_ = 0;
    }
  }

  bool pays() const { return pays_; }
  // Reads of a page that were spared for each prefetched page whose end is known, lately; below zero: it costs some.
  // None while few are known.
  std::optional<double> gain() const {
    return ended_ < kDoubt ? std::nullopt : std::optional<double>(spared_ / ended_);
  }
  uint64_t stops() const { return stops_; }

 private:
  static constexpr double kMemoryMin = 2000;            // prefetched pages, or as many as the cache has
  static constexpr double kHope = 0.3, kDoubt = 64;     // what is assumed before much is known, and for how long
  static constexpr double kEvidence = 128;              // pages that were prefetched or lost, before it is judged
  static constexpr double kGainMin = 0.03;              // where it pays traces have .13 and more
  static constexpr double kLostMax = 2;                 // for each prefetched page
  static constexpr uint64_t kWait = 4, kWaitMax = 128;  // caches

  void end_one() {
    if (waiting_ != 0) --waiting_;
    const double stays = 1 - 1 / memory_;
    ended_ = ended_ * stays + 1;
    spared_ *= stays;
  }
  // What is displaced is missed later: not before a cache full of pages has come and gone; and no short time says much.
  // After an attempt that failed a quarter of that is enough.
  void judge() {
    const uint64_t patience = waits_ == kWait ? pages_ : std::max<uint64_t>(pages_ / 4, 1);
    ++tried_;
    const bool known = tried_ >= patience && ended_ + std::max(-spared_, 0.0) >= kEvidence;
    const bool pays = spared_ + kHope * kDoubt >= kGainMin * (ended_ + kDoubt);
    below_ = known && !pays ? below_ + 1 : 0;
    if (below_ > patience) {
      pays_ = false;
      ++stops_;
      wait_ = waits_ * pages_;
      waits_ = std::min(waits_ * 2, kWaitMax);
    } else if (pays && ended_ >= memory_ / 2) {
      waits_ = kWait;
    }
  }

  uint64_t pages_;
  double memory_;
  uint64_t waiting_ = 0;  // prefetched pages
  double ended_ = 0;      // others of them, fading
  double spared_ = 0;     // reads of a page, likewise
  bool pays_ = true;
  uint64_t tried_ = 0, below_ = 0;  // time since it may; since it has not paid
  uint64_t wait_ = 0, waits_ = kWait;
  uint64_t stops_ = 0;
};

}  // namespace foreshard::policy
