// Shows that Payback stops what spares no reads and costs some, once a cache full of pages has come and gone, lets it
// try again after ever longer times, and stops neither what pays, nor for losses that prefetching cannot have caused.
#include "policy/cache/payback.h"

#include <gtest/gtest.h>

#include <functional>

namespace foreshard::policy {
namespace {

constexpr uint64_t kPages = 1000;

// `round` until it stops; how many pages have arrived by then, none after `most`.
uint64_t arrivals_until_stopped(Payback& payback, const std::function<void()>& round, uint64_t most) {
  uint64_t arrivals = 0;
  while (payback.pays() && arrivals < most) {
    round();
    payback.arrived();
    ++arrivals;
  }
  return payback.pays() ? 0 : arrivals;
}

TEST(Payback, StopsWhatCostsAsManyReadsAsItSpares) {
  Payback payback(kPages);
  const auto in_vain = [&payback] {
    payback.issued();
    payback.saved();
    payback.lost();
  };
  const uint64_t arrivals = arrivals_until_stopped(payback, in_vain, 100 * kPages);
  EXPECT_GE(arrivals, kPages);
  EXPECT_LE(arrivals, 3 * kPages);
  EXPECT_EQ(payback.stops(), 1u);
  ASSERT_TRUE(payback.gain().has_value());
  EXPECT_NEAR(*payback.gain(), 0, 0.01);
}

TEST(Payback, GoesOnWhereOneInTenSparesARead) {
  Payback payback(kPages);
  uint64_t i = 0;
  const auto sometimes = [&payback, &i] {
    payback.issued();
    ++i % 10 == 0 ? payback.saved() : payback.wasted();
  };
  EXPECT_EQ(arrivals_until_stopped(payback, sometimes, 100 * kPages), 0u);
  EXPECT_NEAR(payback.gain().value_or(0), 0.1, 0.02);
}

// What is read from the cache again after it was fetched ahead, or would have been there anyway, is no gain.
TEST(Payback, WhatWouldHaveBeenThereAnywaySparesNothing) {
  Payback payback(kPages);
  const auto needless = [&payback] {
    payback.issued();
    payback.unneeded();
  };
  EXPECT_GT(arrivals_until_stopped(payback, needless, 100 * kPages), 0u);
}

TEST(Payback, ABadWhileShorterThanACacheDoesNotStopIt) {
  Payback payback(kPages);
  uint64_t i = 0;
  const auto in_bursts = [&payback, &i] {
    payback.issued();
    payback.saved();
    if (++i % (4 * kPages) < kPages / 2) {
      payback.lost();
      payback.lost();
    }
  };
  EXPECT_EQ(arrivals_until_stopped(payback, in_bursts, 200 * kPages), 0u);
}

TEST(Payback, TriesAgainAfterEverLongerTimesUntilItPays) {
  Payback payback(kPages);
  const auto in_vain = [&payback] {
    payback.issued();
    payback.wasted();
    payback.lost();
  };
  uint64_t last = 0;
  for (int attempt = 0; attempt < 7; ++attempt) {
    ASSERT_GT(arrivals_until_stopped(payback, in_vain, 10 * kPages), 0u);
    uint64_t waited = 0;
    for (; !payback.pays(); ++waited) payback.arrived();
    EXPECT_GE(waited, last);
    EXPECT_LE(waited, 128 * kPages);
    last = waited;
  }
  EXPECT_EQ(last, 128 * kPages);
  // It pays again; the next time it does not, the first wait is short.
  const auto well = [&payback] {
    payback.issued();
    payback.saved();
  };
  EXPECT_EQ(arrivals_until_stopped(payback, well, 10 * kPages), 0u);
  ASSERT_GT(arrivals_until_stopped(payback, in_vain, 100 * kPages), 0u);
  uint64_t waited = 0;
  for (; !payback.pays(); ++waited) payback.arrived();
  EXPECT_EQ(waited, 4 * kPages);
}

TEST(Payback, FewPrefetchedPagesAreNotBlamedForManyLosses) {
  Payback payback(kPages);
  for (int i = 0; i < 10; ++i) {
    payback.issued();
    payback.saved();
  }
  const auto elsewhere = [&payback] { payback.lost(); };
  EXPECT_EQ(arrivals_until_stopped(payback, elsewhere, 100 * kPages), 0u);
}

// They take room and never end.
TEST(Payback, PagesThatWaitForEverAreBlamedForWhatIsLost) {
  Payback payback(kPages);
  for (int i = 0; i < 100; ++i) payback.issued();
  const auto displaced = [&payback] { payback.lost(); };
  EXPECT_GT(arrivals_until_stopped(payback, displaced, 100 * kPages), 0u);
}

}  // namespace
}  // namespace foreshard::policy
