// RoomShares: how the room of a cache is divided among the kinds of its pages: prefetched and not used so far, written
// and not read so far, and read. A page that is asked for again soon after it had to go would have been there with a
// little more room for its kind; so that kind gets it, and the others give, each in proportion to what it has. In the
// end each has room in proportion to what a little more would spare it, and none less than a minimum, from which it can
// come back. (ARC, Megiddo and Modha, FAST 2003, moves one bound between two kinds likewise.)
//
// Owner: a PageCache. Plain arithmetic, deterministic.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>

namespace foreshard::policy {

enum class PageKind : uint8_t { kPrefetched, kWritten, kRead };
inline constexpr uint32_t kPageKinds = 3;

class RoomShares {
 public:
  // Of the capacity, where every kind has pages enough.
  double share(PageKind kind) const { return shares_[static_cast<uint32_t>(kind)]; }
  // Whose page goes when one has to: that kind's, of those that have any, which is furthest beyond its share. What a
  // kind leaves free is for the others.
  PageKind most_beyond(const std::array<uint64_t, kPageKinds>& pages, uint64_t capacity_pages) const {
    uint32_t most = 0;
    double most_by = -std::numeric_limits<double>::infinity();
    for (uint32_t kind = 0; kind < kPageKinds; ++kind) {
      const double by = static_cast<double>(pages[kind]) - shares_[kind] * static_cast<double>(capacity_pages);
      if (pages[kind] == 0 || by <= most_by) continue;
      most = kind;
      most_by = by;
    }
    return static_cast<PageKind>(most);
  }
  // Something was fetched, on demand or ahead of it, that a little more room for its kind would have kept.
  void give(PageKind kind, uint64_t capacity_pages) {
    const double step = kPagesMoved / static_cast<double>(std::max(capacity_pages, kCapacityMin));
    for (double& share : shares_) share -= step * (share - kShareMin);
    shares_[static_cast<uint32_t>(kind)] += step * (1 - kPageKinds * kShareMin);
  }

 private:
  static constexpr double kShareMin = 0.04;
  static constexpr double kPagesMoved = 2;      // at once, at most
  static constexpr uint64_t kCapacityMin = 16;  // a smaller cache is divided as slowly
  // What is prefetched comes in bursts and needs its time; written pages are hardly ever read soon.
  std::array<double, kPageKinds> shares_ = {0.6, 0.1, 0.3};
};

}  // namespace foreshard::policy
