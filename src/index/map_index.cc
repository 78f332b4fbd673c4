#include "index/map_index.h"

#include "base/planted.h"

namespace foreshard::index {

using runtime::Task;

// ---- the state

void MapIndexState::set(Undo& undo, const std::string& key, std::optional<std::string> value) {
  auto it = content_.find(key);
  undo.before.emplace_back(key, it == content_.end() ? std::nullopt : std::optional(it->second));
  if (value) {
    content_.insert_or_assign(key, std::move(*value));
  } else if (it != content_.end()) {
    content_.erase(it);
  }
}

uint64_t MapIndexState::apply(const Batch& batch) {
  Undo undo{++last_sequence_, {}};
  for (const Change& change : batch.changes()) {
    switch (change.kind) {
      case Change::Kind::kPut: set(undo, change.key, change.value); break;
      case Change::Kind::kErase: set(undo, change.key, std::nullopt); break;
      case Change::Kind::kEraseRange:
        for (auto it = content_.lower_bound(change.key); it != content_.end() && it->first < change.value;) {
          const std::string key = (it++)->first;
          set(undo, key, std::nullopt);
        }
        break;
    }
  }
  undos_.push_back(std::move(undo));
  return last_sequence_;
}

void MapIndexState::mark_durable(uint64_t sequence) {
  durable_sequence_ = std::max(durable_sequence_, std::min(sequence, last_sequence_));
  while (undos_.size() > kUndoableSyncedBatchesMax && undos_.front().sequence <= durable_sequence_) undos_.pop_front();
}

void MapIndexState::undo_newest() {
  Undo& undo = undos_.back();
  for (auto it = undo.before.rbegin(); it != undo.before.rend(); ++it) {
    if (it->second) {
      content_.insert_or_assign(it->first, std::move(*it->second));
    } else {
      content_.erase(it->first);
    }
  }
  last_sequence_ = undo.sequence - 1;
  undos_.pop_back();
}

void MapIndexState::crash(Random& random) {
  const uint64_t unsynced = last_sequence_ - durable_sequence_;
  for (uint64_t lost = random.below(unsynced + 1); lost > 0; --lost) undo_newest();
  mark_durable(last_sequence_);
  if (PLANTED("WAL tail dropped") && random.chance(0.5)) (void)lose_synced_tail(random);
}

bool MapIndexState::lose_synced_tail(Random& random) {
  if (undos_.empty()) return false;
  for (uint64_t lost = random.between(1, undos_.size()); lost > 0; --lost) undo_newest();
  durable_sequence_ = std::min(durable_sequence_, last_sequence_);
  return true;
}

bool MapIndexState::take_operation() {
  if (operations_left_ == 0) return false;
  if (operations_left_ != UINT64_MAX) --operations_left_;
  return true;
}

// ---- the index

Task<Result<std::optional<std::string>>> MapIndex::get(std::string key) {
  if (closed_) co_return fail(ErrorCode::kCancelled, "index get");
  if (options_.read_latency_ns != 0) co_await executor_.sleep_for(options_.read_latency_ns);
  const auto it = state_.content().find(key);
  if (it == state_.content().end()) co_return std::optional<std::string>();
  co_return std::optional<std::string>(it->second);
}

Task<Result<std::vector<KeyValue>>> MapIndex::scan(std::string begin, std::string end, size_t limit, bool backward) {
  if (closed_) co_return fail(ErrorCode::kCancelled, "index scan");
  if (options_.read_latency_ns != 0) co_await executor_.sleep_for(options_.read_latency_ns);
  const auto& content = state_.content();
  std::vector<KeyValue> found;
  if (!end.empty() && end <= begin) co_return found;
  const auto first = content.lower_bound(begin);
  const auto last = end.empty() ? content.end() : content.lower_bound(end);
  if (backward) {
    for (auto it = last; it != first && found.size() < limit;) {
      --it;
      found.push_back({it->first, it->second});
    }
  } else {
    for (auto it = first; it != last && found.size() < limit; ++it) found.push_back({it->first, it->second});
  }
  co_return found;
}

Task<Result<uint64_t>> MapIndex::write(Batch batch, bool sync) {
  if (failed_) co_return fail(ErrorCode::kIo, "index write after a failure");
  if (closed_) co_return fail(ErrorCode::kCancelled, "index write");
  if (!state_.take_operation()) {
    failed_ = true;
    co_return fail(ErrorCode::kIo, "index write");
  }
  const uint64_t sequence = state_.apply(batch);
  if (!sync) co_return sequence;
  co_return co_await sync_up_to(sequence);
}

Task<Result<uint64_t>> MapIndex::sync() {
  if (failed_) co_return fail(ErrorCode::kIo, "index sync after a failure");
  if (closed_) co_return fail(ErrorCode::kCancelled, "index sync");
  if (!state_.take_operation()) {
    failed_ = true;
    co_return fail(ErrorCode::kIo, "index sync");
  }
  co_return co_await sync_up_to(state_.last_sequence());
}

Task<Result<uint64_t>> MapIndex::sync_up_to(uint64_t sequence) {
  const runtime::Mutex::Guard guard = co_await syncing_.lock();
  if (failed_) co_return fail(ErrorCode::kIo, "index sync after a failure");
  if (state_.durable_sequence() < sequence) {
    const uint64_t covered = state_.last_sequence();
    if (options_.sync_latency_ns != 0) co_await executor_.sleep_for(options_.sync_latency_ns);
    state_.mark_durable(covered);
  }
  co_return state_.durable_sequence();
}

Task<Result<void>> MapIndex::close() {
  if (closed_) co_return Result<void>();
  if (!failed_) {
    const Result<uint64_t> synced = co_await sync();
    closed_ = true;
    if (!synced) co_return fail(synced.error());
  }
  closed_ = true;
  co_return Result<void>();
}

namespace {

Task<Result<std::unique_ptr<Index>>> open_map_index(runtime::Runtime& runtime, MapIndexState& state,
                                                    MapIndexOptions options) {
  // What an opening finds it also makes durable, as RocksDB does with the log that it recovers.
  state.mark_durable(state.last_sequence());
  std::unique_ptr<Index> index = std::make_unique<MapIndex>(runtime.executor(), state, options);
  co_return index;
}

}  // namespace

OpenIndex map_index_opener(MapIndexState& state, MapIndexOptions options) {
  return [&state, options](runtime::Runtime& runtime, runtime::Disk&, std::string) {
    return open_map_index(runtime, state, options);
  };
}

}  // namespace foreshard::index
