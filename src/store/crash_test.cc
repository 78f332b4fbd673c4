// Proves that the store on disk keeps its promises over crashes at any point: flushed data is there, unflushed
// pages are old or new sector by sector, nothing foreign ever shows, an honest crash never shows as rot, loss
// is raised after every unclean stop and only then, no slot leaks. The model knows only calls and answers.
#include <gtest/gtest.h>

#include <cstdlib>

#include "base/planted.h"
#include "store/crash_run.h"

namespace foreshard::store {
namespace {

uint64_t seeds_of(const char* variable, uint64_t standard) {
  const char* text = std::getenv(variable);
  return text == nullptr ? standard : std::strtoull(text, nullptr, 10);
}

struct Sum {
  uint64_t operations = 0, crashes = 0, accepted_pages = 0, incomplete_opens = 0, failures = 0, rotten_pages = 0;
};

Sum run_seeds(uint64_t first, uint64_t count, CrashRun::Faults faults) {
  Sum sum;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    CrashRun run(seed, faults);
    const std::string error = run.run();
    EXPECT_EQ(error, "");
    if (!error.empty()) break;
    sum.operations += run.operations();
    sum.crashes += run.crashes();
    sum.accepted_pages += run.accepted_pages();
    sum.incomplete_opens += run.incomplete_opens();
    sum.failures += run.failures();
    sum.rotten_pages += run.rotten_pages();
  }
  return sum;
}

TEST(Crash, HonestCrashesLoseOnlyWhatWasNotFlushed) {
  const Sum sum = run_seeds(1, seeds_of("FORESHARD_STORE_SEEDS", 120), {});
  EXPECT_GT(sum.operations, 1000u);
  EXPECT_GT(sum.crashes, 50u);
  EXPECT_GT(sum.accepted_pages, 10u);  // torn pages did occur
  EXPECT_EQ(sum.failures, 0u);
}

TEST(Crash, AFailedWriteOrSyncClosesTheStoreAndIsNeverForgotten) {
  const Sum sum = run_seeds(100'001, seeds_of("FORESHARD_STORE_SEEDS", 60), {.disk_errors = true});
  EXPECT_GT(sum.failures, 5u);
}

TEST(Crash, AFailedIndexClosesTheStore) {
  const Sum sum = run_seeds(200'001, seeds_of("FORESHARD_STORE_SEEDS", 40), {.index_errors = true});
  EXPECT_GT(sum.failures, 5u);
}

TEST(Crash, AnIndexThatOpensShortIsSaidToBeIncomplete) {
  const Sum sum = run_seeds(300'001, seeds_of("FORESHARD_STORE_SEEDS", 40), {.index_loses_tail = true});
  EXPECT_GT(sum.incomplete_opens, 5u);
}

TEST(Crash, RotShowsAsCorruptAndNeverAsATornWrite) {
  const Sum sum = run_seeds(400'001, seeds_of("FORESHARD_STORE_SEEDS", 40), {.rot = true});
  EXPECT_GT(sum.rotten_pages, 20u);
}

#ifdef FORESHARD_PLANTED_BUGS

// The checks above can fail: each planted bug is found.
class Planted : public testing::TestWithParam<const char*> {};

TEST_P(Planted, IsFound) {
  plant_bug(GetParam());
  std::string error;
  uint64_t seed = 0;
  while (error.empty() && ++seed <= 2000) {
    const std::string_view bug = GetParam();
    CrashRun run(seed, {.disk_errors = bug == "fsync retried", .rot = bug == "recompute whole chunk"});
    error = run.run();
  }
  plant_bug("");
  EXPECT_NE(error, "");
  std::printf("%s: %s\n", GetParam(), error.c_str());
}

INSTANTIATE_TEST_SUITE_P(Bugs, Planted,
                         testing::Values("index before slot sync", "slot reuse before sync", "recompute whole chunk",
                                         "fsync retried", "WAL tail dropped", "trim as advice"));

#endif

}  // namespace
}  // namespace foreshard::store
