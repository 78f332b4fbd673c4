// A seeded random number generator (xoshiro256**, Blackman and Vigna 2018) whose sequence is ours for
// ever: no decision may hang on a standard library's distribution or shuffle.
#pragma once

#include <cstdint>

namespace foreshard {

class Random {
 public:
  explicit Random(uint64_t seed);
  uint64_t next();
  // Uniform in [0, bound); bound > 0.
  uint64_t below(uint64_t bound);
  // Uniform in [low, high].
  uint64_t between(uint64_t low, uint64_t high) { return low + below(high - low + 1); }
  // Uniform in [0, 1).
  double fraction();
  // True with the given probability.
  bool chance(double probability) { return fraction() < probability; }
  // A generator of its own for a part, so that parts do not disturb each other's sequences.
  Random fork() { return Random(next()); }

 private:
  uint64_t state_[4];
};

// One step of splitmix64: a good mix of an integer, the same everywhere and always.
inline uint64_t mix64(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

// A well mixed hash brought evenly into [0, bound), by its upper bits.
inline uint64_t spread(uint64_t hash, uint64_t bound) {
  return static_cast<uint64_t>((static_cast<unsigned __int128>(hash) * bound) >> 64);
}

}  // namespace foreshard
