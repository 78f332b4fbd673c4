// Shows that Payback stops what spares no reads and costs some, once a cache full of pages has come and gone, lets it
// try again after ever longer times, and stops neither what pays, nor for losses that prefetching cannot have caused or
// that chance makes up.
#include "policy/cache/payback.h"

#include <gtest/gtest.h>

#include <functional>

namespace foreshard::policy {
namespace {

constexpr uint64_t kPages = 1000;

// `round` and a miss until it stops; how many misses by then, none after `most`.
uint64_t misses_until_stopped(Payback& payback, const std::function<void()>& round, uint64_t most) {
  uint64_t misses = 0;
  while (payback.pays() && misses < most) {
    round();
    payback.read(true);
    ++misses;
  }
  return payback.pays() ? 0 : misses;
}

TEST(Payback, StopsWhatCostsAsManyReadsAsItSpares) {
  Payback payback(kPages, false);
  const auto in_vain = [&payback] {
    payback.issued();
    payback.saved();
    payback.lost();
  };
  const uint64_t misses = misses_until_stopped(payback, in_vain, 100 * kPages);
  EXPECT_GE(misses, kPages);
  EXPECT_LE(misses, 4 * kPages);
  EXPECT_EQ(payback.stops(), 1u);
  ASSERT_TRUE(payback.gain().has_value());
  EXPECT_NEAR(*payback.gain(), 0, 0.01);
}

TEST(Payback, GoesOnWhereOneInTenSparesARead) {
  Payback payback(kPages, false);
  uint64_t i = 0;
  const auto sometimes = [&payback, &i] {
    payback.issued();
    ++i % 10 == 0 ? payback.saved() : payback.wasted();
  };
  EXPECT_EQ(misses_until_stopped(payback, sometimes, 100 * kPages), 0u);
  EXPECT_NEAR(payback.gain().value_or(0), 0.1, 0.02);
}

// What is read from the cache again after it was fetched ahead, or would have been there anyway, is no gain.
TEST(Payback, WhatWouldHaveBeenThereAnywaySparesNothing) {
  Payback payback(kPages, false);
  const auto needless = [&payback] {
    payback.issued();
    payback.unneeded();
  };
  EXPECT_GT(misses_until_stopped(payback, needless, 100 * kPages), 0u);
}

TEST(Payback, ABadWhileShorterThanACacheDoesNotStopIt) {
  Payback payback(kPages, false);
  uint64_t i = 0;
  const auto in_bursts = [&payback, &i] {
    payback.issued();
    payback.saved();
    if (++i % (4 * kPages) < kPages / 2) {
      payback.lost();
      payback.lost();
    }
  };
  EXPECT_EQ(misses_until_stopped(payback, in_bursts, 200 * kPages), 0u);
}

TEST(Payback, TriesAgainAfterEverLongerTimesUntilItPays) {
  Payback payback(kPages, false);
  const auto in_vain = [&payback] {
    payback.issued();
    payback.wasted();
    payback.lost();
  };
  uint64_t last = 0;
  for (int attempt = 0; attempt < 7; ++attempt) {
    ASSERT_GT(misses_until_stopped(payback, in_vain, 10 * kPages), 0u);
    uint64_t waited = 0;
    for (; !payback.pays(); ++waited) payback.read(true);
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
  EXPECT_EQ(misses_until_stopped(payback, well, 10 * kPages), 0u);
  ASSERT_GT(misses_until_stopped(payback, in_vain, 100 * kPages), 0u);
  uint64_t waited = 0;
  for (; !payback.pays(); ++waited) payback.read(true);
  EXPECT_EQ(waited, 4 * kPages);
}

TEST(Payback, FewPrefetchedPagesAreNotBlamedForManyLosses) {
  Payback payback(kPages, false);
  for (int i = 0; i < 10; ++i) {
    payback.issued();
    payback.saved();
  }
  const auto elsewhere = [&payback] { payback.lost(); };
  EXPECT_EQ(misses_until_stopped(payback, elsewhere, 100 * kPages), 0u);
}

// What a sample tells of a rate is somewhat wrong.
TEST(Payback, ALossOfLessThanOneReadInAHundredIsTakenForChance) {
  Payback payback(kPages, false);
  uint64_t i = 0;
  const auto seldom = [&payback, &i] {
    for (int reads = 0; reads < 99; ++reads) payback.read(false);
    if (++i % 2 != 0) return;
    payback.issued();
    payback.saved();
    payback.lost();
  };
  EXPECT_EQ(misses_until_stopped(payback, seldom, 20 * kPages), 0u);
}

// Nor is what lay in the cache when the watch began.
TEST(Payback, WhatWasThereBeforeIsNotItsGain) {
  Payback payback(kPages, true);
  uint64_t i = 0;
  const auto in_vain = [&payback, &i] {
    payback.issued();
    payback.saved();
    payback.lost();
    if (++i < kPages) payback.kept();
  };
  const uint64_t misses = misses_until_stopped(payback, in_vain, 100 * kPages);
  EXPECT_GT(misses, 0u);
  EXPECT_LE(misses, 6 * kPages);
}

// Nor does what chance keeps while nothing is prefetched pay for what is prefetched in vain later.
TEST(Payback, QuietTimesGiveNoCredit) {
  Payback payback(kPages, false);
  for (uint64_t i = 0; i < 100 * kPages; ++i) {
    payback.kept();
    payback.read(true);
  }
  const auto in_vain = [&payback] {
    payback.issued();
    payback.unneeded();
  };
  const uint64_t misses = misses_until_stopped(payback, in_vain, 100 * kPages);
  EXPECT_GT(misses, 0u);
  EXPECT_LE(misses, 6 * kPages);
}

// They take room and never end.
TEST(Payback, PagesThatWaitForEverAreBlamedForWhatIsLost) {
  Payback payback(kPages, false);
  for (int i = 0; i < 100; ++i) payback.issued();
  const auto displaced = [&payback] { payback.lost(); };
  EXPECT_GT(misses_until_stopped(payback, displaced, 100 * kPages), 0u);
}

}  // namespace
}  // namespace foreshard::policy
