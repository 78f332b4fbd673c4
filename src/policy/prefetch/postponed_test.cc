// Shows that a refusal teaches nothing where the page came in time, and that it should not have been where its reader
// had to wait, the more, the longer the wait was.
#include "policy/prefetch/postponed.h"

#include <gtest/gtest.h>

namespace foreshard::policy {
namespace {

constexpr uint64_t kLatencyNs = 100'000;

FilterExample far_ahead() {
  FilterExample example;
  example.add(3, 7);
  return example;
}

// What the filter says of what is proposed far ahead, after a reader asked for the page so long after its fetch began.
float after_wait(uint64_t gone_ns, uint64_t latency_ns = kLatencyNs) {
  OnlineFilter filter;
  Postponed postponed(4);
  const FilterExample example = far_ahead();
  postponed.issue(2, 1'000'000, &example);
  postponed.awaited(2, 1'000'000 + gone_ns, latency_ns, filter);
  return filter.probability(example);
}

TEST(Postponed, TeachesTheMoreTheLongerTheReaderHadToWait) {
  const float unknown = OnlineFilter().probability(far_ahead());
  EXPECT_GT(after_wait(0), after_wait(kLatencyNs / 2));
  EXPECT_GT(after_wait(kLatencyNs / 2), unknown);
  EXPECT_EQ(after_wait(kLatencyNs), unknown);
  EXPECT_EQ(after_wait(10 * kLatencyNs), unknown);
  EXPECT_EQ(after_wait(0, 0), unknown) << "how long a fetch takes is not known";
}

TEST(Postponed, TeachesOnceAndOnlyWhatWasRefused) {
  OnlineFilter filter;
  Postponed postponed(4);
  const FilterExample example = far_ahead();
  postponed.issue(0, 0, nullptr);
  postponed.awaited(0, 0, kLatencyNs, filter);
  postponed.awaited(1, 0, kLatencyNs, filter);
  EXPECT_EQ(filter.learned(), 0u);
  postponed.issue(0, 0, &example);
  postponed.awaited(0, 0, kLatencyNs, filter);
  postponed.awaited(0, 0, kLatencyNs, filter);
  EXPECT_EQ(filter.learned(), 1u);
  // The record is another page's now.
  postponed.issue(1, 0, &example);
  postponed.issue(1, 0, nullptr);
  postponed.awaited(1, 0, kLatencyNs, filter);
  EXPECT_EQ(filter.learned(), 1u);
}

// A clock that goes back must not make a wait of ages.
TEST(Postponed, StandsAClockThatGoesBack) {
  OnlineFilter filter;
  Postponed postponed(1);
  const FilterExample example = far_ahead();
  postponed.issue(0, 1'000'000, &example);
  postponed.awaited(0, 1'000, kLatencyNs, filter);
  EXPECT_GT(filter.probability(example), 0.5f);
  EXPECT_LT(filter.probability(example), 1.0f);
}

}  // namespace
}  // namespace foreshard::policy
