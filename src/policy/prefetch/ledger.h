// PrefetchLedger: remembers every page that was prefetched, or would have been in shadow, until it is known what
// came of it. Owner: the Prefetcher. Bounded: so many records of each kind in the order of issue; when they run out
// the oldest is written off as wasted.
//
// Two things are told apart. The counts say what truly happened: a prefetched page was used when a reader found it,
// wasted when it left the cache unfound. The outcomes are what decisions learn from, and must not wait for an
// eviction that a large cache may never make: a page unused for `horizon` further pages is an outcome "not used",
// once; its count stays open, and its use after all is an outcome of its own. Shadow pages end at the horizon, being in
// no cache; but for a sample, which is followed on, so that a horizon that has become too short is seen to be.
//
// Invariant, per expert: issued = used + wasted + dropped + waiting + in flight, and
// shadow_issued = shadow_used + shadow_wasted + shadow_waiting.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/random.h"
#include "policy/prefetch/use_delays.h"

namespace foreshard::policy {

inline constexpr uint32_t kExpertsMax = 12;

// In pages.
struct PrefetchCounts {
  uint64_t issued = 0;
  uint64_t used = 0;     // found by a reader, late ones included
  uint64_t late = 0;     // of those: asked for while still in flight
  uint64_t wasted = 0;   // left the cache unused
  uint64_t dropped = 0;  // the fetch failed, or a write came first
  uint64_t waiting = 0;  // in the cache, unused so far
  uint64_t in_flight = 0;
  uint64_t shadow_issued = 0, shadow_used = 0, shadow_wasted = 0, shadow_waiting = 0;
};

class PrefetchLedger {
 public:
  struct Outcome {
    uint32_t record = 0;  // as issue() returned it
    uint8_t expert = 0;
    uint8_t confidence = 0;  // as it was issued
    bool used = false;
    bool shadow = false;
    bool late = false;  // an issued page given as not used was used after all
    uint8_t tag = 0;    // as it was issued
    bool awaited = false;  // an issued page was asked for while it was still in flight
  };

  // How many pages at most are remembered that were issued, and that were issued in shadow; `residence`: what is
  // expected of residence() before anything has left the cache.
  PrefetchLedger(uint64_t issued_max, uint64_t shadow_max, uint64_t residence);

  enum class Held : uint8_t { kNot, kShadow, kIssued };
  Held held(uint64_t page) const {
    if (live_ == 0) return Held::kNot;
    const Entry& entry = table_[locate(page)];
    return entry.sequence == 0 ? Held::kNot : entry.state == State::kShadow ? Held::kShadow : Held::kIssued;
  }
  // It is asked about the page soon: gets the memory on its way.
  void expect(uint64_t page) const { __builtin_prefetch(&table_[home(page)]); }
  bool contains(uint64_t page) const { return live_ != 0 && table_[locate(page)].sequence != 0; }
  bool in_shadow(uint64_t page) const { return contains(page) && table_[locate(page)].state == State::kShadow; }
  // The page must not be contained, except in shadow: that record is withdrawn, as if it had never been. Returns the
  // record's number, below records(), by which outcomes name it until it is taken for another page: the outcome of
  // what is written off for it is the last that means the other. `confidence`: at most kConfidenceMax.
  static constexpr uint8_t kConfidenceMax = 127;
  uint32_t records() const { return issued_records() + static_cast<uint32_t>(shadow_.records.size()); }
  // Those of issued pages come first.
  uint32_t issued_records() const { return static_cast<uint32_t>(issued_.records.size()); }
  // `tag`: what the owner wants to be told again.
  uint32_t issue(uint64_t page, uint8_t expert, uint8_t confidence, bool shadow, uint8_t tag = 0);
  // Whether a shadow page is followed on beyond the horizon: one of sixteen.
  static bool outlives_horizon(uint64_t page) { return mix64(~page) % 16 == 0; }
  // The record of a shadow page whose outcome has not been given yet.
  std::optional<uint32_t> open_shadow(uint64_t page) const;
  // Of a page whose outcome has not been given yet, else 0.
  uint8_t tag(uint64_t page) const {
    if (live_ == 0) return 0;
    const Entry& entry = table_[locate(page)];
    return entry.sequence == 0 || entry.settled ? 0 : entry.tag;
  }
  // The page has arrived in the cache, or will not.
  void fetched(uint64_t page);
  void dropped(uint64_t page);
  // A reader asked for the page: settles shadow pages and those still in flight (late); a page that waits in the
  // cache is settled by used(), as the cache saw its first use.
  void demanded(uint64_t page);
  void used(uint64_t page);
  void demanded_range(uint64_t first_page, uint64_t pages);
  // It left the cache unused: for want of room (evicted), or erased and overwritten.
  void wasted(uint64_t page, bool evicted);
  // A write made a shadow page pointless.
  void overwritten(uint64_t page);
  void overwritten_range(uint64_t first_page, uint64_t pages);
  // `pages` more have gone into the cache; `horizon`: after how many of them a page counts as not used.
  void advance(uint64_t pages, uint64_t horizon);

