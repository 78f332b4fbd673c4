// Proved here: the sequence of a seed is the published generator's and never changes, numbers stay in their bounds
// and are spread evenly, and a fork does not disturb its parent.
#include "base/random.h"

#include <gtest/gtest.h>

#include <array>

namespace foreshard {
namespace {

// The reference, written out again from the publications: splitmix64 fills the state, xoshiro256** draws.
class Reference {
 public:
  explicit Reference(uint64_t seed) {
    for (uint64_t& word : state_) {
      seed += 0x9e3779b97f4a7c15ull;
      uint64_t z = seed;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
      z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
      word = z ^ (z >> 31);
    }
  }
  uint64_t next() {
    const uint64_t result = rotate(state_[1] * 5, 7) * 9;
    const uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = rotate(state_[3], 45);
    return result;
  }

 private:
  static uint64_t rotate(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }
  std::array<uint64_t, 4> state_{};
};

TEST(Random, IsTheGeneratorItSaysItIs) {
  for (const uint64_t seed : {0ull, 1ull, 42ull, ~0ull}) {
    Random random(seed);
    Reference reference(seed);
    for (int i = 0; i < 1000; ++i) ASSERT_EQ(random.next(), reference.next()) << seed << " " << i;
  }
}

TEST(Random, BoundsHoldAndAllValuesCome) {
  Random random(7);
  std::array<int, 10> counts{};
  for (int i = 0; i < 100'000; ++i) ++counts[random.below(10)];
  // 10,000 each; six standard deviations are 570.
  for (const int count : counts) EXPECT_NEAR(count, 10'000, 570);
  for (int i = 0; i < 1000; ++i) {
    const uint64_t value = random.between(5, 7);
    ASSERT_GE(value, 5u);
    ASSERT_LE(value, 7u);
    const double fraction = random.fraction();
    ASSERT_GE(fraction, 0);
    ASSERT_LT(fraction, 1);
  }
  EXPECT_EQ(random.below(1), 0u);
  EXPECT_FALSE(random.chance(0));
  EXPECT_TRUE(random.chance(1));
}

TEST(Random, ForksGoTheirOwnWay) {
  Random one(3), two(3);
  Random child = one.fork();
  two.next();
  for (int i = 0; i < 100; ++i) child.next();
  for (int i = 0; i < 100; ++i) ASSERT_EQ(one.next(), two.next());
}

}  // namespace
}  // namespace foreshard
