// Proves that a context that is hardly ever worth weighing is held back but for a share, that one that is worth it
// passes, also one that becomes so later, and that contexts do not speak for each other.
#include "policy/prefetch/sieve.h"

#include <gtest/gtest.h>

namespace foreshard::policy {
namespace {

Candidate of(uint16_t context, uint8_t expert = 1) {
  Candidate candidate;
  candidate.context = context;
  candidate.expert = expert;
  return candidate;
}

// How many of so many candidates pass, each of which turns out as it is said.
uint32_t passing(Sieve& sieve, const Candidate& candidate, uint32_t count, bool probable) {
  uint32_t passed = 0;
  for (uint32_t i = 0; i < count; ++i) {
    if (!sieve.passes(candidate)) continue;
    ++passed;
    sieve.learn(candidate, probable);
  }
  return passed;
}

TEST(Sieve, HoldsBackWhatIsNeverWorthIt) {
  Sieve sieve;
  EXPECT_EQ(passing(sieve, of(7), 64, false), 64u) << "at first nothing is known";
  const uint32_t passed = passing(sieve, of(7), 10'000, false);
  EXPECT_GT(passed, 10'000u / 16);
  EXPECT_LT(passed, 10'000u / 5);
}

TEST(Sieve, LetsPassWhatIsWorthItAndWhatBecomesSo) {
  Sieve sieve;
  EXPECT_EQ(passing(sieve, of(7), 1000, true), 1000u);
  passing(sieve, of(8), 5000, false);
  passing(sieve, of(8), 500, true);
  EXPECT_EQ(passing(sieve, of(8), 100, true), 100u);
}

TEST(Sieve, OneContextDoesNotSpeakForAnother) {
  Sieve sieve;
  passing(sieve, of(7), 1000, false);
  EXPECT_EQ(passing(sieve, of(9), 64, false), 64u);
  EXPECT_EQ(passing(sieve, of(7, 2), 64, false), 64u);
}

}  // namespace
}  // namespace foreshard::policy
