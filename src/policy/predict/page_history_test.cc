// Shows that the history says of every page what a plain map of all touches says: counts, ages, passes and footprints,
// also while it grows; that of a full set the region left alone longest is forgotten; and that no page number and no
// size makes it hang.
#include "policy/predict/page_history.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "base/random.h"

namespace foreshard::policy {
namespace {

constexpr uint32_t kPages = PageHistory::kRegionPages;

struct Model {
  struct Region {
    uint64_t last = 0;
    uint32_t passes = 0;
    std::set<uint32_t> current, previous;
    std::map<uint32_t, uint32_t> counts;
    std::map<uint32_t, uint64_t> read_at;
  };
  void touch(uint64_t first, uint32_t pages) {
    ++now;
    for (uint64_t page = first; page < first + pages; ++page) {
      Region& region = regions[page / kPages];
      const auto i = static_cast<uint32_t>(page % kPages);
      if (region.last == 0 || now - region.last > PageHistory::kPassObservations) {
        region.previous = std::exchange(region.current, {});
        ++region.passes;
      }
      region.last = now;
      region.current.insert(i);
      ++region.counts[i];
      region.read_at[i] = now;
    }
  }
  std::map<uint64_t, Region> regions;
  uint64_t now = 0;
};

uint16_t bits_of(const std::set<uint32_t>& pages) {
  uint16_t bits = 0;
  for (const uint32_t page : pages) bits |= static_cast<uint16_t>(1u << page);
  return bits;
}

void compare(const PageHistory& history, const PageHistory::Region& region, const Model& model,
             const Model::Region& expected) {
  ASSERT_EQ(region.passes, expected.passes);
  ASSERT_EQ(region.current, bits_of(expected.current));
  ASSERT_EQ(region.previous, bits_of(expected.previous));
  ASSERT_EQ(history.begins_pass(region), model.now + 1 - expected.last > PageHistory::kPassObservations);
  for (uint32_t i = 0; i < kPages; ++i) {
    const auto count = expected.counts.find(i);
    const bool read = count != expected.counts.end();
    ASSERT_EQ(region.touched >> i & 1, read);
    ASSERT_EQ(region.count(i), read ? std::min(count->second, 15u) : 0);
    if (!read) continue;
    const uint64_t age = model.now - expected.read_at.at(i);
    ASSERT_NEAR(static_cast<double>(history.age(region, i)), static_cast<double>(age), 32);
  }
}

TEST(PageHistory, IsWhatAPlainMapOfAllTouchesSays) {
  // A few regions that all stay, and so many that the history grows several times.
  for (const uint64_t regions : {uint64_t{100}, uint64_t{6000}}) {
    Random random(regions);
    PageHistory history;
    Model model;
    uint64_t forgotten = 0, compared = 0;
    for (int i = 0; i < 30000; ++i) {
      const uint64_t first = random.below(1 + regions * (i % 5000) / 5000) * kPages + random.below(kPages);
      const auto pages = static_cast<uint32_t>(random.between(1, 20));
      for (uint64_t number = first / kPages; number <= (first + pages - 1) / kPages; ++number) {
        if (history.find(number * kPages) == nullptr) forgotten += model.regions.erase(number);
      }
      history.touch(first, pages);
      model.touch(first, pages);
      const PageHistory::Region* region = history.find(first);
      ASSERT_NE(region, nullptr);
      ASSERT_NO_FATAL_FAILURE(compare(history, *region, model, model.regions.at(first / kPages))) << i;
      // Another one, that was not touched now.
      const uint64_t other = random.below(regions);
      const auto known = model.regions.find(other);
      if (known == model.regions.end()) continue;
      if (region = history.find(other * kPages); region == nullptr) continue;
      ASSERT_NO_FATAL_FAILURE(compare(history, *region, model, known->second)) << i;
      ++compared;
    }
    EXPECT_GT(compared, 5000u);
    if (regions == 100) EXPECT_EQ(forgotten, 0u);
    EXPECT_LE(forgotten, 2000u);
  }
}

TEST(PageHistory, ForgetsTheRegionLeftAloneLongest) {
  PageHistory history(4);
  for (const uint64_t number : {10, 11, 12, 13, 10, 12}) history.touch(number * kPages, 1);
  history.touch(14 * kPages, 1);  // 11 goes
  EXPECT_EQ(history.find(11 * kPages), nullptr);
  for (const uint64_t number : {10, 12, 13, 14}) EXPECT_NE(history.find(number * kPages), nullptr);
  history.touch(15 * kPages, 1);  // 13 goes
  EXPECT_EQ(history.find(13 * kPages), nullptr);
  EXPECT_EQ(history.find(99 * kPages), nullptr);
  EXPECT_EQ(history.memory_bytes_max(), 4 * (sizeof(PageHistory::Region) + 16));
}

TEST(PageHistory, AnyNumberAndAnySizeEndsSoon) {
  PageHistory history;
  for (uint64_t back = 0; back < 40; ++back) {
    for (const uint32_t pages : {0u, 1u, 5u, 20u, UINT32_MAX}) {
      for (const uint64_t end : {uint64_t{1} << 52, uint64_t{1} << 61, uint64_t{1} << 63, UINT64_MAX}) {
        history.touch(end - back, pages);
      }
    }
  }
  // The front of a large request is remembered all the same.
  history.touch(1600, UINT32_MAX);
  ASSERT_NE(history.find(1600), nullptr);
  EXPECT_EQ(history.find(1600)->touched, 0xffff);
  EXPECT_EQ(history.find(UINT64_MAX), nullptr);
}

TEST(PageHistory, CountsAndPassesSaturate) {
  PageHistory history(4);
  for (int i = 0; i < 70000; ++i) history.touch(3, 1);
  ASSERT_NE(history.find(0), nullptr);
  EXPECT_EQ(history.find(0)->count(3), 15u);
  EXPECT_EQ(history.find(0)->count(2), 0u);
  EXPECT_EQ(history.find(0)->passes, 1u);
}

TEST(PageHistory, ARegionLeftAloneForVeryLongDoesNotSeemYoung) {
  PageHistory history;
  history.touch(3, 1);
  for (uint32_t i = 0; i < PageHistory::kAgeMax + 1000; ++i) {
    history.touch(1600, 1);
    if (i % 100'000 != 99'999 && i < PageHistory::kAgeMax - 100) continue;
    ASSERT_NEAR(history.age(*history.find(3), 3), std::min(i + 1, PageHistory::kAgeMax), 32);
  }
}

}  // namespace
}  // namespace foreshard::policy
