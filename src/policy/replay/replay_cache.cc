#include "policy/replay/replay_cache.h"

#include "policy/cache/lru_cache.h"

namespace foreshard::policy {
namespace {

class LruReplayCache final : public ReplayCache {
 public:
  explicit LruReplayCache(uint64_t pages) : cache_(pages) {}
  Hit find(uint64_t key) override {
    const LruCache::Hit hit = cache_.find(key);
    return {hit.found, hit.first_use};
  }
  bool contains(uint64_t key) const override { return cache_.contains(key); }
  void insert(uint64_t key, Origin origin) override { cache_.insert(key, origin); }
  void set_on_wasted(std::function<void(uint64_t, bool)> on_wasted) override {
    cache_.set_on_wasted(std::move(on_wasted));
  }

 private:
  LruCache cache_;
};

// The driver's cache. Its arena of pages is address space only: nothing is ever copied into it, so that the kernel
// gives it no memory.
class DefaultReplayCache final : public ReplayCache {
 public:
  explicit DefaultReplayCache(uint64_t pages) : cache_(pages * kPageBytes) {}
  Hit find(uint64_t key) override {
    const PageCache::Hit hit = cache_.find(key);
    return {static_cast<bool>(hit), hit.first_use};
  }
  bool contains(uint64_t key) const override { return cache_.contains(key); }
  void expect(uint64_t key) const override { cache_.expect(key); }
  void insert(uint64_t key, Origin origin) override { cache_.insert(key, origin); }
  void set_on_wasted(std::function<void(uint64_t, bool)> on_wasted) override {
    cache_.set_on_wasted(std::move(on_wasted));
  }
  bool prefetching_pays() override {
    cache_.watch_prefetching(true);
    return cache_.prefetching_pays();
  }

 private:
  PageCache cache_;
};

}  // namespace

std::unique_ptr<ReplayCache> make_replay_cache(Replacement replacement, uint64_t capacity_pages) {
  if (replacement == Replacement::kLru) return std::make_unique<LruReplayCache>(capacity_pages);
  return std::make_unique<DefaultReplayCache>(capacity_pages);
}

}  // namespace foreshard::policy
