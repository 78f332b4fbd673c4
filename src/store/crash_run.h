// CrashRun: one seeded life of a chunk store, for tests: clients at once, faults, crashes at any point, opened
// again each time and compared with a CrashModel.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "store/crash_model.h"
#include "store/store_world.h"

namespace foreshard::store {

class CrashRun {
 public:
  struct Faults {
    bool disk_errors = false;  // writes and syncs that fail
    bool index_errors = false;
    bool index_loses_tail = false;  // synced batches gone at a crash
    bool rot = false;               // bits flip in pages that nobody has written since the last life
  };
  CrashRun(uint64_t seed, Faults faults);
  // Runs it; what went wrong first, or nothing.
  std::string run();

  uint64_t operations() const { return operations_; }
  uint64_t crashes() const { return crashes_; }
  uint64_t accepted_pages() const { return accepted_pages_; }
  uint64_t incomplete_opens() const { return incomplete_opens_; }
  uint64_t failures() const { return failures_; }
  uint64_t rotten_pages() const { return rotten_pages_; }

 private:
  struct Admit : WriteGuard {
    bool answer = true;
    bool admitted() const override { return answer; }
  };
  static DiskStoreOptions options_for(uint64_t seed);
  static runtime::Task<void> client(CrashRun* run, Random random);
  runtime::Task<void> change(Random& random);
  runtime::Task<void> read(Random& random);
  runtime::Task<void> flush();
  static runtime::Task<void> compare(CrashRun* run);
  static runtime::Task<void> erase_all(CrashRun* run);
  void end_life();
  bool open_again();
  void arm_faults();
  void rot_some_pages();
  bool rot_page(const ChunkKey& key, uint32_t page);
  static runtime::Task<void> mend(CrashRun* run, ChunkKey key, uint32_t page);
  void fail(std::string why);
  ChunkKey random_key(Random& random) const;

  const uint64_t seed_;
  const Faults faults_;
  Random random_;
  StoreWorld world_;
  CrashModel model_;
  Admit guard_;
  std::string error_;
  std::set<std::pair<ChunkKey, uint32_t>> rotten_;  // must show as corrupt at the next comparison
  uint64_t numbers_ = 0;
  uint32_t pages_used_ = 0;
  uint64_t loss_seen_ = 0;
  bool clean_ = true;
  bool store_failed_ = false;
  bool stopping_ = false;
  size_t clients_ = 0;
  uint64_t operations_ = 0, crashes_ = 0, accepted_pages_ = 0, incomplete_opens_ = 0, failures_ = 0, rotten_pages_ = 0;
};

}  // namespace foreshard::store