  // What has come out since it was last emptied; the owner empties it after each call.
  std::vector<Outcome>& outcomes() { return outcomes_; }
  const PrefetchCounts& counts(uint8_t expert) const { return counts_[expert]; }
  uint64_t in_flight() const { return in_flight_; }
  // Truly issued pages whose outcome is not known yet.
  uint64_t open() const { return open_; }
  uint64_t shadow_waiting() const { return shadow_waiting_; }
  // For how many further pages a prefetched one that nobody uses stays in the cache, smoothed.
  double residence() const { return residence_; }
  // In pages that have gone into the cache.
  uint64_t clock() const { return clock_; }
  // After how many further pages those are used that are.
  const UseDelays& delays() const { return delays_; }
  void forget_delays() { delays_ = UseDelays(); }
  uint64_t memory_bytes_max() const {
    return table_.size() * sizeof(Entry) + (issued_.records.size() + shadow_.records.size()) * sizeof(Record);
  }

 private:
  enum class State : uint8_t { kInFlight, kWaiting, kShadow };
  struct Entry {
    uint64_t page = 0;
    uint32_t sequence = 0;  // of its record, never 0 while live
    State state = State::kShadow;
    uint8_t expert = 0;
    uint8_t confidence : 7 = 0;
    bool settled : 1 = false;  // its outcome has been given
    uint8_t tag = 0;
  };
  static_assert(sizeof(Entry) == 16);
  struct Record {
    uint64_t page = 0;
    uint64_t clock = 0;
  };

  // Neighbouring pages share a cache line.
  uint64_t home(uint64_t page) const { return (mix64(page >> 2) << 2 | (page & 3)) & (table_.size() - 1); }
  uint64_t locate(uint64_t page) const;
  Entry* find(uint64_t page);
  void give_outcome(Entry& entry, bool used);
  void count_end(const Entry& entry, bool used);
  void end(Entry& entry, bool used);
  void remove(Entry& entry);
  struct Ring;
  const Ring& ring_of(const Entry& entry) const { return entry.state == State::kShadow ? shadow_ : issued_; }
  Ring& ring_of(const Entry& entry) { return entry.state == State::kShadow ? shadow_ : issued_; }
  uint32_t record_of(const Entry& entry) const;
  static Record& record_at(Ring& ring, const Entry& entry);
  void write_off_oldest(Ring& ring);
  void pass_horizon(Ring& ring, uint64_t horizon);
  // Does it to the pages of the range that are held, in time of the smaller of the range and the records.
  void each(uint64_t first_page, uint64_t pages, void (PrefetchLedger::*settle)(uint64_t));

  // Records [oldest, next) by number modulo its size.
  struct Ring {
    std::vector<Record> records;
    uint64_t oldest = 0, next = 0;
    uint64_t horizon_cursor = 0;  // records before it are past the horizon
    uint32_t sequence_of(uint64_t record) const { return static_cast<uint32_t>(record % (records.size() * 2)) + 1; }
  };

  std::vector<Entry> table_;  // open addressing, a power of two, at most half full
  Ring issued_, shadow_;      // what is proposed in shadow is more, and must not push out what was fetched
  uint64_t clock_ = 0;
  double residence_;
  uint64_t left_ = 0;  // pages that residence_ comes from
  UseDelays delays_;
  uint64_t live_ = 0, in_flight_ = 0, open_ = 0, shadow_waiting_ = 0;
  std::array<PrefetchCounts, kExpertsMax> counts_{};
  std::vector<Outcome> outcomes_;
};

}  // namespace foreshard::policy
