// Shows, against a plain list of everything issued, what the ledger holds, counts and gives out after every one of
// many random events, write-offs of full rings and horizons included: the law of conservation (issued = used + wasted
// + dropped + waiting + in flight, and the like for shadow), one outcome to learn from for every page in time,
// another one where a page was used after all, and each naming the record that issue() named.
#include "policy/prefetch/ledger.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <vector>

#include "base/random.h"

namespace foreshard::policy {
namespace {

void expect_conserved(const PrefetchCounts& counts) {
  ASSERT_EQ(counts.issued, counts.used + counts.wasted + counts.dropped + counts.waiting + counts.in_flight);
  ASSERT_EQ(counts.shadow_issued, counts.shadow_used + counts.shadow_wasted + counts.shadow_waiting);
  ASSERT_LE(counts.late, counts.used);
}

void expect_equal(const PrefetchCounts& a, const PrefetchCounts& b) {
  ASSERT_EQ(a.issued, b.issued);
  ASSERT_EQ(a.used, b.used);
  ASSERT_EQ(a.late, b.late);
  ASSERT_EQ(a.wasted, b.wasted);
  ASSERT_EQ(a.dropped, b.dropped);
  ASSERT_EQ(a.waiting, b.waiting);
  ASSERT_EQ(a.in_flight, b.in_flight);
  ASSERT_EQ(a.shadow_issued, b.shadow_issued);
  ASSERT_EQ(a.shadow_used, b.shadow_used);
  ASSERT_EQ(a.shadow_wasted, b.shadow_wasted);
  ASSERT_EQ(a.shadow_waiting, b.shadow_waiting);
}

// Every page that was ever issued, in a list for each kind; nothing is forgotten, and everything is looked for.
struct Model {
  enum class Is { kInFlight, kWaiting, kShadow, kEnded };
  struct Issued {
    uint64_t page;
    Is is;
    uint8_t expert, confidence;
    uint32_t record;
    uint64_t clock;
    bool settled;
  };
  std::vector<Issued> lists[2];  // by shadow
  size_t sizes[2];
  uint64_t clock = 0;
  std::map<uint8_t, PrefetchCounts> counts;
  std::vector<PrefetchLedger::Outcome> outcomes;

