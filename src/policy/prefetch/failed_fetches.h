// FailedFetches: pages that could not be fetched, for a reason that will be there the next time too, such as damage on
// the server's disk. What proposes them goes on doing so; without this they would be asked for again at every request,
// for nothing. A page is left alone for ten seconds, and each time that it soon fails again for twice as long as
// before, up to five minutes: it may have been repaired. A reader who asks for it gets his attempt all the same, and so
// does a hint: nobody looks here for those.
//
// Owner: the Prefetcher. Plain arithmetic, no clock. Memory: fixed; where more pages fail than there is room for,
// those whose time is over first are forgotten, and are tried again the sooner.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/random.h"

namespace foreshard::policy {

class FailedFetches {
 public:
  static constexpr uint64_t kFirstNs = 10'000'000'000;
  static constexpr uint64_t kMostNs = 300'000'000'000;
  static constexpr uint64_t kPages = 1024;

  FailedFetches() : entries_(kPages) {}

  void add(uint64_t page, uint64_t now_ns) {
    Entry* const set = set_of(page);
    Entry* entry = std::find_if(set, set + kWays, [page](const Entry& one) { return one.is(page); });
    if (entry == set + kWays) {
      entry =
          std::min_element(set, set + kWays, [](const Entry& a, const Entry& b) { return a.until_ns < b.until_ns; });
      *entry = {.page = page};
    } else if (now_ns < entry->until_ns) {
      return;  // it had been asked for before that was known
    } else if (now_ns - entry->until_ns > entry->pause_ns) {
      entry->pause_ns = 0;  // it may have been good in the meantime
    }
    entry->pause_ns = entry->pause_ns == 0 ? kFirstNs : std::min(entry->pause_ns * 2, kMostNs);
    entry->until_ns = now_ns + entry->pause_ns;
    last_until_ns_ = std::max(last_until_ns_, entry->until_ns);
  }
  // Whether it is to be left alone for now. Costs a comparison where nothing has failed lately.
  bool holds(uint64_t page, uint64_t now_ns) const {
    if (now_ns >= last_until_ns_) return false;
    const Entry* const set = set_of(page);
    return std::any_of(set, set + kWays, [=](const Entry& one) { return one.is(page) && now_ns < one.until_ns; });
  }
  // They have come, or are about to be written.
  void forget(uint64_t first_page, uint64_t pages) {
    if (last_until_ns_ == 0) return;
    if (pages <= kOneByOneMax) {
      for (uint64_t i = 0; i < pages; ++i) {
        Entry* const set = set_of(first_page + i);
        std::replace_if(
            set, set + kWays, [=](const Entry& one) { return one.is(first_page + i); }, Entry{});
      }
    } else {
      const auto within = [=](const Entry& one) { return one.page - first_page < pages; };
      std::replace_if(entries_.begin(), entries_.end(), within, Entry{});
    }
  }
  uint64_t memory_bytes() const { return entries_.size() * sizeof(Entry); }

 private:
  static constexpr uint64_t kWays = 4;
  static constexpr uint64_t kOneByOneMax = 256;  // pages; beyond, to look at all entries costs less
  struct Entry {
    uint64_t page = 0;
    uint64_t pause_ns = 0;  // 0: free
    uint64_t until_ns = 0;
    bool is(uint64_t other) const { return pause_ns != 0 && page == other; }
  };

  const Entry* set_of(uint64_t page) const { return &entries_[mix64(page) % (kPages / kWays) * kWays]; }
  Entry* set_of(uint64_t page) { return &entries_[mix64(page) % (kPages / kWays) * kWays]; }

  std::vector<Entry> entries_;
  uint64_t last_until_ns_ = 0;  // of all that were ever added
};

}  // namespace foreshard::policy
