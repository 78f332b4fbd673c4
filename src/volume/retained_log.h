// RetainedLog: what the driver must be able to write again when a server comes back without it (R-RETAIN): every
// write and zero acknowledged and not yet covered by a flush of all servers, in the order of acknowledgement.
// Overlapping requests are acknowledged in the order they were applied (the interval table), so replaying the
// log in order gives the newest contents. A request that was sent and then given up is in it as well: the server may
// have applied it and a client read it, so it is written again as if it had been acknowledged.
//
// Invariant: an entry leaves only when a flush that started after its append has succeeded on every server.
// Bounded by the driver, which flushes by itself past retained_bytes_max or retained_age_ns_max.
#pragma once

#include <cstdint>
#include <deque>

#include "base/buffer.h"

namespace foreshard::volume {

class ServerLink;

struct RetainedEntry {
  uint64_t tick = 0;         // order of acknowledgement: 1, 2, ...
  uint64_t sequence = 0;     // the write's own
  uint64_t first_page = 0;
  uint64_t pages = 0;
  Buffer data;               // whole pages; empty: zeros
  bool may_unmap = true;     // of zeros
  bool answered = true;      // false: given up, after it had been sent
  ServerLink* link = nullptr;  // whose it is
  uint64_t time_ns = 0;
};

class RetainedLog {
 public:
  // What an entry without data counts for.
  static constexpr uint64_t kEntryBytes = 128;

  // The tick of the newest entry: a flush that starts now covers all up to it.
  uint64_t newest_tick() const { return newest_tick_; }
  void append(RetainedEntry entry) {
    entry.tick = ++newest_tick_;
    bytes_ += entry.data.size() + kEntryBytes;
    entries_.push_back(std::move(entry));
  }
  // The entry came to nothing: its server refused it, and had never carried it out. Its place stays.
  void void_entry(uint64_t tick) {
    if (entries_.empty() || tick < entries_.front().tick || tick > entries_.back().tick) return;
    RetainedEntry& entry = entries_[tick - entries_.front().tick];
    bytes_ -= entry.data.size();
    entry.data = Buffer();
    entry.pages = 0;
  }
  // Every server is durable up to this tick.
  void drop_through(uint64_t tick) {
    while (!entries_.empty() && entries_.front().tick <= tick) {
      bytes_ -= entries_.front().data.size() + kEntryBytes;
      entries_.pop_front();
    }
  }
  uint64_t bytes() const { return bytes_; }
  bool empty() const { return entries_.empty(); }
  uint64_t oldest_time_ns() const { return entries_.empty() ? UINT64_MAX : entries_.front().time_ns; }
  // Entries by place, oldest first. Places shift when entries are dropped.
  size_t size() const { return entries_.size(); }
  const RetainedEntry& at(size_t place) const { return entries_[place]; }
  // The first entry with a tick above this one; nothing when there is none.
  const RetainedEntry* after(uint64_t tick) const {
    if (entries_.empty() || entries_.back().tick <= tick) return nullptr;
    const uint64_t oldest = entries_.front().tick;
    return &entries_[tick < oldest ? 0 : tick - oldest + 1];
  }

 private:
  std::deque<RetainedEntry> entries_;  // ticks are consecutive
  uint64_t newest_tick_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace foreshard::volume
