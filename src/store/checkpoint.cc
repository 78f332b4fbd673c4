#include "store/checkpoint.h"

#include <algorithm>

#include "base/planted.h"

namespace foreshard::store {

using runtime::Task;

// ---- flush

Task<Result<void>> Checkpoint::flush() {
  const uint64_t mine = ++flushes_asked_;
  while (flushes_covered_ < mine) {
    if (fail_stop_.failed()) co_return fail(fail_stop_.error());
    if (flushing_) {
      co_await flush_ended_.wait();
      continue;
    }
    flushing_ = true;
    const uint64_t covering = flushes_asked_;
    const Result<void> flushed = co_await flush_now();
    flushing_ = false;
    flush_ended_.wake_all();
    if (!flushed) co_return flushed;
    flushes_covered_ = covering;
  }
  co_return Result<void>();
}

Task<Result<void>> Checkpoint::flush_now() {
  ++flushes_;
  // A chunk leaves the list only when its record is in the index, so an empty list also means that no changed
  // map is on its way there.
  if (table_.map_changed().empty()) co_return co_await sync_files();
  const runtime::Mutex::Guard guard = co_await committing_.lock();
  if (table_.map_changed().empty()) co_return co_await sync_files();
  co_return co_await carry(table_.map_changed(), Names::kKeep);
}

Task<Result<void>> Checkpoint::run() {
  const runtime::Mutex::Guard guard = co_await committing_.lock();
  ++checkpoints_;
  named_pages_ = 0;
  const uint64_t names_before = log_.next_sequence();
  CO_TRY_VOID(co_await carry(table_.changed(), Names::kDrop));
  log_.release_before(names_before);
  co_return Result<void>();
}

Task<Result<void>> Checkpoint::carry(std::list<Chunk*>& list, Names names) {
  for (size_t left = list.size(); left > 0;) {
    if (fail_stop_.failed()) co_return fail(fail_stop_.error());
    std::vector<Snapshot> snapshots;
    for (; left > 0 && !list.empty() && snapshots.size() < kChunksPerBatch; --left) {
      snapshots.push_back(take_snapshot(*list.front(), names));
      list.splice(list.end(), list, list.begin());
    }
    if (snapshots.empty()) break;
    CO_TRY_VOID(co_await commit(snapshots));
  }
  co_return Result<void>();
}

// ---- one batch

Checkpoint::Snapshot Checkpoint::take_snapshot(Chunk& chunk, Names names) {
  Snapshot snapshot{ChunkPin(table_, chunk), {}, {}, chunk.changes, chunk.map_changes, kNoSlot, kNoSlot};
  if (chunk.slot != kNoSlot && !chunk.map.any_data() && !chunk.locks.any()) {
    snapshot.released = std::exchange(chunk.slot, kNoSlot);
    chunk.sums.reset();
    chunk.dirty.start_round({});
    if (PLANTED("slot reuse before sync")) slots_.release(snapshot.released, chunk.key.volume);
  }
  snapshot.data = chunk.data_pages();
  // Without data the index names no slot: its place in the file may not be durable, and nobody would give it back.
  snapshot.slot = snapshot.data.empty() ? kNoSlot : chunk.slot;
  chunk.exposed |= snapshot.data;
  if (chunk.slot != kNoSlot) {
    // What is being written right now will not match the checksums of this snapshot.
    if (names == Names::kDrop) {
      chunk.dirty.start_round(chunk.in_flight);
      chunk.names_from = log_.next_sequence();
    } else {
      chunk.dirty.name(chunk.in_flight & chunk.exposed);
    }
  }
  ChunkRecord record;
  record.slot = snapshot.slot;
  record.generation = snapshot.slot == kNoSlot ? 0 : chunk.generation;
  record.epoch = chunk.version.epoch;
  record.sequence = chunk.version.sequence;
  record.names_from = chunk.names_from;
  record.map = chunk.map.words();
  const bool nothing = snapshot.slot == kNoSlot && chunk.map == PageMap() && chunk.version == Version();
  const PageSums* sums = snapshot.slot == kNoSlot ? nullptr : chunk.sums.get();
  if (!nothing) snapshot.value = encode_chunk(chunk_key(chunk.key), record, sums);
  return snapshot;
}

Task<Result<void>> Checkpoint::commit(std::vector<Snapshot>& snapshots) {
  Result<void> done;
  if (PLANTED("index before slot sync")) {
    done = co_await write_batch(compose(snapshots));
    if (done) done = co_await sync_files();
  } else {
    done = co_await name_what_is_in_flight(snapshots);
    if (done) done = co_await sync_files();
    if (done) done = co_await write_batch(compose(snapshots));
  }
  if (done) settle(snapshots);
  co_return done;
}

// Pages that were being written at the snapshot do not match its checksums.
Task<Result<void>> Checkpoint::name_what_is_in_flight(const std::vector<Snapshot>& snapshots) {
  bool any = false;
  for (const Snapshot& snapshot : snapshots) {
    if (snapshot.chunk->dirty.pending().empty()) continue;
    naming_.push_back(&*snapshot.chunk);
    any = true;
  }
  if (!any) co_return Result<void>();
  co_return co_await commit_names();
}

index::Batch Checkpoint::compose(std::vector<Snapshot>& snapshots) {
  index::Batch batch;
  for (Snapshot& snapshot : snapshots) {
    Chunk& chunk = *snapshot.chunk;
    if (snapshot.value.empty()) {
      batch.erase(chunk_key(chunk.key));
    } else {
      batch.put(chunk_key(chunk.key), std::move(snapshot.value));
    }
    if (chunk.durable_slot == snapshot.slot) continue;
    if (chunk.durable_slot != kNoSlot) batch.erase(slot_key(chunk.durable_slot));
    if (snapshot.slot != kNoSlot) {
      const std::string key = slot_key(snapshot.slot);
      batch.put(key, encode_slot(key, {.generation = chunk.generation,
                                       .volume = chunk.key.volume.value,
                                       .chunk = chunk.key.chunk,
                                       .layer = chunk.key.layer}));
    }
  }
  return batch;
}

void Checkpoint::settle(std::vector<Snapshot>& snapshots) {
  for (Snapshot& snapshot : snapshots) {
    Chunk& chunk = *snapshot.chunk;
    chunk.durable_slot = snapshot.slot;
    chunk.exposed = snapshot.data;
    chunk.committed_changes = snapshot.changes;
    chunk.committed_map_changes = snapshot.map_changes;
    if (snapshot.released != kNoSlot && !PLANTED("slot reuse before sync"))
      slots_.release(snapshot.released, chunk.key.volume);
    table_.settle(chunk);
  }
}

Task<Result<void>> Checkpoint::commit_names(Chunk& chunk) {
  naming_.push_back(&chunk);
  return commit_names();
}

Task<Result<void>> Checkpoint::commit_names() {
  const uint64_t mine = ++names_asked_;
  while (names_covered_ < mine) {
    if (fail_stop_.failed()) co_return fail(fail_stop_.error());
    if (names_on_their_way_) {
      co_await names_ended_.wait();
      continue;
    }
    names_on_their_way_ = true;
    const Result<void> committed = co_await commit_waiting_names();
    names_on_their_way_ = false;
    names_ended_.wake_all();
    if (!committed) co_return committed;
  }
  co_return Result<void>();
}

// Until a snapshot's batch is in the index, names count that its chunks no longer know: none may be on its way.
Task<Result<void>> Checkpoint::condense_names() {
  const runtime::Mutex::Guard guard = co_await committing_.lock();
  condense_ = true;
  co_return co_await commit_names();
}

// The chunks that the next append is about. Those of waiting callers are pinned, those on the list of changed ones
// leave it only by a snapshot.
std::vector<Chunk*> Checkpoint::take_naming(bool all) {
  std::vector<Chunk*> chunks = std::exchange(naming_, {});
  if (!all) return chunks;
  std::erase_if(chunks, [](const Chunk* chunk) { return chunk->in_changed; });
  for (Chunk* chunk : table_.changed())
    if (!chunk->dirty.named().empty()) chunks.push_back(chunk);
  return chunks;
}

Task<Result<void>> Checkpoint::commit_waiting_names() {
  const uint64_t covering = names_asked_;
  const bool all = std::exchange(condense_, false);
  const uint64_t first_sequence = log_.next_sequence();
  const std::vector<Chunk*> chunks = take_naming(all);
  std::vector<DirtyPages::Composed> composed;
  std::vector<DirtyEntry> entries;
  for (const Chunk* chunk : chunks) {
    composed.push_back(all ? chunk->dirty.compose_all() : chunk->dirty.compose());
    entries.push_back({.slot = chunk->slot,
                       .generation = chunk->generation,
                       .volume = chunk->key.volume.value,
                       .chunk = chunk->key.chunk,
                       .layer = chunk->key.layer,
                       .pages = composed.back().pages.words()});
  }
  Result<void> appended = co_await log_.append(std::move(entries));
  if (!appended) {
    Error error = co_await fail_stop_.raise(std::move(appended.error()));
    co_return fail(std::move(error));
  }
  for (size_t i = 0; i < chunks.size(); ++i) chunks[i]->dirty.committed(composed[i]);
  if (all) log_.release_before(first_sequence);
  names_covered_ = covering;
  co_return Result<void>();
}

Task<Result<void>> Checkpoint::commit_batch(index::Batch batch) { co_return co_await write_batch(std::move(batch)); }

Task<Result<void>> Checkpoint::write_batch(index::Batch batch) {
  Result<uint64_t> sequence = co_await index_.write(std::move(batch), true);
  Result<void> noted;
  if (sequence) {
    // What has been promised must be missed when the index opens without it (R-INDEX).
    superblock_.next().index_sequence = std::max(superblock_.next().index_sequence, *sequence);
    noted = co_await superblock_.write();
  } else {
    noted = fail(std::move(sequence.error()));
  }
  if (noted) co_return noted;
  Error error = co_await fail_stop_.raise(std::move(noted.error()));
  co_return fail(std::move(error));
}

Task<Result<void>> Checkpoint::sync_files() {
  Result<void> synced = co_await files_.sync();
  if (synced) co_return synced;
  Error error = co_await fail_stop_.raise(std::move(synced.error()));
  co_return fail(std::move(error));
}

}  // namespace foreshard::store
