// ChunkStore: what one disk of a server holds. Pages of 4 KiB addressed by (volume, layer, chunk, page), each
// data, zero or inherit (never written: the layer below shows through). design.md section 6 says how it
// keeps what it promises; the implementations are the disk's (disk_store.h) and memory's (memory_store.h).
//
// Concurrency: calls on disjoint pages run at once; on overlapping pages they are ordered by page locks in
// the order of the calls. Owner: the server. End: close() in good order, or destruction, which is a crash.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "runtime/io.h"
#include "runtime/sync.h"

namespace foreshard::store {

struct ChunkKey {
  VolumeId volume;
  uint32_t layer = 0;
  uint64_t chunk = 0;
  auto operator<=>(const ChunkKey&) const = default;
};

enum class PageState : uint8_t { kInherit = 0, kData = 1, kZero = 2 };

// Two bits a page (Z5).
class PageMap {
 public:
  PageState get(uint32_t page) const { return static_cast<PageState>(words_[page / 32] >> (page % 32 * 2) & 3); }
  void set(uint32_t page, PageState state) {
    uint64_t& word = words_[page / 32];
    word = (word & ~(uint64_t{3} << (page % 32 * 2))) | static_cast<uint64_t>(state) << (page % 32 * 2);
  }
  bool operator==(const PageMap&) const = default;
  bool any_data() const;
  const std::array<uint64_t, kPagesPerChunk / 32>& words() const { return words_; }

 private:
  std::array<uint64_t, kPagesPerChunk / 32> words_{};
};

// Orders the writes of a chunk: (epoch, sequence) of the driver that made it.
struct Version {
  uint64_t epoch = 0;
  uint64_t sequence = 0;
  auto operator<=>(const Version&) const = default;
};

// Asked under the page lock, right before a change is applied (R-DRAIN): a session that has been
// superseded in the meantime changes nothing, and the call ends with kStaleSession.
class WriteGuard {
 public:
  virtual ~WriteGuard() = default;
  virtual bool admitted() const = 0;
};

struct StoreStats {
  uint64_t capacity_bytes = 0;  // that slots may take
  uint64_t slots = 0;           // in all, and in use
  uint64_t slots_used = 0;
  uint64_t reads = 0, writes = 0, flushes = 0, checkpoints = 0;
  uint64_t corrupt_pages = 0;   // found, by reads or the scrubber
  uint64_t accepted_pages = 0;  // taken as found after a crash: their writes had not been flushed (R-TORN)
  uint64_t dirty_chunks = 0;
};

// Pages that do not match their checksums: one, or all of a chunk whose record is rotten.
struct PageFault {
  ChunkKey key;
  uint32_t page = 0;
  uint32_t pages = 1;
};

// How far one call of scrub() came.
struct ScrubPart {
  std::vector<PageFault> faults;
  uint64_t bytes = 0;            // read and compared
  uint64_t slots = 0;            // that they lay in
  std::optional<ChunkKey> next;  // where to go on; nothing: the end was reached
};

// What a volume's slots take on this disk.
struct VolumeUsage {
  VolumeId volume;
  uint64_t bytes = 0;
};

class ChunkStore {
 public:
  virtual ~ChunkStore() = default;
  virtual StoreUuid uuid() const = 0;
  // The durable loss counter (R-LOSS): raised whenever acknowledged, unflushed writes may have been forgotten.
  virtual uint64_t loss() const = 0;
  // True when what the store knows of chunks and notes may be older than what it once made durable: its index
  // opened short (R-INDEX). The server then takes no hosted range for complete, notes that durably, and settles
  // it; until then every later open says so again.
  virtual bool incomplete() const = 0;
  virtual runtime::Task<Result<void>> settle_incomplete() = 0;

  // Reads whole pages; pages that are not data are filled with zeros. The answer tells each page's state,
  // counted from first_page. kCorrupt (id: the page within the chunk) when a checksum does not match; pages
  // before it may have been filled.
  virtual runtime::Task<Result<PageMap>> read(ChunkKey key, uint32_t first_page, ByteSpan into) = 0;
  // Writes whole pages. kNoSpace: refused without effect. After kLossy the store is closed (R-EIO), for every call.
  virtual runtime::Task<Result<void>> write(ChunkKey key, Version version, uint32_t first_page, ConstByteSpan data,
                                            const WriteGuard& guard) = 0;
  // Makes pages read as zero; nothing is read from below them any more. Frees what it can (R-TRIM).
  virtual runtime::Task<Result<void>> zero(ChunkKey key, Version version, uint32_t first_page, uint32_t pages,
                                           const WriteGuard& guard) = 0;
  // Everything acknowledged before the call is durable after it. Concurrent flushes share work.
  virtual runtime::Task<Result<void>> flush() = 0;
  // The states of all pages of a chunk; all kInherit when the chunk is unknown.
  virtual runtime::Task<Result<PageMap>> states(ChunkKey key) = 0;
  // The last write of a chunk, by version; {0, 0} when unknown.
  virtual runtime::Task<Result<Version>> version(ChunkKey key) = 0;
  // Deletes the chunks [first, first + count) of a volume in all layers, durably.
  virtual runtime::Task<Result<void>> erase(VolumeId volume, uint64_t first_chunk, uint64_t chunks) = 0;

  // Small durable records of the server (fences, hosted ranges), in the same index: one synced batch.
  struct Note {
    std::string key;
    std::optional<std::string> value;  // nothing: erase it
  };
  virtual runtime::Task<Result<void>> put_notes(std::vector<Note> notes) = 0;
  virtual runtime::Task<Result<std::vector<Note>>> notes(std::string prefix) = 0;

  // Reads the stored pages of chunks in [begin, end) once, in the order volume, chunk, layer, and compares; reports
  // what does not match. A call does a bounded part of the work, so that whoever wants to end need not wait long.
  // Yields to other I/O and keeps to a pace; 0: the store's own. kCancelled soon after `stop`, if given, is set.
  virtual runtime::Task<Result<ScrubPart>> scrub(ChunkKey begin, ChunkKey end, uint64_t bytes_per_second,
                                                 runtime::Signal* stop) = 0;
  // Of the volumes that take any space, by id.
  virtual std::vector<VolumeUsage> usage() const = 0;
  virtual StoreStats stats() const = 0;
  // Whether every call ends with kLossy, since a write, a sync or the index has failed (R-EIO), perhaps in the
  // background: the owner closes the store and opens it anew.
  virtual bool failed() const = 0;
  // Makes everything durable and marks the store clean: the next open is without loss.
  virtual runtime::Task<Result<void>> close() = 0;
};

inline constexpr ChunkKey kChunkKeysEnd{VolumeId{UINT64_MAX}, UINT32_MAX, UINT64_MAX};
// All of a store, part by part.
runtime::Task<Result<std::vector<PageFault>>> scrub_all(ChunkStore& store);

}  // namespace foreshard::store
