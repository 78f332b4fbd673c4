// Ghosts: which pages were lately in a cache, or asked for and not let in, and how they went. Replacement learns from
// what is asked for again: what left the small queue belongs into the main one, and what left a moment ago would have
// been there with more room for its kind.
//
// A ghost lies where its hash says, a newer one replacing an older: some are forgotten early, and in return no queue is
// needed. Its age is counted in pages that went like it.
//
// Owner: a PageCache. Deterministic. Memory: kBytesPerPage for each page of the cache.
#pragma once

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
    places_ = std::vector<Place>(capacity_pages * 2);
    remembered_ = static_cast<uint64_t>(kRememberedShare * static_cast<double>(capacity_pages));
    near_ = static_cast<uint64_t>(kNearShare * static_cast<double>(capacity_pages));
  }
  void remember(uint64_t key, Gone how) {
    uint32_t& gone = gone_[clock_of(how)];
    gone = gone % kNumbers + 1;
    places_[place_of(key)] = {static_cast<uint32_t>(mix64(key)), static_cast<uint32_t>(how), gone};
  }
  std::optional<Found> find(uint64_t key) const {
    const Place& place = places_[place_of(key)];
    if (place.number == 0 || place.fingerprint != static_cast<uint32_t>(mix64(key))) return std::nullopt;
    const auto how = static_cast<Gone>(place.how);
    const uint64_t age = (gone_[clock_of(how)] + kNumbers - place.number) % kNumbers;
    if (age > remembered_) return std::nullopt;
    return Found{how, age <= near_};
  }
  void forget(uint64_t key) { places_[place_of(key)] = {}; }

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

  // What was read leaves one cache, whichever queue it was in.
  static uint32_t clock_of(Gone how) { return static_cast<uint32_t>(how == Gone::kFromMain ? Gone::kFromSmall : how); }
  uint64_t place_of(uint64_t key) const { return spread(mix64(key), places_.size()); }

  std::vector<Place> places_;
  std::array<uint32_t, 5> gone_{};  // by clock
  uint64_t remembered_ = 0, near_ = 0;
};

}  // namespace foreshard::policy
