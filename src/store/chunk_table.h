// ChunkTable: the chunks known in memory, their records read from the index when first needed. Chunks that
// nobody uses and that have nothing to be written to the index are kept up to a bound; those that were not used
// again go first (CLOCK).
//
// Owner: DiskStore. Invariant: a chunk that is pinned or on a list of changed ones stays where it is.
#pragma once

#include <list>
#include <memory>
#include <unordered_map>
#include <vector>

#include "index/index.h"
#include "runtime/sync.h"
#include "store/dirty_pages.h"
#include "store/format.h"
#include "store/page_lock.h"

namespace foreshard::store {

// One chunk as it is now, and how much of that the index knows.
struct Chunk {
  explicit Chunk(const ChunkKey& k) : key(k) {}

  const ChunkKey key;
  PageLocks locks;
  bool loaded = false;
  bool loading = false;
  uint32_t pins = 0;

  // What calls see, changed under page locks.
  PageMap map;
  Version version;
  uint64_t slot = kNoSlot;
  uint64_t generation = 0;
  std::unique_ptr<PageSums> sums;  // with a slot

  // What a crash would find.
  uint64_t durable_slot = kNoSlot;  // of the record in the index
  PageSet exposed;                  // pages that the record in the index, or one on its way there, shows as data
  PageSet in_flight;                // pages being written in place
  DirtyPages dirty;
  uint64_t names_from = 0;                              // of its record: earlier records of the dirty log do not count
  uint64_t changes = 0, committed_changes = 0;          // of anything; of those, in the index
  uint64_t map_changes = 0, committed_map_changes = 0;  // of what flush must make durable

  bool in_changed = false, in_map_changed = false;
  std::list<Chunk*>::iterator changed_place, map_changed_place;
  bool used_again = false;  // since it came among the kept ones, or was passed over there
  uint64_t kept_bytes = 0;  // what it counts among them; 0: it is not one of them

  PageSet data_pages() const;
  PageIdentity identity(StoreUuid store, uint32_t page) const { return {store.value, slot, generation, page}; }
};

class ChunkTable;

// Keeps a chunk in the table.
class [[nodiscard]] ChunkPin {
 public:
  ChunkPin(ChunkTable& table, Chunk& chunk);
  ChunkPin(ChunkPin&& other) noexcept : table_(other.table_), chunk_(std::exchange(other.chunk_, nullptr)) {}
  ChunkPin& operator=(ChunkPin&&) = delete;
  ~ChunkPin();
  Chunk& operator*() const { return *chunk_; }
  Chunk* operator->() const { return chunk_; }

 private:
  ChunkTable* table_;
  Chunk* chunk_;
};

class ChunkTable {
 public:
  ChunkTable(runtime::Executor& executor, index::Index& index, uint64_t bytes_max)
      : index_(index), bytes_max_(bytes_max), loads_(executor) {}

  // The chunk, known or not; not loaded yet the first time.
  ChunkPin pin(const ChunkKey& key);
  // Reads its record, once. kCorrupt when the record is rotten.
  runtime::Task<Result<void>> load(Chunk& chunk);

  // Notes that the index does not know the chunk's newest state, or not its newest map.
  void mark_changed(Chunk& chunk);
  void mark_map_changed(Chunk& chunk);
  // The reverse, once a record is in the index.
  void settle(Chunk& chunk);

  // Oldest change first.
  std::list<Chunk*>& changed() { return changed_; }
  std::list<Chunk*>& map_changed() { return map_changed_; }
  const std::list<Chunk*>& changed() const { return changed_; }

  // The keys in [begin, end) that are in the table or the index, at most `limit`, in the order of the index:
  // volume, chunk, layer.
  runtime::Task<Result<std::vector<ChunkKey>>> keys(ChunkKey begin, ChunkKey end, size_t limit);

  uint64_t bytes() const { return bytes_; }

 private:
  friend class ChunkPin;
  struct KeyHash {
    size_t operator()(const ChunkKey& key) const noexcept;
  };
  static uint64_t bytes_of(const Chunk& chunk);
  void unpin(Chunk& chunk);
  void evict();

  index::Index& index_;
  const uint64_t bytes_max_;
  uint64_t bytes_ = 0;  // of the chunks kept
  std::unordered_map<ChunkKey, std::unique_ptr<Chunk>, KeyHash> chunks_;
  std::list<Chunk*> changed_, map_changed_;
  std::list<Chunk*> kept_;  // newest first; also such as are in use again
  runtime::WaitQueue loads_;
};

}  // namespace foreshard::store
