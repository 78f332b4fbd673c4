// Shows that the cache holds what a list would hold that is searched and reordered, and tells of every prefetched page
// that left unused once.
#include "policy/cache/lru_cache.h"

#include <gtest/gtest.h>

#include <list>
#include <map>

#include "base/random.h"

namespace foreshard::policy {
namespace {

// The newest first; true: prefetched and not used.
struct Model {
  std::list<std::pair<uint64_t, bool>> pages;
  uint64_t capacity = 0;
  std::map<uint64_t, int> wasted;

  std::list<std::pair<uint64_t, bool>>::iterator at(uint64_t key) {
    auto page = pages.begin();
    while (page != pages.end() && page->first != key) ++page;
    return page;
  }
  LruCache::Hit find(uint64_t key) {
    const auto page = at(key);
    if (page == pages.end()) return {};
    const LruCache::Hit hit{true, page->second};
    pages.erase(page);
    pages.emplace_front(key, false);
    return hit;
  }
  void insert(uint64_t key, Origin origin) {
    if (at(key) != pages.end()) {
      if (origin == Origin::kPrefetch) return;
      if (find(key).first_use && origin == Origin::kWrite) ++wasted[key];
      return;
    }
    pages.emplace_front(key, origin == Origin::kPrefetch);
    if (pages.size() <= capacity) return;
    if (pages.back().second) ++wasted[pages.back().first];
    pages.pop_back();
  }
};

TEST(LruCache, HoldsWhatAListWould) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Random random(seed);
    Model model;
    model.capacity = 1 + random.below(100);
    LruCache cache(model.capacity);
    std::map<uint64_t, int> wasted;
    cache.set_on_wasted([&wasted](uint64_t key, bool) { ++wasted[key]; });
    const uint64_t keys = 1 + random.below(300);
    for (int step = 0; step < 3000; ++step) {
      const uint64_t key = random.below(keys) << random.below(2) * 44;
      switch (random.below(5)) {
        case 0:
        case 1: {
          const LruCache::Hit hit = cache.find(key), expected = model.find(key);
          ASSERT_EQ(hit.found, expected.found);
          ASSERT_EQ(hit.first_use, expected.first_use);
          break;
        }
        case 2: {
          const bool there = model.at(key) != model.pages.end();
          ASSERT_EQ(cache.contains(key), there);
          if (random.chance(0.9)) break;
          ASSERT_EQ(cache.erase(key), there);
          if (there) model.pages.erase(model.at(key));
          break;
        }
        default: {
          const auto origin = static_cast<Origin>(random.below(3));
          cache.insert(key, origin);
          model.insert(key, origin);
        }
      }
      ASSERT_EQ(cache.pages(), model.pages.size());
      ASSERT_EQ(wasted, model.wasted);
    }
    for (const auto& [key, prefetched] : model.pages) EXPECT_TRUE(cache.contains(key));
  }
}

TEST(LruCache, WithoutRoomItHoldsNothing) {
  LruCache cache(0);
  cache.insert(1, Origin::kDemand);
  EXPECT_FALSE(cache.find(1).found);
  EXPECT_FALSE(cache.contains(1));
  EXPECT_FALSE(cache.erase(1));
}

}  // namespace
}  // namespace foreshard::policy