  Issued* find(uint64_t page) {
    for (auto& list : lists) {
      for (size_t i = list.size(); i-- > 0;) {
        if (list[i].page == page && list[i].is != Is::kEnded) return &list[i];
      }
    }
    return nullptr;
  }
  void settle(Issued& issued, bool used) {
    const bool shadow = issued.is == Is::kShadow;
    if (used || !issued.settled) {
      const bool awaited = used && issued.is == Is::kInFlight;
      outcomes.push_back({issued.record, issued.expert, issued.confidence, used, shadow, issued.settled, 0, awaited});
    }
    issued.settled = true;
  }
  void end(Issued& issued, bool used) {
    settle(issued, used);
    PrefetchCounts& of = counts[issued.expert];
    if (issued.is == Is::kShadow) {
      --of.shadow_waiting;
      ++(used ? of.shadow_used : of.shadow_wasted);
    } else {
      --(issued.is == Is::kInFlight ? of.in_flight : of.waiting);
      ++(used ? of.used : of.wasted);
    }
    issued.is = Is::kEnded;
  }
  // Before the record is known.
  void make_room(bool shadow) {
    std::vector<Issued>& list = lists[shadow];
    if (list.size() < sizes[shadow]) return;
    Issued& oldest = list[list.size() - sizes[shadow]];
    if (oldest.is != Is::kEnded) end(oldest, false);
  }
  void issue(uint64_t page, uint8_t expert, uint8_t confidence, bool shadow, uint32_t record) {
    if (Issued* old = find(page)) {
      --counts[old->expert].shadow_waiting;
      --counts[old->expert].shadow_issued;
      old->is = Is::kEnded;
    }
    lists[shadow].push_back({page, shadow ? Is::kShadow : Is::kInFlight, expert, confidence, record, clock, false});
    PrefetchCounts& of = counts[expert];
    ++(shadow ? of.shadow_issued : of.issued);
    ++(shadow ? of.shadow_waiting : of.in_flight);
  }
  void advance(uint64_t pages, uint64_t horizon) {
    clock += pages;
    for (auto& list : lists) {
      for (Issued& issued : list) {
        if (issued.is == Is::kEnded || issued.clock + horizon > clock) continue;
        const bool ends = issued.is == Is::kShadow && !PrefetchLedger::outlives_horizon(issued.page);
        ends ? end(issued, false) : settle(issued, false);
      }
    }
  }
};

void compare(PrefetchLedger& ledger, Model& model) {
  ASSERT_EQ(ledger.outcomes().size(), model.outcomes.size());
  for (size_t i = 0; i < model.outcomes.size(); ++i) {
    const PrefetchLedger::Outcome& a = ledger.outcomes()[i];
    const PrefetchLedger::Outcome& b = model.outcomes[i];
    ASSERT_EQ(a.record, b.record);
    ASSERT_EQ(a.expert, b.expert);
    ASSERT_EQ(a.confidence, b.confidence);
    ASSERT_EQ(a.used, b.used);
    ASSERT_EQ(a.shadow, b.shadow);
    ASSERT_EQ(a.late, b.late);
    ASSERT_EQ(a.awaited, b.awaited);
  }
  ledger.outcomes().clear();
  model.outcomes.clear();
  uint64_t in_flight = 0, open = 0, shadow = 0;
  for (auto& list : model.lists) {
    for (const Model::Issued& issued : list) {
      in_flight += issued.is == Model::Is::kInFlight;
      shadow += issued.is == Model::Is::kShadow;
      open += (issued.is == Model::Is::kInFlight || issued.is == Model::Is::kWaiting) && !issued.settled;
    }
  }
  ASSERT_EQ(ledger.in_flight(), in_flight);
  ASSERT_EQ(ledger.shadow_waiting(), shadow);
  ASSERT_EQ(ledger.open(), open);
  for (uint8_t expert = 0; expert < 4; ++expert) {
    ASSERT_NO_FATAL_FAILURE(expect_conserved(ledger.counts(expert)));
    ASSERT_NO_FATAL_FAILURE(expect_equal(ledger.counts(expert), model.counts[expert]));
  }
}

void random_event(PrefetchLedger& ledger, Model& model, Random& random, uint64_t pages) {
  using Is = Model::Is;
  // Some page numbers are as large as they get.
  const uint64_t number = random.below(pages);
  const uint64_t page = number % 8 == 7 ? UINT64_MAX - number : number;
  Model::Issued* held = model.find(page);
  ASSERT_EQ(ledger.contains(page), held != nullptr);
  ASSERT_EQ(ledger.in_shadow(page), held != nullptr && held->is == Is::kShadow);
  const bool open_shadow = held != nullptr && held->is == Is::kShadow && !held->settled;
  ASSERT_EQ(ledger.open_shadow(page), open_shadow ? std::optional(held->record) : std::nullopt);
  switch (random.below(10)) {
    case 0:
    case 1:
    case 2:
    case 3: {
      if (held != nullptr && held->is != Is::kShadow) return;
      const bool shadow = random.chance(0.5);
      const auto expert = static_cast<uint8_t>(random.below(4));
      const auto confidence = static_cast<uint8_t>(random.below(PrefetchLedger::kConfidenceMax + 1));
      model.make_room(shadow);
      const uint32_t record = ledger.issue(page, expert, confidence, shadow);
      model.issue(page, expert, confidence, shadow, record);
      ASSERT_LT(record, ledger.records());
      ASSERT_EQ(record >= model.sizes[0], shadow);
      return;
    }
    case 4:
      ledger.fetched(page);
      if (held == nullptr || held->is != Is::kInFlight) return;
      held->is = Is::kWaiting;
      --model.counts[held->expert].in_flight;
      ++model.counts[held->expert].waiting;
      return;
    case 5:
      ledger.dropped(page);
      if (held == nullptr || held->is != Is::kInFlight) return;
      --model.counts[held->expert].in_flight;
      ++model.counts[held->expert].dropped;
      held->is = Is::kEnded;
      return;
    case 6:
      ledger.demanded(page);
      if (held == nullptr || held->is == Is::kWaiting) return;
      model.counts[held->expert].late += held->is == Is::kInFlight;
      return model.end(*held, true);
    case 7:
      ledger.used(page);
      if (held != nullptr && held->is == Is::kWaiting) model.end(*held, true);
      return;
    case 8:
      ledger.wasted(page, random.chance(0.5));
      if (held != nullptr && held->is != Is::kShadow) model.end(*held, false);
      return;
    default:
      if (random.chance(0.5)) {
        ledger.overwritten(page);
        if (held != nullptr && held->is == Is::kShadow) model.end(*held, false);
        return;
      }
      const uint64_t passed = random.below(4), horizon = random.between(5, 40);
      ledger.advance(passed, horizon);
      model.advance(passed, horizon);
  }
}

TEST(Ledger, IsWhatAPlainListOfAllThatWasIssuedSays) {
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    Random random(seed);
    // Few pages never fill the rings, many fill them all the time.
    const uint64_t pages = seed % 2 == 0 ? 24 : 300;
    PrefetchLedger ledger(seed < 4 ? 16 : 64, 32, 64);
    Model model;
    model.sizes[0] = seed < 4 ? 16 : 64;
    model.sizes[1] = 32;
    ASSERT_EQ(ledger.records(), model.sizes[0] + model.sizes[1]);
    for (int i = 0; i < 3000; ++i) {
      ASSERT_NO_FATAL_FAILURE(random_event(ledger, model, random, pages));
      ASSERT_NO_FATAL_FAILURE(compare(ledger, model)) << "seed " << seed << " event " << i;
    }
  }
}

// A range settles what its pages one by one would, be it small or larger than all that is held.
TEST(Ledger, ARangeIsAllOfItsPages) {
  for (const bool write : {false, true}) {
    Random random(8);
    PrefetchLedger ranges(64, 128, 64), pages(64, 128, 64);
    for (int i = 0; i < 2000; ++i) {
      const uint64_t page = random.below(400);
      const bool shadow = random.chance(0.6), arrive = random.chance(0.5);
      if (!pages.contains(page)) {
        for (PrefetchLedger* ledger : {&ranges, &pages}) {
          ledger->issue(page, 1, 5, shadow);
          if (arrive) ledger->fetched(page);
        }
      }
      if (random.chance(0.05)) {
        const uint64_t first = random.below(400), count = random.chance(0.5) ? random.below(20) : random.below(300);
        for (uint64_t one = first; one < first + count; ++one) write ? pages.overwritten(one) : pages.demanded(one);
        write ? ranges.overwritten_range(first, count) : ranges.demanded_range(first, count);
      }
      ASSERT_EQ(ranges.outcomes().size(), pages.outcomes().size());
      ASSERT_NO_FATAL_FAILURE(expect_equal(ranges.counts(1), pages.counts(1)));
    }
    EXPECT_GT(write ? pages.counts(1).shadow_wasted : pages.counts(1).late, 100u);
    write ? ranges.overwritten_range(0, UINT64_MAX) : ranges.demanded_range(0, UINT64_MAX);
    EXPECT_EQ(ranges.shadow_waiting(), 0u);
    if (!write) EXPECT_EQ(ranges.in_flight(), 0u);
  }
}

TEST(Ledger, EveryPageHasOneOutcomeAtTheHorizonOrBefore) {
  PrefetchLedger ledger(1024, 1024, 1024);
  std::vector<uint32_t> records(100);
  const auto learned = [&] {
    return std::count_if(ledger.outcomes().begin(), ledger.outcomes().end(), [](const auto& o) { return !o.late; });
  };
  for (uint64_t page = 0; page < 100; ++page) {
    records[page] = ledger.issue(page, 1, 3, page % 2 == 0);
    ledger.fetched(page);
  }
  for (uint64_t page = 0; page < 20; ++page) page % 2 == 0 ? ledger.demanded(page) : ledger.used(page);
  EXPECT_EQ(learned(), 20);
  EXPECT_EQ(ledger.open(), 40u);
  ledger.advance(999, 1000);
  EXPECT_EQ(learned(), 20);
  ledger.advance(1, 1000);
  EXPECT_EQ(learned(), 100);
  EXPECT_EQ(ledger.open(), 0u);
  // Shadow pages have ended but for a sample; real ones stay until the cache says what became of them, without a second
  // one to learn.
  EXPECT_LE(ledger.counts(1).shadow_waiting, 8u);
  EXPECT_EQ(ledger.counts(1).waiting, 40u);
  for (uint64_t page = 21; page < 100; page += 2) page % 4 == 1 ? ledger.used(page) : ledger.wasted(page, true);
  EXPECT_EQ(learned(), 100);
  EXPECT_EQ(ledger.outcomes().size(), 120u);  // half of those given up were used after all
  EXPECT_EQ(ledger.counts(1).waiting, 0u);
  expect_conserved(ledger.counts(1));
  std::map<uint32_t, int> seen;
  for (const PrefetchLedger::Outcome& outcome : ledger.outcomes()) {
    EXPECT_EQ(outcome.expert, 1);
    EXPECT_EQ(outcome.confidence, 3);
    seen[outcome.record] += outcome.late ? 0 : 1;
  }
  for (const uint32_t record : records) EXPECT_EQ(seen[record], 1);
}

TEST(Ledger, WritesTheOldestOffWhenItIsFullAndKeepsTheKindsApart) {
  PrefetchLedger ledger(64, 128, 64);
  for (uint64_t page = 0; page < 1000; ++page) {
    ledger.issue(page, 0, 0, false);
    ledger.fetched(page);
    ledger.issue(10000 + page, 0, 0, true);
    expect_conserved(ledger.counts(0));
  }
  EXPECT_EQ(ledger.counts(0).waiting, 64u);
  EXPECT_EQ(ledger.counts(0).wasted, 936u);
  EXPECT_FALSE(ledger.contains(935));
  EXPECT_TRUE(ledger.contains(936));
  EXPECT_EQ(ledger.counts(0).shadow_waiting, 128u);
  EXPECT_EQ(ledger.counts(0).shadow_wasted, 872u);
  EXPECT_FALSE(ledger.contains(10871));
  EXPECT_TRUE(ledger.contains(10872));
  // Whatever is proposed in shadow pushes nothing out that was fetched.
  for (uint64_t page = 20000; page < 21000; ++page) ledger.issue(page, 0, 0, true);
  EXPECT_EQ(ledger.counts(0).waiting, 64u);
}

// The owner keeps something by the record's number: it must look at this outcome before it writes over it.
TEST(Ledger, WhatIsWrittenOffComesOutTogetherWithItsNumber) {
  for (const bool shadow : {false, true}) {
    PrefetchLedger ledger(16, 16, 16);
    std::map<uint64_t, uint32_t> number_of;
    for (uint64_t page = 0; page < 100; ++page) {
      const uint32_t number = ledger.issue(page, 1, static_cast<uint8_t>(page), shadow);
      if (page >= 16) {
        ASSERT_FALSE(ledger.outcomes().empty());
        for (const PrefetchLedger::Outcome& outcome : ledger.outcomes()) {
          EXPECT_EQ(outcome.record, number);
          EXPECT_EQ(outcome.record, number_of[page - 16]);
          EXPECT_EQ(outcome.confidence, page - 16);
        }
      }
      number_of[page] = number;
      ledger.outcomes().clear();
    }
  }
}

TEST(Ledger, ResidenceIsHowLongWastedPagesStayed) {
  PrefetchLedger ledger(1024, 16, 2000);
  EXPECT_EQ(ledger.residence(), 2000);
  for (uint64_t page = 0; page < 3000; ++page) {
    ledger.issue(page, 0, 0, false);
    ledger.fetched(page);
    ledger.advance(1, 100);
    if (page >= 500) ledger.wasted(page - 500, true);
    ledger.outcomes().clear();
  }
  EXPECT_NEAR(ledger.residence(), 501, 5);
}

// One page that left at once, by chance, is no reason to give all others up after a few.
TEST(Ledger, TheFirstPageToLeaveDoesNotTellAlone) {
  PrefetchLedger ledger(1024, 16, 2000);
  ledger.issue(1, 0, 0, false);
  ledger.fetched(1);
  ledger.wasted(1, true);
  EXPECT_GT(ledger.residence(), 1500);
}

TEST(Ledger, DelaysAreThoseOfPagesThatWaitedForTheirUse) {
  PrefetchLedger ledger(1024, 1024, 2000);
  for (uint64_t page = 0; page < 300; ++page) {
    ledger.issue(page, 0, 0, false);
    ledger.demanded(page);  // late: it might have been used whenever
    ledger.issue(5000 + page, 0, 0, true);
    ledger.demanded(5000 + page);
  }
  EXPECT_EQ(ledger.delays().nearly_all(), UseDelays::kUnknown);
  for (uint64_t page = 10000; page < 10300; ++page) {
    ledger.issue(page, 0, 0, false);
    ledger.fetched(page);
    ledger.advance(1, 100000);
    if (page >= 10040) ledger.used(page - 40);
  }
  EXPECT_GE(ledger.delays().nearly_all(), 41u);
  EXPECT_LE(ledger.delays().nearly_all(), 52u);
}

}  // namespace
}  // namespace foreshard::policy
