// Shows that a page which failed is left alone for a time that doubles, and alone: not its neighbours; that it is
// forgotten when it has come or is written, one by one or in a large range; and that any number of them may fail.
#include "policy/prefetch/failed_fetches.h"

#include <gtest/gtest.h>

namespace foreshard::policy {
namespace {

constexpr uint64_t kFirstNs = FailedFetches::kFirstNs;

TEST(FailedFetches, HoldAPageEachTimeTwiceAsLong) {
  FailedFetches failed;
  uint64_t now_ns = 5;
  EXPECT_FALSE(failed.holds(0, now_ns));
  for (uint64_t pause_ns = kFirstNs; now_ns < 10 * FailedFetches::kMostNs; pause_ns *= 2) {
    pause_ns = std::min(pause_ns, FailedFetches::kMostNs);
    failed.add(0, now_ns);
    failed.add(0, now_ns + 1);  // one that was under way already
    EXPECT_TRUE(failed.holds(0, now_ns + pause_ns - 1));
    EXPECT_FALSE(failed.holds(1, now_ns));
    now_ns += pause_ns;
    EXPECT_FALSE(failed.holds(0, now_ns));
  }
}

TEST(FailedFetches, BeginAnewWhereThereWasPeace) {
  FailedFetches failed;
  failed.add(7, 0);
  failed.add(7, kFirstNs);
  EXPECT_TRUE(failed.holds(7, 3 * kFirstNs - 1));
  failed.add(7, 6 * kFirstNs);
  EXPECT_TRUE(failed.holds(7, 7 * kFirstNs - 1));
  EXPECT_FALSE(failed.holds(7, 7 * kFirstNs));
}

TEST(FailedFetches, ForgetsWhatIsGoodAgain) {
  for (const uint64_t pages : {uint64_t{3}, 2 * FailedFetches::kPages}) {
    FailedFetches failed;
    for (const uint64_t page : {uint64_t{99}, uint64_t{100}, 99 + pages, 100 + pages}) failed.add(page, 0);
    failed.forget(100, pages);
    EXPECT_TRUE(failed.holds(99, 1));
    EXPECT_FALSE(failed.holds(100, 1));
    EXPECT_FALSE(failed.holds(99 + pages, 1));
    EXPECT_TRUE(failed.holds(100 + pages, 1));
    // It begins anew.
    failed.add(100, 1);
    EXPECT_TRUE(failed.holds(100, kFirstNs));
    EXPECT_FALSE(failed.holds(100, kFirstNs + 1));
  }
}

TEST(FailedFetches, AreForgottenWhereThereAreTooMany) {
  FailedFetches failed;
  uint64_t held = 0;
  for (uint64_t page = 0; page < 100 * FailedFetches::kPages; ++page) {
    failed.add(page, page);
    EXPECT_TRUE(failed.holds(page, page + 1));
  }
  for (uint64_t page = 0; page < 100 * FailedFetches::kPages; ++page) held += failed.holds(page, kFirstNs - 1);
  EXPECT_EQ(held, FailedFetches::kPages);
}

}  // namespace
}  // namespace foreshard::policy
