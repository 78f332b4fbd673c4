// FillGuard: lets a page be filled into a cache only if no write, zero or discard of it was submitted since the fill
// was issued (R-FILL). It remembers when pages were changed last, by hash of the page: one that shares its place with
// another that was changed is not filled in, which costs a read later and nothing else.
// One executor; both the driver's and the server's cache have one.
#pragma once

#include <cstdint>
#include <vector>

#include "base/random.h"

namespace foreshard::policy {

class FillGuard {
 public:
  // When a fill was issued, in changes.
  struct Ticket {
    uint64_t clock = 0;
  };
  Ticket issue() const { return {clock_}; }
  // To be called when a change of the pages is submitted, and again when it has been applied.
  void changed(uint64_t first_page, uint64_t pages) {
    ++clock_;
    if (pages > kSinglyMax) {
      all_changed_ = clock_;
      return;
    }
    for (uint64_t i = 0; i < pages; ++i) changed_[place_of(first_page + i)] = clock_;
  }
  // Since the ticket was issued.
  bool unchanged(Ticket ticket, uint64_t page) const {
    return all_changed_ <= ticket.clock && changed_[place_of(page)] <= ticket.clock;
  }

 private:
  static constexpr uint64_t kPlaces = 1u << 15;
  static constexpr uint64_t kSinglyMax = kPlaces / 4;  // more pages at once: every fill under way is given up
  static uint64_t place_of(uint64_t page) { return mix64(page) % kPlaces; }

  std::vector<uint64_t> changed_ = std::vector<uint64_t>(kPlaces);  // when last
  uint64_t clock_ = 0, all_changed_ = 0;
};

}  // namespace foreshard::policy
