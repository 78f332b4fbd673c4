#include "policy/cache/lru_cache.h"

#include <algorithm>

#include "base/random.h"

namespace foreshard::policy {
namespace {

constexpr uint64_t kTableMin = 64;

}  // namespace

uint64_t LruCache::home(uint64_t key) const { return mix64(key) & (table_.size() - 1); }

// The key's place in the table, or the empty one where it would go. The table must not be empty.
uint64_t LruCache::locate(uint64_t key) const {
  uint64_t place = home(key);
  while (table_[place] != kNone && nodes_[table_[place]].key != key) place = (place + 1) & (table_.size() - 1);
  return place;
}

// Entries behind the hole that may move closer to their home do so.
void LruCache::remove_place(uint64_t place) {
  const uint64_t mask = table_.size() - 1;
  uint64_t hole = place;
  for (uint64_t next = (hole + 1) & mask; table_[next] != kNone; next = (next + 1) & mask) {
    const uint64_t from_home = (next - home(nodes_[table_[next]].key)) & mask;
    const uint64_t from_hole = (next - hole) & mask;
    if (from_home < from_hole) continue;
    table_[hole] = table_[next];
    hole = next;
  }
  table_[hole] = kNone;
}

void LruCache::grow() {
  table_.assign(std::max(kTableMin, table_.size() * 2), kNone);
  for (uint32_t node = newest_; node != kNone; node = nodes_[node].older) table_[locate(nodes_[node].key)] = node;
}

void LruCache::push_newest(uint32_t node) {
  nodes_[node].newer = kNone;
  nodes_[node].older = newest_;
  (newest_ != kNone ? nodes_[newest_].newer : oldest_) = node;
  newest_ = node;
}

void LruCache::unlink(uint32_t node) {
  const Node& gone = nodes_[node];
  (gone.newer != kNone ? nodes_[gone.newer].older : newest_) = gone.older;
  (gone.older != kNone ? nodes_[gone.older].newer : oldest_) = gone.newer;
}

bool LruCache::contains(uint64_t key) const { return !table_.empty() && table_[locate(key)] != kNone; }

LruCache::Hit LruCache::find(uint64_t key) {
  if (table_.empty()) return {};
  const uint32_t node = table_[locate(key)];
  if (node == kNone) return {};
  const bool first_use = nodes_[node].prefetched;
  nodes_[node].prefetched = false;
  unlink(node);
  push_newest(node);
  return {true, first_use};
}

void LruCache::insert(uint64_t key, Origin origin) {
  if (capacity_pages_ == 0) return;
  if (!table_.empty() && table_[locate(key)] != kNone) {
    if (is_prefetch(origin)) return;
    const Hit hit = find(key);
    if (origin == Origin::kWrite && hit.first_use && on_wasted_) on_wasted_(key, false);
    return;
  }
  if (used_ == capacity_pages_) evict_oldest();
  if ((used_ + 1) * 2 > table_.size()) grow();
  uint32_t node = static_cast<uint32_t>(nodes_.size());
  if (free_.empty()) {
    nodes_.emplace_back();
  } else {
    node = free_.back();
    free_.pop_back();
  }
  nodes_[node] = {key, kNone, kNone, is_prefetch(origin)};
  table_[locate(key)] = node;
  push_newest(node);
  ++used_;
}

void LruCache::evict_oldest() {
  const Node gone = nodes_[oldest_];
  erase(gone.key);
  if (gone.prefetched && on_wasted_) on_wasted_(gone.key, true);
}

bool LruCache::erase(uint64_t key) {
  if (table_.empty()) return false;
  const uint64_t place = locate(key);
  const uint32_t node = table_[place];
  if (node == kNone) return false;
  unlink(node);
  remove_place(place);
  free_.push_back(node);
  --used_;
  return true;
}

}  // namespace foreshard::policy
