// WithoutPrefetch: what a cache would hold had nothing been fetched ahead: the same cache in miniature, of keys only,
// for a sample of the pages by hash (Waldspurger et al., ATC 2017, "Cache modeling and optimization using miniature
// simulations"). Beside what the cache has it tells which reads prefetching spares and which it costs (Payback).
//
// Owner: a PageCache, which tells it of every call. Deterministic. Memory: kBytesMax.
//
// Invariant: once it is full, or if it was there from the start, it holds what a cache of its size would hold that is
// shown the sampled pages' reads, writes, erasures and hints and no prefetches.
#pragma once

#include <cstdint>

#include "base/random.h"
#include "policy/cache/page_cache.h"
#include "policy/cache/payback.h"

namespace foreshard::policy {

class WithoutPrefetch {
 public:
  static constexpr uint64_t kPagesMax = 4096;  // of its cache; a smaller one is copied whole
  static constexpr uint64_t kBytesMax = kPagesMax * PageCache::kMetadataBytesPerPage + 1024;

  // The capacity is at least a page. `settles`: the cache holds something already, of which nothing is known here.
  WithoutPrefetch(uint64_t capacity_pages, bool settles);
  bool samples(uint64_t key) const { return (mix64(key) & (kWhole - 1)) < share_; }
  // All below: of a sampled page; erase_range() of any.
  enum class Found : uint8_t { kNot, kAtHand, kThere, kFirstUse };  // at hand: not there, and yet no read is lost
  bool would_have(uint64_t key) const { return cache_.contains(key); }
  void read(uint64_t key, Found found);
  void insert(uint64_t key, Origin origin) { cache_.insert(key, origin); }
  void erase(uint64_t key) { cache_.erase(key); }
  void erase_range(uint64_t first, uint64_t count);
  // It was fetched ahead; then it left unread, or a reader who had asked before brought it too.
  void issued() { payback_.issued(); }
  void wasted() { payback_.wasted(); }
  void unneeded() { payback_.unneeded(); }
  const Payback& payback() const { return payback_; }

 private:
  // By the lower bits of the hash: by the upper ones pages find their places in its table.
  static constexpr uint64_t kWhole = 1u << 20;

  uint64_t share_;  // of kWhole
  PageCache cache_;
  Payback payback_;
};

}  // namespace foreshard::policy
