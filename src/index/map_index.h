// MapIndex: the Index contract over an ordered map in memory, for simulation and tests. What would be on
// disk is a MapIndexState, which outlives the process that has it open.
#pragma once

#include <deque>
#include <map>
#include <memory>

#include "base/random.h"
#include "index/index.h"
#include "runtime/sync.h"

namespace foreshard::index {

// The contents, with the newest batches kept undoable: those not yet synced, which a crash may drop from the
// newest backwards, and a few synced ones, which only a broken disk or library drops (R-INDEX).
// Owner: the simulated disk. Invariant: the batches with sequences in (durable, last] are not synced.
class MapIndexState {
 public:
  // Applies a batch, not yet durable; its sequence.
  uint64_t apply(const Batch& batch);
  void mark_durable(uint64_t sequence);
  // A crash of the machine: a random number of the newest unsynced batches is gone; the rest is on disk.
  void crash(Random& random);
  // What must never happen yet does: some of the newest synced batches are gone too. True if any was.
  bool lose_synced_tail(Random& random);

  const std::map<std::string, std::string>& content() const { return content_; }
  uint64_t last_sequence() const { return last_sequence_; }
  uint64_t durable_sequence() const { return durable_sequence_; }

  // Faults to come: how many more writes and syncs succeed before every one fails, until repaired.
  void fail_after(uint64_t operations) { operations_left_ = operations; }
  void repair() { operations_left_ = UINT64_MAX; }
  bool take_operation();

 private:
  struct Undo {
    uint64_t sequence;                                                       // of the batch that it takes back
    std::vector<std::pair<std::string, std::optional<std::string>>> before;  // in the order of the changes
  };
  void undo_newest();
  void set(Undo& undo, const std::string& key, std::optional<std::string> value);

  static constexpr size_t kUndoableSyncedBatchesMax = 32;
  std::map<std::string, std::string> content_;
  std::deque<Undo> undos_;  // oldest first
  uint64_t last_sequence_ = 0;
  uint64_t durable_sequence_ = 0;
  uint64_t operations_left_ = UINT64_MAX;
};

struct MapIndexOptions {
  uint64_t read_latency_ns = 0;
  uint64_t sync_latency_ns = 0;
};

// One process's opening of a state. Lifecycle: as Index says; destruction without close is a crash of the
// process, after which the state's owner decides with crash() what survives.
class MapIndex : public Index {
 public:
  MapIndex(runtime::Executor& executor, MapIndexState& state, MapIndexOptions options)
      : executor_(executor),
        state_(state),
        options_(options),
        opened_sequence_(state.last_sequence()),
        syncing_(executor) {}

  runtime::Task<Result<std::optional<std::string>>> get(std::string key) override;
  runtime::Task<Result<std::vector<KeyValue>>> scan(std::string begin, std::string end, size_t limit,
                                                    bool backward) override;
  runtime::Task<Result<uint64_t>> write(Batch batch, bool sync) override;
  runtime::Task<Result<uint64_t>> sync() override;
  uint64_t opened_sequence() const override { return opened_sequence_; }
  runtime::Task<Result<void>> close() override;

 private:
  runtime::Task<Result<uint64_t>> sync_up_to(uint64_t sequence);

  runtime::Executor& executor_;
  MapIndexState& state_;
  MapIndexOptions options_;
  uint64_t opened_sequence_;
  runtime::Mutex syncing_;
  bool failed_ = false;
  bool closed_ = false;
};

// Opens the given state whatever the disk and folder: a process that has several indexes gets one opener each.
// The state must outlive what is opened.
OpenIndex map_index_opener(MapIndexState& state, MapIndexOptions options = {});

}  // namespace foreshard::index
