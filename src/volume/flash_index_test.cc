// Proves that FlashIndex finds each page where it was put and nothing else, against a plain map, under random
// insertions and all ways to erase.
#include "volume/flash_index.h"

#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "base/random.h"

namespace foreshard::volume {
namespace {

constexpr uint32_t kSlots = 512;

struct Model {
  std::map<uint64_t, uint32_t> slot_of;
  std::vector<uint64_t> page_of = std::vector<uint64_t>(kSlots, UINT64_MAX);

  void erase(uint64_t page) {
    const auto found = slot_of.find(page);
    if (found == slot_of.end()) return;
    page_of[found->second] = UINT64_MAX;
    slot_of.erase(found);
  }
};

void step(Random& random, FlashIndex& index, Model& model, uint64_t base) {
  const uint64_t page = base + random.below(2000);
  const auto slot = static_cast<uint32_t>(random.below(kSlots));
  const uint64_t kind = random.below(100);
  if (kind < 75) {
    if (model.slot_of.contains(page) || model.page_of[slot] != UINT64_MAX) return;
    index.insert(page, slot, static_cast<uint32_t>(page * 3));
    model.slot_of[page] = slot;
    model.page_of[slot] = page;
  } else if (kind < 90) {
    EXPECT_EQ(index.erase(page), model.slot_of.contains(page));
    model.erase(page);
  } else if (kind < 97) {
    const uint64_t count = random.below(kind == 96 ? 1u << 20 : 300);
    index.erase_range(page, count);
    while (model.slot_of.lower_bound(page) != model.slot_of.end() &&
           model.slot_of.lower_bound(page)->first < page + count)
      model.erase(model.slot_of.lower_bound(page)->first);
  } else {
    const uint32_t count = static_cast<uint32_t>(random.below(kSlots - slot));
    index.erase_slots(slot, count);
    for (uint32_t i = slot; i < slot + count; ++i) model.erase(model.page_of[i]);
  }
}

TEST(FlashIndex, BehavesAsAMap) {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    Random random(seed);
    FlashIndex index(kSlots);
    Model model;
    const uint64_t base = seed % 2 == 0 ? 0 : seed << 40;
    for (int i = 0; i < 20'000; ++i) {
      step(random, index, model, base);
      ASSERT_EQ(index.size(), model.slot_of.size()) << "seed " << seed << " step " << i;
      const uint64_t page = base + random.below(2000);
      const auto found = model.slot_of.find(page);
      ASSERT_EQ(index.find(page), found == model.slot_of.end() ? FlashIndex::kNone : found->second);
      if (found != model.slot_of.end()) {
        ASSERT_EQ(index.checksum(found->second), static_cast<uint32_t>(page * 3));
      }
    }
    index.clear();
    EXPECT_EQ(index.size(), 0u);
    for (const auto& [page, slot] : model.slot_of) EXPECT_EQ(index.find(page), FlashIndex::kNone);
  }
}

TEST(FlashIndex, AnExtentAsLargeAsAnyVolumeIsErasedAtOnce) {
  FlashIndex index(kSlots);
  for (uint32_t i = 0; i < kSlots; ++i) index.insert(uint64_t{i} << 30, i, i);
  index.erase_range(1, uint64_t{1} << 52);
  EXPECT_EQ(index.size(), 1u);
  EXPECT_EQ(index.find(0), 0u);
}

}  // namespace
}  // namespace foreshard::volume
