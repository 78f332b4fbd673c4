// The fill guard: what was changed since a fill was issued does not come in, whatever its place; what was not, does.
#include "policy/cache/fill_guard.h"

#include <gtest/gtest.h>

#include <map>

namespace foreshard::policy {
namespace {

TEST(FillGuard, KeepsOutWhatWasChangedSince) {
  FillGuard guard;
  guard.changed(10, 4);
  const FillGuard::Ticket before = guard.issue();
  EXPECT_TRUE(guard.unchanged(before, 10));
  guard.changed(12, 1);
  const FillGuard::Ticket between = guard.issue();
  guard.changed(12, 1);  // the same change, applied
  EXPECT_TRUE(guard.unchanged(before, 11));
  EXPECT_FALSE(guard.unchanged(before, 12));
  EXPECT_FALSE(guard.unchanged(between, 12));
  EXPECT_TRUE(guard.unchanged(guard.issue(), 12));
}

TEST(FillGuard, KeepsOutEverythingAfterAChangeOfVeryMuch) {
  FillGuard guard;
  const FillGuard::Ticket before = guard.issue();
  guard.changed(1000, uint64_t{1} << 40);
  EXPECT_FALSE(guard.unchanged(before, 5));
  EXPECT_TRUE(guard.unchanged(guard.issue(), 5));
}

// Against a model that remembers every page: never let in what it refuses, and rarely refused what it lets in.
TEST(FillGuard, RefusesLittleElse) {
  Random random(3);
  FillGuard guard;
  std::map<uint64_t, uint64_t> changed;
  uint64_t refused = 0;
  constexpr uint64_t kFills = 2000, kPagesOfAFill = 64;
  for (uint64_t fill = 0; fill < kFills; ++fill) {
    const FillGuard::Ticket ticket = guard.issue();
    for (int write = 0; write < 4; ++write) {
      const uint64_t first = random.below(1u << 20);
      guard.changed(first, 32);
      for (uint64_t page = first; page < first + 32; ++page) changed[page] = fill;
    }
    const uint64_t first = random.below(1u << 20);
    for (uint64_t page = first; page < first + kPagesOfAFill; ++page) {
      const auto found = changed.find(page);
      const bool is_changed = found != changed.end() && found->second == fill;
      if (is_changed) EXPECT_FALSE(guard.unchanged(ticket, page)) << page;
      refused += !is_changed && !guard.unchanged(ticket, page);
    }
  }
  EXPECT_LE(refused, kFills * kPagesOfAFill / 50);
}

}  // namespace
}  // namespace foreshard::policy
