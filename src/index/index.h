// Index: an ordered map of byte strings on disk, what RocksDB does for us. The chunk store keeps its index
// in one, the embedded metadata store its records. One atomic batch is the only way to change it.
//
// Contract: a batch is visible to get and scan once write() returned. It survives a crash of the machine
// once a write with sync, or a sync() that started after it returned, has returned; unsynced batches are
// lost from the newest backwards, never one without all later ones. Batches carry growing sequences.
// After an error of write or sync the index accepts nothing more (R-EIO): reopen it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "runtime/io.h"

namespace foreshard::index {

struct KeyValue {
  std::string key;
  std::string value;
  bool operator==(const KeyValue&) const = default;
};

struct Change {
  enum class Kind : uint8_t { kPut, kErase, kEraseRange } kind;
  std::string key;    // kEraseRange: first key
  std::string value;  // kEraseRange: end key, not included
};

class Batch {
 public:
  void put(std::string key, std::string value) {
    changes_.push_back({Change::Kind::kPut, std::move(key), std::move(value)});
  }
  void erase(std::string key) { changes_.push_back({Change::Kind::kErase, std::move(key), {}}); }
  void erase_range(std::string begin, std::string end) {
    changes_.push_back({Change::Kind::kEraseRange, std::move(begin), std::move(end)});
  }
  void append(Batch other) {
    for (Change& change : other.changes_) changes_.push_back(std::move(change));
  }
  bool empty() const { return changes_.empty(); }
  const std::vector<Change>& changes() const { return changes_; }

 private:
  std::vector<Change> changes_;
};

class Index {
 public:
  virtual ~Index() = default;
  virtual runtime::Task<Result<std::optional<std::string>>> get(std::string key) = 0;
  // Keys in [begin, end) in order, at most limit; an empty end means no end. `backward` starts at the end.
  virtual runtime::Task<Result<std::vector<KeyValue>>> scan(std::string begin, std::string end, size_t limit,
                                                            bool backward = false) = 0;
  // The batch's sequence. Concurrent synced writes share one sync.
  virtual runtime::Task<Result<uint64_t>> write(Batch batch, bool sync) = 0;
  // The highest durable sequence, at least that of every write returned before the call.
  virtual runtime::Task<Result<uint64_t>> sync() = 0;
  // The sequence of the newest batch found when it was opened: what survived.
  virtual uint64_t opened_sequence() const = 0;
  virtual runtime::Task<Result<void>> close() = 0;
};

// Opens (creates when missing) the index in a folder of a disk. The store and the metadata get one injected:
// RocksDB's (rocks_index.h) in the real world, the ordered map's (map_index.h) in the simulated one.
using OpenIndex = std::function<runtime::Task<Result<std::unique_ptr<Index>>>(runtime::Runtime& runtime,
                                                                              runtime::Disk& disk, std::string folder)>;

}  // namespace foreshard::index
