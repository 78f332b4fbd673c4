// PageCache: a read cache of 4 KiB pages under opaque 64-bit keys, with a byte bound. Pages lie in one arena that
// the kernel fills as it is touched; replacement is S3-FIFO (Yang et al., SOSP 2023), which resists scans, with two
// more queues in front: prefetched pages wait in one, on probation, until their first use, written ones in the other
// until they are read. How much room each kind of page has follows what is asked for again after it had to go
// (RoomShares). Where prefetching turns out not to pay (Payback), what waits goes first.
//
// Owner: a driver or a replica server, one executor. It stores what it is told; that a fill is not older than a
// write is for its owner to ensure (FillGuard). Pointers that it hands out stay good until the next call that is
// not const. Deterministic: no decision hangs on anything but the calls made.
//
// Memory: the capacity, and kMetadataBytesPerPage for each of its pages, allocated with the cache; and while it is
// watched WithoutPrefetch::kBytesMax.
//
// Invariant: every page held is in exactly one queue and one entry of the table; a page on probation was
// prefetched and never used; used + wasted + on probation = prefetched.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "policy/cache/ghosts.h"
#include "policy/cache/room_shares.h"

namespace foreshard::policy {

// Why a page is put into the cache. A hint is a prefetch that the client asked for.
enum class Origin : uint8_t { kDemand, kPrefetch, kWrite, kHint };
constexpr bool is_prefetch(Origin origin) { return origin == Origin::kPrefetch || origin == Origin::kHint; }

struct PageCacheStatistics {
  uint64_t hits = 0, misses = 0;    // of find()
  uint64_t inserted = 0;            // pages put in that were not there, whatever their origin
  uint64_t evicted = 0;             // pushed out for want of room
  uint64_t erased = 0;              // by erase() and erase_range()
  uint64_t prefetched = 0;          // inserted as kPrefetch or kHint
  uint64_t prefetched_used = 0;     // of those: found once at least
  uint64_t prefetched_wasted = 0;   // of those: evicted, erased or overwritten without having been found
  uint64_t prefetched_waiting = 0;  // of those: still on probation
};

class Payback;
class WithoutPrefetch;

class PageCache {
 public:
  struct Hit {
    const std::byte* data = nullptr;  // kPageBytes of it; null: not cached
    bool first_use = false;           // it was prefetched, and this is its first use
    explicit operator bool() const { return data != nullptr; }
  };

  // An upper bound: 1/0.6 entries of 16 bytes, a slot of 16, two ghosts of 8, a share of the region counters.
  static constexpr uint64_t kMetadataBytesPerPage = 64;
  // The arena is addressed by 32-bit slots: 8 TiB at most.
  static constexpr uint64_t kCapacityBytesMax = (uint64_t{1} << 31) * kPageBytes;

  // A capacity below one page never stores anything.
  explicit PageCache(uint64_t capacity_bytes);
  ~PageCache();
  PageCache(const PageCache&) = delete;
  PageCache& operator=(const PageCache&) = delete;

  // The page for a reader: counts a hit or a miss, and promotes.
  Hit find(uint64_t key);
  // Whether the page is there, without any effect.
  bool contains(uint64_t key) const { return capacity_pages_ != 0 && table_[locate(key)].slot != kNone; }
  // It is asked about the page soon: gets the memory on its way.
  void expect(uint64_t key) const {
    if (capacity_pages_ != 0) __builtin_prefetch(&table_[home(key)]);
  }
  // The page without any effect on replacement or statistics; null: not cached.
  const std::byte* peek(uint64_t key) const;
  // Where the caller must copy the page, at once. Evicts as needed; a page already there keeps its place in the
  // queues (a prefetched one that is written over is wasted). Null only if the capacity is below one page.
  std::byte* insert(uint64_t key, Origin origin);
  // For a cache behind another one, which sees few pages twice: whether a page that was read on demand is worth its
  // copy, because there is room or because it was there or was asked about lately. If not, it is remembered.
  bool worth_inserting(uint64_t key);
  // Where a cached page may be written over in place; null: not cached.
  std::byte* overwrite(uint64_t key);

  bool erase(uint64_t key);
  // Erases the keys [first, first + count), in time of the smaller of count/256 + pages found and the capacity.
  // Returns how many were there.
  uint64_t erase_range(uint64_t first, uint64_t count);
  // Evicts down to the new capacity and keeps the rest.
  void set_capacity(uint64_t capacity_bytes);

  // Told of a prefetched page that was used without find(): a demand read that had been under way brought it too. It
  // must not call into the cache.
  void set_on_used(std::function<void(uint64_t key)> on_used) { on_used_ = std::move(on_used); }

