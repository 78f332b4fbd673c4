// Shows the law of conservation (issued = used + wasted + dropped + waiting + in flight, and the like for shadow)
// after every one of many random events, against a plain map; and that outcomes come once for every page, in time.
#include "policy/prefetch/ledger.h"

#include <gtest/gtest.h>

#include <map>

#include "base/random.h"

namespace foreshard::policy {
namespace {

void expect_conserved(const PrefetchCounts& counts) {
  ASSERT_EQ(counts.issued, counts.used + counts.wasted + counts.dropped + counts.waiting + counts.in_flight);
  ASSERT_EQ(counts.shadow_issued, counts.shadow_used + counts.shadow_wasted + counts.shadow_waiting);
  ASSERT_LE(counts.late, counts.used);
}

enum class Is { kInFlight, kWaiting, kShadow };

TEST(Ledger, ConservesPagesUnderRandomEvents) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    Random random(seed);
    PrefetchLedger ledger(1024);
    std::map<uint64_t, Is> model;
    PrefetchCounts expected;
    for (int i = 0; i < 8000; ++i) {
      const uint64_t page = random.below(700);
      const auto place = model.find(page);
      const bool there = place != model.end();
      ASSERT_EQ(ledger.contains(page), there);
      ASSERT_EQ(ledger.in_shadow(page), there && place->second == Is::kShadow);
      const auto end = [&](Is is, uint64_t& counter) {
        if (!there || place->second != is) return;
        model.erase(place);
        ++counter;
      };
      switch (random.below(8)) {
        case 0:
        case 1: {
          if (there && place->second != Is::kShadow) break;
          expected.shadow_issued -= there;
          const bool shadow = random.chance(0.4);
          ledger.issue(page, 2, static_cast<uint8_t>(random.below(8)), shadow);
          model[page] = shadow ? Is::kShadow : Is::kInFlight;
          ++(shadow ? expected.shadow_issued : expected.issued);
          break;
        }
        case 2:
          ledger.fetched(page);
          if (there && place->second == Is::kInFlight) place->second = Is::kWaiting;
          break;
        case 3:
          ledger.dropped(page);
          end(Is::kInFlight, expected.dropped);
          break;
        case 4:
          ledger.demanded(page);
          if (there && place->second == Is::kInFlight) ++expected.late;
          if (there && place->second == Is::kShadow) {
            end(Is::kShadow, expected.shadow_used);
          } else {
            end(Is::kInFlight, expected.used);
          }
          break;
        case 5:
          ledger.used(page);
          end(Is::kWaiting, expected.used);
          break;
        case 6:
          ledger.wasted(page);
          end(Is::kWaiting, expected.wasted);
          break;
        case 7:
          ledger.overwritten(page);
          end(Is::kShadow, expected.shadow_wasted);
          break;
      }
      const PrefetchCounts& counts = ledger.counts(2);
      expect_conserved(counts);
      ASSERT_EQ(counts.issued, expected.issued);
      ASSERT_EQ(counts.shadow_issued, expected.shadow_issued);
      ASSERT_EQ(counts.late, expected.late);
      ASSERT_EQ(counts.dropped, expected.dropped);
      // The ring may run out of records of pages that came and went, and write off an old one.
      ASSERT_GE(counts.wasted, expected.wasted);
      std::erase_if(model, [&](const auto& held) { return !ledger.contains(held.first); });
      expected.used = counts.used;
      expected.wasted = counts.wasted;
      expected.shadow_used = counts.shadow_used;
      expected.shadow_wasted = counts.shadow_wasted;
      ASSERT_EQ(counts.waiting + counts.in_flight + counts.shadow_waiting, model.size());
    }
  }
}

TEST(Ledger, EveryPageHasOneOutcomeAtTheHorizonOrBefore) {
  PrefetchLedger ledger(1024);
  for (uint64_t page = 0; page < 100; ++page) {
    ledger.issue(page, 1, 3, page % 2 == 0);
    ledger.fetched(page);
  }
  for (uint64_t page = 0; page < 20; ++page) page % 2 == 0 ? ledger.demanded(page) : ledger.used(page);
  EXPECT_EQ(ledger.outcomes().size(), 20u);
  EXPECT_EQ(ledger.open(), 40u);
  ledger.advance(999, 1000);
  EXPECT_EQ(ledger.outcomes().size(), 20u);
  ledger.advance(1, 1000);
  EXPECT_EQ(ledger.outcomes().size(), 100u);
  EXPECT_EQ(ledger.open(), 0u);
  // Shadow pages have ended; real ones stay until the cache says what became of them, without a second outcome.
  EXPECT_EQ(ledger.counts(1).shadow_waiting, 0u);
  EXPECT_EQ(ledger.counts(1).waiting, 40u);
  for (uint64_t page = 21; page < 100; page += 2) page % 4 == 1 ? ledger.used(page) : ledger.wasted(page);
  EXPECT_EQ(ledger.outcomes().size(), 100u);
  EXPECT_EQ(ledger.counts(1).waiting, 0u);
  expect_conserved(ledger.counts(1));
  uint64_t used = 0;
  for (const PrefetchLedger::Outcome& outcome : ledger.outcomes()) {
    used += outcome.used;
    EXPECT_EQ(outcome.expert, 1);
    EXPECT_EQ(outcome.bucket, 3);
  }
  EXPECT_EQ(used, 20u);
}

TEST(Ledger, WritesTheOldestOffWhenItIsFull) {
  PrefetchLedger ledger(64);
  for (uint64_t page = 0; page < 1000; ++page) {
    ledger.issue(page, 0, 0, false);
    ledger.fetched(page);
    expect_conserved(ledger.counts(0));
  }
  EXPECT_EQ(ledger.counts(0).waiting, 64u);
  EXPECT_EQ(ledger.counts(0).wasted, 936u);
  EXPECT_FALSE(ledger.contains(935));
  EXPECT_TRUE(ledger.contains(936));
}

}  // namespace
}  // namespace foreshard::policy
