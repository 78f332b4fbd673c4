// The retained log keeps exactly the entries above the newest covered tick, and counts their bytes.
#include "volume/retained_log.h"

#include <map>

#include <gtest/gtest.h>

#include "base/random.h"

namespace foreshard::volume {
namespace {

TEST(RetainedLog, KeepsWhatNoFlushHasCovered) {
  Random random(9);
  RetainedLog log;
  std::map<uint64_t, uint64_t> model;  // tick -> first page
  for (int step = 0; step < 5000; ++step) {
    if (random.chance(0.8)) {
      RetainedEntry entry;
      entry.first_page = random.next();
      entry.pages = 1;
      if (random.chance(0.5)) entry.data = Buffer::allocate(kPageBytes);
      const uint64_t first_page = entry.first_page;
      log.append(std::move(entry));
      model[log.newest_tick()] = first_page;
    } else {
      const uint64_t tick = log.newest_tick() - random.below(std::min<uint64_t>(log.newest_tick(), 20) + 1);
      log.drop_through(tick);
      model.erase(model.begin(), model.upper_bound(tick));
    }
    ASSERT_EQ(log.size(), model.size());
    const uint64_t from = random.below(log.newest_tick() + 2);
    const RetainedEntry* entry = log.after(from);
    const auto expected = model.upper_bound(from);
    ASSERT_EQ(entry == nullptr, expected == model.end());
    if (entry != nullptr) {
      ASSERT_EQ(entry->tick, expected->first);
      ASSERT_EQ(entry->first_page, expected->second);
    }
  }
  log.drop_through(log.newest_tick());
  EXPECT_EQ(log.bytes(), 0u);
  EXPECT_TRUE(log.empty());
}

}  // namespace
}  // namespace foreshard::volume
