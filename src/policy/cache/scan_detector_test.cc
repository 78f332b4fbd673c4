// A run is a scan from the page on at which it is longer than the cache; interleaved runs are told apart, and scattered
// requests are none, however many.
#include "policy/cache/scan_detector.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace foreshard::policy {
namespace {

TEST(ScanDetectorTest, ARunLongerThanTheCacheIsAScan) {
  ScanDetector detector(100);
  for (uint64_t page = 0; page < 1000; page += 10) EXPECT_EQ(detector.is_scan(page, 10), page >= 100) << page;
  EXPECT_FALSE(detector.is_scan(5000, 10));
  EXPECT_TRUE(detector.is_scan(9000, 101));
}

TEST(ScanDetectorTest, RunsAreToldApart) {
  ScanDetector detector(100);
  for (uint64_t i = 0; i < 50; ++i) {
    for (uint64_t run = 0; run < 8; ++run) {
      // Every second one leaves out a little.
      const uint64_t step = run % 2 == 0 ? 4 : 20;
      EXPECT_EQ(detector.is_scan(run * 1'000'000 + i * step, 4), (i + 1) * 4 > 100) << i << " of run " << run;
    }
  }
}

TEST(ScanDetectorTest, ScatteredRequestsAreNone) {
  ScanDetector detector(64);
  Random random(1);
  uint64_t scans = 0;
  for (int i = 0; i < 100'000; ++i) scans += detector.is_scan(random.below(1u << 20), 1) ? 1 : 0;
  EXPECT_EQ(scans, 0u);
}

}  // namespace
}  // namespace foreshard::policy
