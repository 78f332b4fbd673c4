// simulate: runs a whole region in virtual time from a seed, with faults, and checks every answer.
//   simulate --seed N [--verbose]         one seed, in detail
//   simulate --seeds A..B                 a line for each, totals at the end
//   --plant NAME                          with a planted bug (preset "planted"); it should then find a violation
//   --ops N                               client operations per seed, at least
//   --perfect-store                       servers whose stores never forget: to find out what lies above them
// Exits with 1 at the first violation, having printed the seed, what was expected and what happened last.
#include <cstdlib>
#include <cstring>
#include <string>

#include <fmt/format.h>

#include "base/planted.h"
#include "sim/region.h"

namespace {

using foreshard::sim::RegionOptions;
using foreshard::sim::RegionOutcome;
using foreshard::sim::RegionRun;

struct Arguments {
  uint64_t first = 1, last = 1;
  std::string plant;
  RegionOptions region;
};

int usage() {
  fmt::print(stderr, "usage: simulate --seed N | --seeds A..B [--plant NAME] [--ops N] [--verbose]\n");
  return 2;
}

bool parse(int count, char** words, Arguments& out) {
  bool seeded = false;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    const char* value = i + 1 < count ? words[i + 1] : nullptr;
    if (word == "--perfect-store") {
      out.region.perfect_store = true;
      continue;
    }
    if (word == "--verbose") {
      out.region.verbose = true;
      continue;
    }
    if (value == nullptr) return false;
    ++i;
    if (word == "--seed") {
      out.first = out.last = std::strtoull(value, nullptr, 0);
      seeded = true;
    } else if (word == "--seeds") {
      const char* dots = std::strstr(value, "..");
      if (dots == nullptr) return false;
      out.first = std::strtoull(value, nullptr, 0);
      out.last = std::strtoull(dots + 2, nullptr, 0);
      seeded = true;
    } else if (word == "--plant") {
      out.plant = value;
    } else if (word == "--ops") {
      out.region.operations_min = std::strtoull(value, nullptr, 0);
    } else {
      return false;
    }
  }
  return seeded && out.first <= out.last;
}

void print_violation(uint64_t seed, const RegionOutcome& outcome) {
  fmt::print("seed {}: VIOLATION\n", seed);
  for (const std::string& line : outcome.recent) fmt::print("  {}\n", line);
  fmt::print("seed {}: {}\n{}\n", seed, *outcome.violation, outcome.summary());
  fmt::print("again: simulate --seed {}\n", seed);
}

}  // namespace

int main(int count, char** words) {
  Arguments arguments;
  if (!parse(count, words, arguments)) return usage();
  if (!arguments.plant.empty()) {
#ifdef FORESHARD_PLANTED_BUGS
    foreshard::plant_bug(arguments.plant);
#else
    fmt::print(stderr, "simulate: planted bugs are not compiled in; use the preset \"planted\"\n");
    return 2;
#endif
  }
  RegionOutcome total;
  for (uint64_t seed = arguments.first; seed <= arguments.last; ++seed) {
    RegionOptions options = arguments.region;
    options.seed = seed;
    const RegionOutcome outcome = RegionRun(options).run();
    if (outcome.violation) {
      print_violation(seed, outcome);
      return 1;
    }
    fmt::print("seed {:>6} {}\n", seed, outcome.summary());
    total.operations += outcome.operations;
    total.faults += outcome.faults;
    total.virtual_ns += outcome.virtual_ns;
    for (const auto& [name, number] : outcome.counters) total.counters[name] += number;
  }
  fmt::print("{} seeds, {} operations, {} faults, {:.0f} s of virtual time, no violation\n",
             arguments.last - arguments.first + 1, total.operations, total.faults,
             static_cast<double>(total.virtual_ns) / 1e9);
  for (const auto& [name, number] : total.counters) fmt::print("  {:>7} {}\n", number, name);
  return 0;
}
