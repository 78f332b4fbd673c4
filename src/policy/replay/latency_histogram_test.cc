// Shows that percentiles are those of the sorted values, to within the width of a bucket, and that the mean is exact.
#include "policy/replay/latency_histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "base/random.h"

namespace foreshard::policy {
namespace {

TEST(LatencyHistogram, AgreesWithSortedValues) {
  Random random(1);
  for (const uint32_t bits : {4u, 10u, 30u, 50u}) {
    LatencyHistogram histogram;
    std::vector<uint64_t> values;
    double sum = 0;
    for (int i = 0; i < 5000; ++i) {
      values.push_back(random.next() >> (64 - bits) >> random.below(bits));
      histogram.add(values.back());
      sum += static_cast<double>(values.back());
    }
    std::sort(values.begin(), values.end());
    EXPECT_NEAR(histogram.mean_ns(), sum / 5000, sum / 5000 * 1e-9);
    for (const double share : {0.0, 0.1, 0.5, 0.9, 0.99, 0.999}) {
      const auto expected = static_cast<double>(values[static_cast<size_t>(share * 5000)]);
      const auto told = static_cast<double>(histogram.percentile_ns(share));
      EXPECT_GE(told, expected) << bits << " " << share;
      EXPECT_LE(told, expected * 1.04 + 1) << bits << " " << share;
    }
  }
}

TEST(LatencyHistogram, EmptyAndExtreme) {
  LatencyHistogram histogram;
  EXPECT_EQ(histogram.percentile_ns(0.5), 0u);
  EXPECT_EQ(histogram.mean_ns(), 0);
  histogram.add(UINT64_MAX);
  EXPECT_EQ(histogram.percentile_ns(0.5), UINT64_MAX);
}

}  // namespace
}  // namespace foreshard::policy
