// CrashModel: what a chunk store may show, page by page, derived only from the calls that were made and what
// they answered. For tests.
//
// Each page has a history in the order of the calls, since overlapping calls are ordered by their start. The
// first entry is what is known to be durable. After a crash a page may be anything from there on, each sector
// by itself; a page state counts like a sector.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <string>

#include "base/buffer.h"
#include "store/chunk_store.h"

namespace foreshard::store {

class CrashModel {
 public:
  static constexpr uint32_t kSectorsPerPage = kPageBytes / kSectorBytes;
  // What a page holds: the number of the write that each sector came from (0: zeros).
  struct Contents {
    PageState state = PageState::kInherit;
    std::array<uint64_t, kSectorsPerPage> writes{};
    bool operator==(const Contents&) const = default;
  };
  enum class Outcome : uint8_t { kPending, kDone, kRefused, kUnknown };
  using Place = uint64_t;  // in one page's history

  // A page of write `number` as it is put on disk: every sector says which write, page and sector it is.
  static void fill(ByteSpan page, uint64_t number, const ChunkKey& key, uint32_t index);

  // A call is about to start; `number` is 0 for zero() and erase().
  Place begin(const ChunkKey& key, uint32_t page, PageState state, uint64_t number);
  void end(const ChunkKey& key, uint32_t page, Place place, Outcome outcome);
  // The place of the newest call so far.
  Place newest(const ChunkKey& key, uint32_t page);
  // What a read that started when `place` was newest must see; all calls up to there have ended.
  Contents expected(const ChunkKey& key, uint32_t page, Place place);

  // Why a page that was read is not that; empty when it is.
  static std::string differs(const ChunkKey& key, uint32_t page, const Contents& wanted, PageState state,
                             ConstByteSpan bytes);

  // What a flush that starts now covers; and that it succeeded.
  using Covered = std::map<std::pair<ChunkKey, uint32_t>, Place>;
  Covered cover() const;
  void flushed(const Covered& covered);

  // After a crash: is this page a possible outcome? The reason if not. If it is, it is now the only one.
  std::string settle(const ChunkKey& key, uint32_t page, PageState state, ConstByteSpan bytes);

  // The page is now durably zero, whatever it was.
  void set_zero(const ChunkKey& key, uint32_t page);

  std::vector<std::pair<ChunkKey, uint32_t>> pages() const;
  // Of these, the data pages that no call has touched since the last settle().
  std::vector<std::pair<ChunkKey, uint32_t>> untouched_data_pages() const;

 private:
  struct Entry {
    Place place;
    Contents contents;
    Outcome outcome;
    bool settled = false;  // found after a crash
  };
  using History = std::deque<Entry>;
  History& history(const ChunkKey& key, uint32_t page);

  std::map<std::pair<ChunkKey, uint32_t>, History> histories_;
  Place places_ = 0;
};

}  // namespace foreshard::store
