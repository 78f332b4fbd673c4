#include "policy/cache/page_cache.h"

#include <sys/mman.h>

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "base/random.h"
#include "policy/cache/without_prefetch.h"

namespace foreshard::policy {
namespace {

constexpr uint8_t kUsesMax = 3;
constexpr uint64_t kPagesPerRegion = 256;
// Of the capacity, and never more than half of what is read: beyond it the small queue gives up its oldest page before
// the main one does. The paper gives it a tenth; what is used after it was prefetched comes through here too.
constexpr double kSmallShare = 0.15;
constexpr uint64_t kRequestPages = 32;  // what lies side by side is taken for requests of so many pages
uint64_t part(double share, uint64_t pages) { return static_cast<uint64_t>(share * static_cast<double>(pages)); }

std::byte* map_arena(uint64_t pages) {
  void* memory =
      mmap(nullptr, pages * kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT(memory != MAP_FAILED, pages);
  return static_cast<std::byte*>(memory);
}

}  // namespace

PageCache::PageCache(uint64_t capacity_bytes) {
  capacity_pages_ = std::min(capacity_bytes, kCapacityBytesMax) / kPageBytes;
  if (capacity_pages_ == 0) return;
  arena_ = map_arena(capacity_pages_);
  allocate_metadata();
}

PageCache::~PageCache() {
  if (arena_ != nullptr) munmap(arena_, capacity_pages_ * kPageBytes);
}

void PageCache::allocate_metadata() {
  table_ = std::vector<Entry>(capacity_pages_ + capacity_pages_ * 2 / 3 + 2);
  slots_.resize(capacity_pages_);
  slots_.shrink_to_fit();
  ghosts_.reset(capacity_pages_);
  region_counters_ = std::vector<uint32_t>(capacity_pages_ / 8 + 1);
}

uint64_t PageCache::home(uint64_t key) const { return spread(mix64(key), table_.size()); }

uint64_t PageCache::locate(uint64_t key) const {
  uint64_t position = home(key);
  while (table_[position].slot != kNone && table_[position].key != key) {
    if (++position == table_.size()) position = 0;
  }
  return position;
}

// Linear probing without tombstones: entries behind the hole that may move closer to their home do so.
void PageCache::remove_entry(uint64_t position) {
  const uint64_t size = table_.size();
  uint64_t hole = position;
  for (uint64_t next = hole + 1;; ++next) {
    if (next >= size) next = 0;
    if (table_[next].slot == kNone) break;
    const uint64_t from_home = (next + size - home(table_[next].key)) % size;
    const uint64_t from_hole = (next + size - hole) % size;
    if (from_home >= from_hole) {
      table_[hole] = table_[next];
      hole = next;
    }
  }
  table_[hole] = Entry{};
}

uint32_t& PageCache::region_counter(uint64_t key) {
  return region_counters_[spread(mix64(key / kPagesPerRegion), region_counters_.size())];
}

void PageCache::push_newest(Queue queue, uint32_t slot) {
  List& list = queues_[queue];
  slots_[slot].newer = kNone;
  slots_[slot].older = list.newest;
  if (list.newest != kNone) {
    slots_[list.newest].newer = slot;
  } else {
    list.oldest = slot;
  }
  list.newest = slot;
  ++list.pages;
}

void PageCache::unlink(Queue queue, uint32_t slot) {
  List& list = queues_[queue];
  const Slot& node = slots_[slot];
  (node.newer != kNone ? slots_[node.newer].older : list.newest) = node.older;
  (node.older != kNone ? slots_[node.older].newer : list.oldest) = node.newer;
  --list.pages;
  if (queue == kProbation) to_drop_ = std::min(to_drop_, list.pages);
}

void PageCache::watch_prefetching(bool watch) {
  watches_ = watch;
  if (!watch) without_ = nullptr;
  if (watch && without_ == nullptr && capacity_pages_ != 0)
    without_ = std::make_unique<WithoutPrefetch>(capacity_pages_, used_pages_ != 0);
}

const Payback* PageCache::payback() const { return without_ == nullptr ? nullptr : &without_->payback(); }

bool PageCache::prefetching_pays() const { return without_ == nullptr || without_->payback().pays(); }

bool PageCache::watched(uint64_t key) const { return without_ != nullptr && without_->samples(key); }

uint64_t PageCache::memory_bytes_max() const {
  return capacity_pages_ * (kPageBytes + kMetadataBytesPerPage) +
         (without_ == nullptr ? 0 : WithoutPrefetch::kBytesMax);
}

PageCache::Hit PageCache::find(uint64_t key) {
  if (!watched(key)) return look_up(key);
  const bool hinted = table_[locate(key)].hinted;
  const Hit hit = look_up(key);
  using enum WithoutPrefetch::Found;
  if (hit) {
    without_->read(key, hit.first_use && !hinted ? kFirstUse : kThere);
  } else {
    without_->read(key, at_hand_ && without_->would_have(key) && at_hand_(key) ? kAtHand : kNot);
  }
  return hit;
}

PageCache::Hit PageCache::look_up(uint64_t key) {
  if (capacity_pages_ == 0) [[unlikely]] {
    ++statistics_.misses;
    return {};
  }
  Entry& entry = table_[locate(key)];
  if (entry.slot == kNone) {
    ++statistics_.misses;
    return {};
  }
  ++statistics_.hits;
  if (entry.queue <= kWritten) [[unlikely]] {
    const bool prefetched = entry.queue == kProbation;
    prefetched ? first_use(entry) : first_read(entry);
    return {data(entry.slot), prefetched};
  }
  if (entry.uses < kUsesMax) ++entry.uses;
  return {data(entry.slot), false};
}

const std::byte* PageCache::peek(uint64_t key) const {
  if (capacity_pages_ == 0) return nullptr;
  const Entry& entry = table_[locate(key)];
  return entry.slot == kNone ? nullptr : data(entry.slot);
}

// From its first use on a prefetched page is what it would be had it been read on demand.
void PageCache::first_use(Entry& entry) {
  ++statistics_.prefetched_used;
  --statistics_.prefetched_waiting;
  // It had to be fetched twice for want of room.
  if (entry.again) too_small(PageKind::kPrefetched, entry.key);
  entry.again = entry.hinted = false;
  first_read(entry);
}

// From the queue where it waited into those of what is read.
void PageCache::first_read(Entry& entry) {
  unlink(entry.queue, entry.slot);
  entry.queue = came_back(entry.key) ? kMain : kSmall;
  entry.uses = 0;
  push_newest(entry.queue, entry.slot);
}

void PageCache::waste(const Entry& entry, bool evicted) {
  const uint64_t key = entry.key;
  ++statistics_.prefetched_wasted;
  --statistics_.prefetched_waiting;
  if (!entry.hinted && watched(key)) without_->wasted();
  if (on_wasted_) on_wasted_(key, evicted);
}

std::byte* PageCache::overwrite(uint64_t key) {
  if (capacity_pages_ == 0) return nullptr;
  Entry& entry = table_[locate(key)];
  if (entry.slot == kNone) return nullptr;
  if (watched(key)) without_->insert(key, Origin::kWrite);
  if (entry.queue == kProbation) {
    waste(entry, false);
    unlink(kProbation, entry.slot);
    entry.queue = kWritten;
    entry.again = entry.hinted = false;
    push_newest(kWritten, entry.slot);
  }
  return data(entry.slot);
}

std::byte* PageCache::insert(uint64_t key, Origin origin) {
  if (capacity_pages_ == 0) return nullptr;
  const uint64_t position = locate(key);
  if (table_[position].slot == kNone) return insert_new(key, origin, position);
  if (origin == Origin::kWrite) return overwrite(key);
  if (origin == Origin::kDemand && watched(key)) without_->insert(key, origin);
  // A demand read that fetched what was prefetched meanwhile has used it.
  if (origin == Origin::kDemand && table_[position].queue == kProbation) {
    if (!table_[position].hinted && watched(key)) without_->unneeded();
    first_use(table_[position]);
    if (on_used_) on_used_(key);
  }
  return data(table_[position].slot);
}

std::byte* PageCache::insert_new(uint64_t key, Origin origin, uint64_t position) {
  if (used_pages_ == capacity_pages_) {
    make_room(capacity_pages_);
    position = locate(key);
  }
  const uint32_t slot = take_slot();
  Entry entry{.key = key, .slot = slot};
  switch (origin) {
    case Origin::kHint:
    case Origin::kPrefetch: {
      ++statistics_.prefetched;
      ++statistics_.prefetched_waiting;
      const std::optional<Ghosts::Found> ghost = ghosts_.find(key);
      entry.queue = kProbation;
      entry.hinted = origin == Origin::kHint;
      entry.again = ghost && ghost->how == Gone::kUnused && ghost->near;
      break;
    }
    case Origin::kWrite: entry.queue = kWritten; break;
    case Origin::kDemand:
      missed(key);
      entry.queue = came_back(key) ? kMain : kSmall;
      break;
  }
  slots_[slot].key = key;
  table_[position] = entry;
  push_newest(entry.queue, slot);
  ++region_counter(key);
  ++used_pages_;
  ++statistics_.inserted;
  if (watched(key)) origin == Origin::kPrefetch ? without_->issued() : without_->insert(key, origin);
  return data(slot);
}

uint32_t PageCache::take_slot() {
  if (free_ == kNone) return static_cast<uint32_t>(untouched_++);
  return std::exchange(free_, slots_[free_].newer);
}

// Evicts one page: of the kind that is furthest beyond its share of so many pages, to which the cache may be shrinking.
void PageCache::make_room(uint64_t capacity_pages) {
  const bool pays = prefetching_pays();
  if (std::exchange(paid_, pays) && !pays) to_drop_ = queues_[kProbation].pages;
  if (pays) to_drop_ = 0;
  if (drop_one_waiting()) return;
  const uint64_t read_pages = queues_[kSmall].pages + queues_[kMain].pages;
  switch (shares_.most_beyond({queues_[kProbation].pages, queues_[kWritten].pages, read_pages}, capacity_pages)) {
    case PageKind::kPrefetched: return evict_oldest(kProbation, Gone::kUnused);
    case PageKind::kWritten: return evict_oldest(kWritten, Gone::kUnread);
    case PageKind::kRead: break;
  }
  const uint64_t small_most = std::min(part(kSmallShare, capacity_pages), read_pages / 2);
  for (;;) {
    const bool small = queues_[kSmall].pages > small_most || queues_[kMain].pages == 0;
    if (small ? evict_from_small() : evict_from_main()) return;
  }
}

// Of those that waited when prefetching was stopped; what the client asked for by a hint waits on.
bool PageCache::drop_one_waiting() {
  while (to_drop_ != 0) {
    --to_drop_;
    const uint32_t slot = queues_[kProbation].oldest;
    if (!table_[locate(slots_[slot].key)].hinted) {
      evict_oldest(kProbation, Gone::kUnused);
      return true;
    }
    unlink(kProbation, slot);
    push_newest(kProbation, slot);
  }
  return false;
}

void PageCache::evict_oldest(Queue queue, Gone how) {
  ++statistics_.evicted;
  const uint64_t key = slots_[queues_[queue].oldest].key;
  ghosts_.remember(key, how);
  drop(locate(key), true);
}

// Each look at the oldest page either evicts it, moves it on for good, or takes away one of its few uses, so that
// the loops around these two end.
bool PageCache::evict_from_small() {
  const uint32_t slot = queues_[kSmall].oldest;
  const uint64_t key = slots_[slot].key;
  Entry& entry = table_[locate(key)];
  if (entry.uses > 0) {
    unlink(kSmall, slot);
    entry.queue = kMain;
    entry.uses = 0;
    push_newest(kMain, slot);
    return false;
  }
  evict_oldest(kSmall, Gone::kFromSmall);
  return true;
}

bool PageCache::evict_from_main() {
  const uint32_t slot = queues_[kMain].oldest;
  Entry& entry = table_[locate(slots_[slot].key)];
  if (entry.uses > 0) {
    --entry.uses;
    unlink(kMain, slot);
    push_newest(kMain, slot);
    return false;
  }
  evict_oldest(kMain, Gone::kFromMain);
  return true;
}

void PageCache::drop(uint64_t position, bool evicted) {
  const Entry entry = table_[position];
  if (entry.queue == kProbation) {
    waste(entry, evicted);
  } else if (evicted && on_evicted_) {
    // What was used again is in the main queue: it moves there before the small one evicts it.
    on_evicted_(entry.key, data(entry.slot), entry.queue == kMain);
  }
  unlink(entry.queue, entry.slot);
  remove_entry(position);
  --region_counter(entry.key);
  slots_[entry.slot].newer = free_;
  free_ = entry.slot;
  --used_pages_;
}

// Whether it was asked for while it was remembered from the small queue, or from outside; what it was is forgotten.
bool PageCache::came_back(uint64_t key) {
  const std::optional<Ghosts::Found> ghost = ghosts_.find(key);
  if (!ghost) return false;
  ghosts_.forget(key);
  return ghost->how == Gone::kFromSmall || ghost->how == Gone::kRefused;
}

// A page had to be read: whose room was too small?
void PageCache::missed(uint64_t key) {
  const std::optional<Ghosts::Found> ghost = ghosts_.find(key);
  if (!ghost || !ghost->near) return;
  switch (ghost->how) {
    case Gone::kUnused: return too_small(PageKind::kPrefetched, key);
    case Gone::kUnread: return too_small(PageKind::kWritten, key);
    case Gone::kFromSmall:
    case Gone::kFromMain: return too_small(PageKind::kRead, key);
    case Gone::kRefused: return;  // no room would have kept it
  }
}

// The pages of a request lie side by side, and it waits once; but so do those of a stream of small requests, of which
// each waits. Where one ends and the next begins is not known here.
void PageCache::too_small(PageKind kind, uint64_t key) {
  missed_in_row_ = last_missed_ && key == *last_missed_ + 1 ? missed_in_row_ + 1 : 0;
  last_missed_ = key;
  if (missed_in_row_ % kRequestPages == 0) shares_.give(kind, capacity_pages_);
}

bool PageCache::worth_inserting(uint64_t key) {
  if (capacity_pages_ == 0) return false;
  if (used_pages_ < capacity_pages_ || contains(key)) return true;
  if (ghosts_.find(key)) return true;
  ghosts_.remember(key, Gone::kRefused);
  return false;
}

bool PageCache::erase(uint64_t key) {
  if (watched(key)) without_->erase(key);
  return erase_here(key);
}

bool PageCache::erase_here(uint64_t key) {
  if (capacity_pages_ == 0) return false;
  const uint64_t position = locate(key);
  if (table_[position].slot == kNone) return false;
  ++statistics_.erased;
  drop(position, false);
  return true;
}

uint64_t PageCache::erase_range(uint64_t first, uint64_t count) {
  if (count == 0) return 0;
  if (without_ != nullptr) without_->erase_range(first, count);
  if (used_pages_ == 0) return 0;
  const uint64_t last = count - 1 > UINT64_MAX - first ? UINT64_MAX : first + (count - 1);
  const uint64_t used_before = used_pages_;
  if ((last - first) / kPagesPerRegion > slots_.size() / 16) {
    for (uint64_t slot = 0; slot < untouched_; ++slot) {
      const uint64_t key = slots_[slot].key;
      if (key < first || key > last) continue;
      // A free slot still names the page that it held; if that page lives elsewhere now, it goes all the same.
      erase_here(key);
    }
    return used_before - used_pages_;
  }
  for (uint64_t key = first;;) {
    const uint64_t region_last = std::min(last, key | (kPagesPerRegion - 1));
    if (region_counter(key) != 0) {
      for (uint64_t page = key;; ++page) {
        erase_here(page);
        if (page == region_last) break;
      }
    }
    if (region_last == last) return used_before - used_pages_;
    key = region_last + 1;
  }
}

// Moves the pages in slots beyond the new end into free ones before it, and makes a new free list.
void PageCache::compact_slots(uint64_t pages) {
  std::vector<bool> taken(untouched_, false);
  for (const List& list : queues_) {
    for (uint32_t slot = list.newest; slot != kNone; slot = slots_[slot].older) taken[slot] = true;
  }
  uint32_t target = 0;
  for (uint64_t from = pages; from < untouched_; ++from) {
    if (!taken[from]) continue;
    while (taken[target]) ++target;
    taken[target] = true;
    const Slot& node = slots_[from];
    Entry& entry = table_[locate(node.key)];
    List& list = queues_[entry.queue];
    (node.newer != kNone ? slots_[node.newer].older : list.newest) = target;
    (node.older != kNone ? slots_[node.older].newer : list.oldest) = target;
    slots_[target] = node;
    entry.slot = target;
    std::memcpy(data(target), data(static_cast<uint32_t>(from)), kPageBytes);
  }
  untouched_ = std::min(untouched_, pages);
  free_ = kNone;
  for (uint64_t slot = untouched_; slot-- > 0;) {
    if (taken[slot]) continue;
    slots_[slot].newer = free_;
    free_ = static_cast<uint32_t>(slot);
  }
}

void PageCache::set_capacity(uint64_t capacity_bytes) {
  const uint64_t pages = std::min(capacity_bytes, kCapacityBytesMax) / kPageBytes;
  if (pages == capacity_pages_) return;
  without_ = nullptr;
  resize(pages);
  watch_prefetching(watches_);
}

void PageCache::resize(uint64_t pages) {
  while (used_pages_ > pages) make_room(pages);
  if (capacity_pages_ != 0 && pages != 0) {
    if (pages < capacity_pages_) compact_slots(pages);
    void* memory = mremap(arena_, capacity_pages_ * kPageBytes, pages * kPageBytes, MREMAP_MAYMOVE);
    ASSERT(memory != MAP_FAILED, pages);
    arena_ = static_cast<std::byte*>(memory);
    const std::vector<Entry> old = std::exchange(table_, {});
    capacity_pages_ = pages;
    allocate_metadata();
    for (const Entry& entry : old) {
      if (entry.slot == kNone) continue;
      table_[locate(entry.key)] = entry;
      ++region_counter(entry.key);
    }
    return;
  }
  if (arena_ != nullptr) munmap(arena_, capacity_pages_ * kPageBytes);
  arena_ = nullptr;
  free_ = kNone;
  untouched_ = 0;
  capacity_pages_ = pages;
  if (pages != 0) arena_ = map_arena(pages);
  allocate_metadata();
}

void PageCache::check() const {
  uint64_t pages = 0;
  std::vector<bool> seen(slots_.size(), false);
  for (uint8_t queue = 0; queue < kQueues; ++queue) {
    uint64_t in_queue = 0;
    uint32_t newer = kNone;
    for (uint32_t slot = queues_[queue].newest; slot != kNone; newer = slot, slot = slots_[slot].older) {
      ASSERT(!seen[slot], slot);
      seen[slot] = true;
      ASSERT(slots_[slot].newer == newer, slot);
      const Entry& entry = table_[locate(slots_[slot].key)];
      ASSERT(entry.slot == slot && entry.queue == queue, slot);
      ++in_queue;
    }
    ASSERT(queues_[queue].oldest == newer, queue);
    ASSERT(queues_[queue].pages == in_queue, queue, in_queue);
    pages += in_queue;
  }
  uint64_t entries = 0;
  for (const Entry& entry : table_) entries += entry.slot != kNone;
  ASSERT(pages == used_pages_ && entries == used_pages_ && used_pages_ <= capacity_pages_, pages, entries);
  uint64_t counted = 0;
  for (const uint32_t counter : region_counters_) counted += counter;
  ASSERT(capacity_pages_ == 0 || counted == used_pages_, counted);
  ASSERT(queues_[kProbation].pages == statistics_.prefetched_waiting);
  ASSERT(statistics_.prefetched ==
         statistics_.prefetched_used + statistics_.prefetched_wasted + statistics_.prefetched_waiting);
}

}  // namespace foreshard::policy
