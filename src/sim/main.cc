// simulate: runs a whole region in virtual time from a seed, with faults, and checks every answer.
//   simulate --seed N [--verbose]         one seed, in detail
//   simulate --seeds A..B                 a line for each, totals at the end
//   simulate --fault-points               the names of all that may be done to a region
//   --go-on                               also after a violation
//   --plant NAME                          with a planted bug (preset "planted"); it should then find a violation
//   --ops N, --seconds N                  client operations and virtual seconds per seed, at least
//   --perfect-store                       servers whose stores never forget: to find out what lies above them
// Exits with 1 at a violation, having printed the seed, what was expected and what happened last.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include <fmt/format.h>

#include "base/planted.h"
#include "sim/fault_points.h"
#include "sim/region.h"

namespace {

using foreshard::sim::kFaultPoints;
using foreshard::sim::RegionOptions;
using foreshard::sim::RegionOutcome;
using foreshard::sim::RegionRun;

struct Arguments {
  uint64_t first = 1, last = 1;
  std::string plant;
  bool go_on = false;
  RegionOptions region;
};

int usage() {
  fmt::print(stderr, "usage: simulate --seed N | --seeds A..B [--plant NAME] [--go-on] [--ops N] [--seconds N] "
                     "[--verbose]\n       simulate --fault-points\n");
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
    if (word == "--go-on") {
      out.go_on = true;
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
    } else if (word == "--seconds") {
      out.region.virtual_ns_min = std::strtoull(value, nullptr, 0) * 1'000'000'000;
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
  if (count == 2 && std::strcmp(words[1], "--fault-points") == 0) {
    for (const std::string_view name : kFaultPoints) fmt::print("{}\n", name);
    return 0;
  }
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
  uint64_t violations = 0;
  for (uint64_t seed = arguments.first; seed <= arguments.last; ++seed) {
    RegionOptions options = arguments.region;
    options.seed = seed;
    const RegionOutcome outcome = RegionRun(options).run();
    for (const auto& [name, number] : outcome.counters) total.counters[name] += number;
    if (outcome.violation) {
      print_violation(seed, outcome);
      ++violations;
      if (!arguments.go_on) return 1;
    } else {
      fmt::print("seed {:>6} {}\n", seed, outcome.summary());
    }
    std::fflush(stdout);
    total.operations += outcome.operations;
    total.faults += outcome.faults;
    total.virtual_ns += outcome.virtual_ns;
  }
  fmt::print("{} seeds, {} operations, {} faults, {:.0f} s of virtual time, {} violations\n",
             arguments.last - arguments.first + 1, total.operations, total.faults,
             static_cast<double>(total.virtual_ns) / 1e9, violations);
  bool all_known = true;
  for (const auto& [name, number] : total.counters) {
    const bool known = std::find(kFaultPoints.begin(), kFaultPoints.end(), name) != kFaultPoints.end();
    fmt::print("  {:>7} {}{}\n", number, name, known ? "" : ", which sim/fault_points.h does not list");
    all_known = all_known && known;
  }
  return violations == 0 && all_known ? 0 : 1;
}
