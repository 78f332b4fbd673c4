// FillGuard: lets a page be filled into a cache only if no write, zero or discard of it was submitted since the
// fill was issued (R-FILL). Counters by hash of the page instead of pages: a collision only drops a fill.
// One executor; both the driver's and the server's cache have one.
#pragma once

#include <array>
#include <cstdint>

#include "base/random.h"

namespace foreshard::policy {

class FillGuard {
 public:
  // What was seen when a fill of [first, first + pages) was issued.
  struct Ticket {
    uint64_t sum = 0;
  };
  Ticket issue(uint64_t first_page, uint64_t pages) const { return {sum(first_page, pages)}; }
  // To be called when a change of the pages is submitted, and again when it has been applied.
  void changed(uint64_t first_page, uint64_t pages) {
    if (pages >= kCounters) {
      ++all_;
      return;
    }
    for (uint64_t i = 0; i < pages; ++i) ++counters_[slot(first_page + i)];
  }
  bool unchanged(Ticket ticket, uint64_t first_page, uint64_t pages) const {
    return ticket.sum == sum(first_page, pages);
  }

 private:
  static constexpr uint64_t kCounters = 4096;
  static uint64_t slot(uint64_t page) { return mix64(page) % kCounters; }
  // Counters only grow, so equal sums mean that none of them has changed.
  uint64_t sum(uint64_t first_page, uint64_t pages) const {
    uint64_t total = all_;
    for (uint64_t i = 0; i < pages; ++i) total += counters_[slot(first_page + i)];
    return total;
  }
  std::array<uint64_t, kCounters> counters_{};
  uint64_t all_ = 0;
};

}  // namespace foreshard::policy