  // Told of every prefetched page that leaves unused, and whether for want of room; else it was erased or overwritten.
  // It must not call into the cache.
  void set_on_wasted(std::function<void(uint64_t key, bool evicted)> on_wasted) { on_wasted_ = std::move(on_wasted); }

  // Told of every other page that leaves for want of room, before its data are gone: kPageBytes of them, and whether it
  // was asked for again since it came in, or came back soon after it had left. It must not call into the cache.
  using OnEvicted = std::function<void(uint64_t key, const std::byte* data, bool used_again)>;
  void set_on_evicted(OnEvicted on_evicted) { on_evicted_ = std::move(on_evicted); }

  // From now on, or no more, it finds out whether what is fetched ahead spares reads, beside what it would hold
  // without; at first, and unwatched, it is taken to pay. Costs what WithoutPrefetch costs.
  void watch_prefetching(bool watch);
  bool prefetching_pays() const;
  // Asked whether a page that is not here is at hand all the same, in a second tier, so that no read is lost.
  void set_at_hand(std::function<bool(uint64_t key)> at_hand) { at_hand_ = std::move(at_hand); }
  const Payback* payback() const;  // null: not watched

  uint64_t used_bytes() const { return used_pages_ * kPageBytes; }
  uint64_t capacity_bytes() const { return capacity_pages_ * kPageBytes; }
  uint64_t memory_bytes_max() const;
  const PageCacheStatistics& statistics() const { return statistics_; }
  // Walks everything and trips an ASSERT where the invariant does not hold. For tests.
  void check() const;

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  enum Queue : uint8_t { kProbation, kWritten, kSmall, kMain, kQueues };

  // One open-addressing entry: what a hit needs lies in one cache line.
  struct Entry {
    uint64_t key = 0;
    uint32_t slot = kNone;
    uint8_t uses = 0;  // since it was last considered for eviction, capped
    Queue queue = kSmall;
    bool again = false;  // prefetched soon after it had left unused
    bool hinted = false;
  };
  static_assert(sizeof(Entry) == 16);
  struct Slot {
    uint64_t key = 0;
    uint32_t newer = kNone;  // towards the head of its queue; of a free slot: the next free one
    uint32_t older = kNone;
  };
  struct List {
    uint32_t newest = kNone, oldest = kNone;
    uint64_t pages = 0;
  };
  Hit look_up(uint64_t key);
  bool watched(uint64_t key) const;
  uint64_t home(uint64_t key) const;
  uint64_t locate(uint64_t key) const;  // the key's entry, or the empty one where it would go
  void remove_entry(uint64_t position);
  std::byte* data(uint32_t slot) const { return arena_ + uint64_t{slot} * kPageBytes; }
  uint32_t& region_counter(uint64_t key);
  uint32_t take_slot();
  void push_newest(Queue queue, uint32_t slot);
  void unlink(Queue queue, uint32_t slot);
  void make_room(uint64_t capacity_pages);
  void evict_oldest(Queue queue, Gone how);
  bool drop_one_waiting();
  bool erase_here(uint64_t key);
  bool evict_from_small();
  bool evict_from_main();
  void drop(uint64_t position, bool evicted);  // entry, slot and counts of a page that leaves
  void first_use(Entry& entry);
  void first_read(Entry& entry);
  void waste(const Entry& entry, bool evicted);
  bool came_back(uint64_t key);
  void missed(uint64_t key);
  void too_small(PageKind kind, uint64_t key);
  void allocate_metadata();
  void compact_slots(uint64_t pages);
  std::byte* insert_new(uint64_t key, Origin origin, uint64_t position);
  void resize(uint64_t pages);

  uint64_t capacity_pages_ = 0;
  uint64_t used_pages_ = 0;
  std::byte* arena_ = nullptr;
  std::vector<Entry> table_;
  std::vector<Slot> slots_;
  Ghosts ghosts_;
  std::vector<uint32_t> region_counters_;  // by hash of key / 256: how many pages are cached; 0 lets a range skip
  std::array<List, kQueues> queues_;
  uint32_t free_ = kNone;   // slots given back
  uint64_t untouched_ = 0;  // slots from here on were never used
  RoomShares shares_;
  std::optional<uint64_t> last_missed_;  // for want of room for its kind
  uint64_t missed_in_row_ = 0;           // so many side by side before it
  bool watches_ = false;
  std::unique_ptr<WithoutPrefetch> without_;  // null: not watched
  bool paid_ = true;                          // when room was made last
  uint64_t to_drop_ = 0;                      // prefetched pages that waited when it did not pay any more
  std::function<bool(uint64_t)> at_hand_;
  std::function<void(uint64_t, bool)> on_wasted_;
  std::function<void(uint64_t)> on_used_;
  OnEvicted on_evicted_;
  PageCacheStatistics statistics_;
};

}  // namespace foreshard::policy
