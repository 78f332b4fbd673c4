// ReplayCache: what a replay needs of a page cache: keys, no contents. Behind it stands plain LRU, the measure, or the
// cache that drivers have.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "policy/cache/page_cache.h"

namespace foreshard::policy {

enum class Replacement : uint8_t { kLru, kDefault };

class ReplayCache {
 public:
  struct Hit {
    bool found = false;
    bool first_use = false;  // it was prefetched, and this is its first use
  };
  virtual ~ReplayCache() = default;
  // A reader's or writer's look at the page: a use, if it is there.
  virtual Hit find(uint64_t key) = 0;
  virtual bool contains(uint64_t key) const = 0;
  virtual void expect(uint64_t key) const {}  // contains() comes soon
  virtual void insert(uint64_t key, Origin origin) = 0;
  // Told of every prefetched page that leaves unused. It must not call into the cache.
  virtual void set_on_wasted(std::function<void(uint64_t key, bool evicted)> on_wasted) = 0;
  // Whether prefetching pays, found out from the first question on; plain LRU does not know.
  virtual bool prefetching_pays() { return true; }
};

std::unique_ptr<ReplayCache> make_replay_cache(Replacement replacement, uint64_t capacity_pages);

}  // namespace foreshard::policy
