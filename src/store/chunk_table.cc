#include "store/chunk_table.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "base/random.h"

namespace foreshard::store {

using runtime::Task;

PageSet Chunk::data_pages() const {
  PageSet pages;
  for (uint32_t page = 0; page < kPagesPerChunk; ++page)
    if (map.get(page) == PageState::kData) pages.add(page);
  return pages;
}

ChunkPin::ChunkPin(ChunkTable& table, Chunk& chunk) : table_(&table), chunk_(&chunk) { ++chunk.pins; }
ChunkPin::~ChunkPin() {
  if (chunk_ != nullptr) table_->unpin(*chunk_);
}

size_t ChunkTable::KeyHash::operator()(const ChunkKey& key) const noexcept {
  return mix64(key.chunk ^ mix64(key.volume.value ^ uint64_t{key.layer} << 40));
}

uint64_t ChunkTable::bytes_of(const Chunk& chunk) {
  constexpr uint64_t kTableBytes = 128;  // the entry and its place in a list
  return sizeof(Chunk) + kTableBytes + (chunk.sums ? sizeof(PageSums) : 0);
}

ChunkPin ChunkTable::pin(const ChunkKey& key) {
  std::unique_ptr<Chunk>& chunk = chunks_[key];
  if (!chunk) chunk = std::make_unique<Chunk>(key);
  return ChunkPin(*this, *chunk);
}

void ChunkTable::unpin(Chunk& chunk) {
  ASSERT(chunk.pins > 0);
  if (--chunk.pins > 0 || chunk.in_changed || chunk.in_map_changed) return;
  if (!chunk.loaded) {
    const ChunkKey key = chunk.key;
    chunks_.erase(key);
    return;
  }
  // In the order in which they came, each with a second chance: a chunk that is used again costs no list.
  const uint64_t bytes = bytes_of(chunk);
  bytes_ += bytes - chunk.kept_bytes;
  chunk.used_again = chunk.kept_bytes != 0;
  if (chunk.kept_bytes == 0) kept_.push_front(&chunk);
  chunk.kept_bytes = bytes;
  if (bytes_ > bytes_max_) evict();
}

void ChunkTable::evict() {
  while (bytes_ > bytes_max_ && !kept_.empty()) {
    Chunk& oldest = *kept_.back();
    const bool needed = oldest.pins > 0 || oldest.in_changed || oldest.in_map_changed;
    if (!needed && std::exchange(oldest.used_again, false)) {
      kept_.splice(kept_.begin(), kept_, std::prev(kept_.end()));
      continue;
    }
    kept_.pop_back();
    bytes_ -= std::exchange(oldest.kept_bytes, 0);
    if (needed) continue;  // It comes again when nobody needs it any more.
    const ChunkKey key = oldest.key;
    chunks_.erase(key);
  }
}

Task<Result<void>> ChunkTable::load(Chunk& chunk) {
  while (chunk.loading) co_await loads_.wait();
  if (chunk.loaded) co_return Result<void>();
  chunk.loading = true;
  const std::string key = chunk_key(chunk.key);
  Result<std::optional<std::string>> value = co_await index_.get(key);
  chunk.loading = false;
  loads_.wake_all();
  if (!value) co_return fail(std::move(value.error()));
  if (*value) {
    CO_TRY(ParsedChunk parsed, parse_chunk(key, **value));
    for (uint32_t page = 0; page < kPagesPerChunk; ++page)
      chunk.map.set(page, static_cast<PageState>(parsed.record.map[page / 32] >> (page % 32 * 2) & 3));
    chunk.version = {parsed.record.epoch, parsed.record.sequence};
    chunk.slot = chunk.durable_slot = parsed.record.slot;
    chunk.generation = parsed.record.generation;
    chunk.names_from = parsed.record.names_from;
    if (parsed.sums) chunk.sums = std::make_unique<PageSums>(*parsed.sums);
    chunk.exposed = chunk.data_pages();
  }
  chunk.loaded = true;
  co_return Result<void>();
}

void ChunkTable::mark_changed(Chunk& chunk) {
  if (chunk.in_changed) return;
  changed_.push_back(&chunk);
  chunk.changed_place = std::prev(changed_.end());
  chunk.in_changed = true;
}

void ChunkTable::mark_map_changed(Chunk& chunk) {
  mark_changed(chunk);
  if (chunk.in_map_changed) return;
  map_changed_.push_back(&chunk);
  chunk.map_changed_place = std::prev(map_changed_.end());
  chunk.in_map_changed = true;
}

void ChunkTable::settle(Chunk& chunk) {
  ASSERT(chunk.pins > 0);
  if (chunk.in_map_changed && chunk.map_changes == chunk.committed_map_changes) {
    map_changed_.erase(chunk.map_changed_place);
    chunk.in_map_changed = false;
  }
  const bool slot_unused = chunk.slot != kNoSlot && !chunk.map.any_data();
  if (chunk.in_changed && !chunk.in_map_changed && chunk.changes == chunk.committed_changes &&
      chunk.dirty.named().empty() && chunk.slot == chunk.durable_slot && !slot_unused) {
    changed_.erase(chunk.changed_place);
    chunk.in_changed = false;
  }
}

namespace {
bool index_order(const ChunkKey& a, const ChunkKey& b) {
  return std::tie(a.volume, a.chunk, a.layer) < std::tie(b.volume, b.chunk, b.layer);
}
}  // namespace

Task<Result<std::vector<ChunkKey>>> ChunkTable::keys(ChunkKey begin, ChunkKey end, size_t limit) {
  CO_TRY(const std::vector<index::KeyValue> found,
         co_await index_.scan(chunk_key(begin), chunk_key(end), limit, false));
  std::vector<ChunkKey> keys;
  for (const index::KeyValue& kv : found) {
    const std::optional<ChunkKey> key = parse_chunk_key(kv.key);
    if (!key) co_return fail(ErrorCode::kCorrupt, "index key of a chunk", kv.key.size());
    keys.push_back(*key);
  }
  // Beyond the last key of a full scan the index may have more, so the table's are left for the next call too.
  const bool cut = found.size() >= limit;
  const ChunkKey last = cut ? keys.back() : end;
  // The order of the table says nothing: what is found is sorted.
  for (const auto& [key, chunk] : chunks_)
    if (!index_order(key, begin) && index_order(key, end) && (!cut || !index_order(last, key))) keys.push_back(key);
  std::sort(keys.begin(), keys.end(), index_order);
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  if (keys.size() > limit) keys.resize(limit);
  co_return keys;
}

}  // namespace foreshard::store
