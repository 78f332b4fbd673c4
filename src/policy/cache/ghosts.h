// Ghosts: which pages were lately in a cache, or asked for and not let in, and how they went. Replacement learns from
// what is asked for again: what left the small queue belongs into the main one, and what left a moment ago would have
// been there with more room for its kind.
//
// A ghost lies in the set that its hash says, eight in a cache line, where a newer one replaces the oldest: no queue is
// needed, and of what went lately hardly one in a hundred is forgotten early. With a place for each hash one in three
// was, and the pages of a large request that came back went separate ways, where one that is missed later makes the
// whole request wait. Its age is counted in pages that went like it.
//
// Owner: a PageCache. Deterministic. Memory: kBytesPerPage for each page of the cache.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/random.h"

namespace foreshard::policy {

// How a page went that is remembered.
enum class Gone : uint8_t {
  kUnused,     // prefetched, and not used
  kUnread,     // written, and not read
  kFromSmall,  // read, and not again
  kFromMain,   // read again, and then no more
  kRefused     // it was not let in
};

class Ghosts {
 public:
  static constexpr uint64_t kBytesPerPage = 16;
  struct Found {
    Gone how = Gone::kUnused;
    bool near = false;  // with somewhat more room it would be there
  };

  // Forgets all.
  void reset(uint64_t capacity_pages) {
    sets_ = std::vector<Set>((capacity_pages * 2 + kWays - 1) / kWays);
    remembered_ = static_cast<uint64_t>(kRememberedShare * static_cast<double>(capacity_pages));
    near_ = static_cast<uint64_t>(kNearShare * static_cast<double>(capacity_pages));
  }
  void remember(uint64_t key, Gone how) {
    uint32_t& gone = gone_[clock_of(how)];
    gone = gone % kNumbers + 1;
    const auto fingerprint = static_cast<uint32_t>(mix64(key));
    Place* place = locate(key);
    if (place == nullptr) {
      Set& set = set_of(key);
      place = std::max_element(set.places.begin(), set.places.end(),
                               [this](const Place& a, const Place& b) { return age_of(a) < age_of(b); });
    }
    *place = {fingerprint, static_cast<uint32_t>(how), gone};
  }
  std::optional<Found> find(uint64_t key) {
    const Place* place = locate(key);
    if (place == nullptr || age_of(*place) > remembered_) return std::nullopt;
    return Found{static_cast<Gone>(place->how), age_of(*place) <= near_};
  }
  void forget(uint64_t key) {
    if (Place* place = locate(key)) *place = {};
  }

 private:
  // Of the capacity: what is remembered at all, and what is near.
  static constexpr double kRememberedShare = 0.9, kNearShare = 0.25;
  static constexpr uint32_t kNumbers = (1u << 29) - 1;  // 1 to so many, and again
  struct Place {
    uint32_t fingerprint = 0;
    uint32_t how : 3 = 0;
    uint32_t number : 29 = 0;  // how many had gone like it by then; 0: none
  };
  static_assert(sizeof(Place) * 2 == kBytesPerPage);
  static constexpr uint64_t kWays = 8;
  struct alignas(64) Set {
    std::array<Place, kWays> places;
  };
  static_assert(sizeof(Set) == 64);

  // What was read leaves one cache, whichever queue it was in.
  static uint32_t clock_of(Gone how) { return static_cast<uint32_t>(how == Gone::kFromMain ? Gone::kFromSmall : how); }
  Set& set_of(uint64_t key) { return sets_[spread(mix64(key), sets_.size())]; }
  Place* locate(uint64_t key) {
    const auto fingerprint = static_cast<uint32_t>(mix64(key));
    for (Place& place : set_of(key).places) {
      if (place.number != 0 && place.fingerprint == fingerprint) return &place;
    }
    return nullptr;
  }
  // In pages; of one that is free more than any.
  uint64_t age_of(const Place& place) const {
    if (place.number == 0) return kNumbers;
    return (gone_[clock_of(static_cast<Gone>(place.how))] + kNumbers - place.number) % kNumbers;
  }

  std::vector<Set> sets_;
  std::array<uint32_t, 5> gone_{};  // by clock
  uint64_t remembered_ = 0, near_ = 0;
};

}  // namespace foreshard::policy
