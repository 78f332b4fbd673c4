// LruCache: which pages a cache with plain LRU replacement would hold: keys only, no data. The measure against which
// replacement and prefetching are compared. Prefetched pages go to the head, as all others do.
//
// Owner: a replay; also its model of a server's RAM. Memory: kBytesPerPage for each page of the capacity, taken as
// pages come.
//
// Invariant: every key held is in the table and once in the list; used + wasted + waiting = prefetched.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "policy/cache/page_cache.h"

namespace foreshard::policy {

class LruCache {
 public:
  static constexpr uint64_t kBytesPerPage = 48;
  struct Hit {
    bool found = false;
    bool first_use = false;  // it was prefetched, and this is its first use
  };

  explicit LruCache(uint64_t capacity_pages) : capacity_pages_(capacity_pages) {}
  // Makes the page the newest, if it is there.
  Hit find(uint64_t key);
  bool contains(uint64_t key) const;
  // A page that is there already becomes the newest, except for a prefetch. Written before its first use, a prefetched
  // page is wasted.
  void insert(uint64_t key, Origin origin);
  bool erase(uint64_t key);
  // Told of every prefetched page that is pushed out or written over unused. It must not call into the cache.
  void set_on_wasted(std::function<void(uint64_t key, bool evicted)> on_wasted) { on_wasted_ = std::move(on_wasted); }
  uint64_t pages() const { return used_; }
  uint64_t capacity_pages() const { return capacity_pages_; }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  struct Node {
    uint64_t key = 0;
    uint32_t newer = kNone, older = kNone;
    bool prefetched = false;  // and not used yet
  };

  uint64_t home(uint64_t key) const;
  uint64_t locate(uint64_t key) const;
  void remove_place(uint64_t place);
  void grow();
  void push_newest(uint32_t node);
  void unlink(uint32_t node);
  void evict_oldest();

  uint64_t capacity_pages_;
  uint64_t used_ = 0;
  std::vector<Node> nodes_;
  std::vector<uint32_t> free_;
  std::vector<uint32_t> table_;  // node by hash, open addressing, a power of two, at most half full
  uint32_t newest_ = kNone, oldest_ = kNone;
  std::function<void(uint64_t, bool)> on_wasted_;
};

}  // namespace foreshard::policy
