#include "meta/embedded_meta.h"

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "base/log.h"
#include "meta/event_history.h"
#include "meta/format.h"
#include "meta/key_space.h"
#include "meta/limits.h"
#include "runtime/sync.h"

namespace foreshard::meta {
namespace {

constexpr size_t kSubmissionsPerBatchMax = 512;
constexpr size_t kBytesPerBatchMax = 8u << 20;
constexpr size_t kScanPage = 1024;
constexpr size_t kEventsPerAnswer = 1000;  // then the revision is completed

struct Lease {
  uint64_t ttl_ns = 0;
  uint64_t expires_ns = 0;
  bool ending = false;  // its end has been submitted
};

// Something for the committer, and where its answer goes. Shared with whoever waits, who may be gone first.
struct Submission {
  enum class Kind : uint8_t { kTransaction, kGrant, kRevoke };
  Submission(runtime::Executor& executor, Kind k) : kind(k), answered(executor) {}
  const Kind kind;
  Transaction transaction;
  uint64_t ttl_ns = 0;   // kGrant
  LeaseId lease = 0;     // kRevoke; kGrant's answer
  Result<TransactionResult> answer = fail(ErrorCode::kUnavailable, "metadata store closed: outcome unknown");
  runtime::Signal answered;
};

// What one batch is going to change.
struct StagedBatch {
  explicit StagedBatch(const KeySpace& keys) : changes(keys) {}
  StagedChanges changes;
  std::vector<Event> events;
  std::map<LeaseId, std::optional<uint64_t>> leases;  // granted with this ttl, or gone
  Revision revision = 0;
  LeaseId next_lease = 0;
  std::vector<std::shared_ptr<Submission>> submissions;
};

// The store's state, shared by its coroutines, its watches and its owner.
struct State : std::enable_shared_from_this<State> {
  State(runtime::Runtime& r, std::unique_ptr<index::Index> i, EmbeddedMetaOptions o)
      : runtime(r), executor(r.executor()), index(std::move(i)), options(o), history(0, 0, 0), submitted(executor),
        changed(executor), failed(executor), leases_changed(executor), gate(executor) {}

  runtime::Task<Result<void>> load();
  Result<TransactionResult> stage_transaction(StagedBatch& batch, const Transaction& transaction);
  void stage_revoke(StagedBatch& batch, LeaseId lease);
  void stage_one(StagedBatch& batch, Submission& submission);
  void stage(StagedBatch& batch);
  index::Batch index_batch(const StagedBatch& batch) const;
  void publish(StagedBatch& batch);
  bool lease_runs(const StagedBatch& batch, LeaseId lease) const;
  runtime::Task<Result<TransactionResult>> submit(std::shared_ptr<Submission> submission);
  void wake_all() {
    submitted.wake_all();
    changed.wake_all();
    leases_changed.wake_all();
  }
  // Why nothing is served; nothing while open.
  std::optional<Error> refusal() const {
    if (broken) return Error{ErrorCode::kUnavailable, "metadata store failed", 0, {}};
    if (closing) return Error{ErrorCode::kCancelled, "metadata store closed", 0, {}};
    return std::nullopt;
  }

  runtime::Runtime& runtime;
  runtime::Executor& executor;
  std::unique_ptr<index::Index> index;
  const EmbeddedMetaOptions options;
  KeySpace keys;  // what is durable
  Revision revision = 0;
  LeaseId next_lease = 1;
  std::map<LeaseId, Lease> leases;
  EventHistory history;
  std::deque<std::shared_ptr<Submission>> queue;
  uint64_t waiting = 0;  // submitted and not answered
  bool closing = false;
  bool broken = false;  // the index failed
  runtime::WaitQueue submitted;
  runtime::WaitQueue changed;         // the revision, or the end
  runtime::Signal failed;             // broken is set
  runtime::WaitQueue leases_changed;
  runtime::Gate gate;
};

// ---- loading

runtime::Task<Result<void>> State::load() {
  CO_TRY(const std::optional<std::string> stored_state, co_await index->get(state_index_key()));
  if (stored_state) {
    CO_TRY(const StoredState state, decode_stored_state(*stored_state));
    revision = state.revision;
    next_lease = state.next_lease;
  }
  std::string from;
  for (;;) {
    CO_TRY(const std::vector<index::KeyValue> page, co_await index->scan(from, "", kScanPage));
    for (const index::KeyValue& item : page) {
      if (item.key == state_index_key()) continue;
      if (!stored_state) co_return fail(ErrorCode::kCorrupt, "metadata without a state record", item.key);
      if (item.key.starts_with('l')) {
        CO_TRY(const LeaseRecord lease, decode_stored_lease(item.key, item.value));
        leases[lease.lease] = Lease{lease.ttl_ns, executor.now_ns() + lease.ttl_ns};
      } else {
        CO_TRY(Entry entry, decode_stored_entry(item.key, item.value));
        if (entry.modified > revision || entry.created > entry.modified)
          co_return fail(ErrorCode::kCorrupt, "metadata newer than its revision", entry.key);
        keys.put(std::move(entry));
      }
    }
    if (page.size() < kScanPage) break;
    from = page.back().key + '\0';
  }
  for (const LeaseId lease : keys.leases())
    if (!leases.contains(lease)) co_return fail(ErrorCode::kCorrupt, "metadata under an unknown lease", lease);
  history = EventHistory(revision, options.history_events_max, options.history_bytes_max);
  co_return Result<void>();
}

// ---- the committer

bool State::lease_runs(const StagedBatch& batch, LeaseId lease) const {
  const auto staged = batch.leases.find(lease);
  if (staged != batch.leases.end()) return staged->second.has_value();
  const auto found = leases.find(lease);
  return found != leases.end() && !found->second.ending && found->second.expires_ns > executor.now_ns();
}

Result<TransactionResult> State::stage_transaction(StagedBatch& batch, const Transaction& transaction) {
  for (const Compare& compare : transaction.compares)
    if (!batch.changes.holds(compare)) return TransactionResult{false, batch.revision};
  const Revision next = batch.revision + 1;
  StagedChanges changes(keys, batch.changes);
  for (const Operation& operation : transaction.operations) {
    if (operation.kind == Operation::Kind::kPut && operation.lease != 0 && !lease_runs(batch, operation.lease))
      return fail(ErrorCode::kNotFound, "lease", operation.lease);
    changes.apply(operation, next);
  }
  std::vector<Event> events = changes.events(next);
  if (events.empty()) return TransactionResult{true, batch.revision};
  const int64_t bytes = static_cast<int64_t>(keys.bytes()) + changes.bytes_added();
  if (bytes > static_cast<int64_t>(options.bytes_max) && changes.bytes_added() > batch.changes.bytes_added())
    return fail(ErrorCode::kNoSpace, "metadata store is full", options.bytes_max);
  batch.changes.merge(std::move(changes));
  std::move(events.begin(), events.end(), std::back_inserter(batch.events));
  batch.revision = next;
  return TransactionResult{true, next};
}

void State::stage_revoke(StagedBatch& batch, LeaseId lease) {
  batch.leases[lease] = std::nullopt;
  const Revision next = batch.revision + 1;
  StagedChanges changes(keys, batch.changes);
  for (const std::string& key : batch.changes.keys_of_lease(lease)) changes.erase(key);
  std::vector<Event> events = changes.events(next);
  if (events.empty()) return;
  batch.changes.merge(std::move(changes));
  std::move(events.begin(), events.end(), std::back_inserter(batch.events));
  batch.revision = next;
}

void State::stage_one(StagedBatch& batch, Submission& submission) {
  switch (submission.kind) {
    case Submission::Kind::kTransaction:
      submission.answer = stage_transaction(batch, submission.transaction);
      return;
    case Submission::Kind::kGrant:
      if (leases.size() + batch.leases.size() >= options.leases_max) {
        submission.answer = fail(ErrorCode::kNoSpace, "leases", options.leases_max);
        return;
      }
      submission.lease = batch.next_lease++;
      batch.leases[submission.lease] = submission.ttl_ns;
      submission.answer = TransactionResult{true, batch.revision};
      return;
    case Submission::Kind::kRevoke: {
      const auto staged = batch.leases.find(submission.lease);
      const bool known = staged != batch.leases.end() ? staged->second.has_value() : leases.contains(submission.lease);
      if (known) stage_revoke(batch, submission.lease);
      submission.answer = known ? Result<TransactionResult>(TransactionResult{true, batch.revision})
                                : fail(ErrorCode::kNotFound, "lease", submission.lease);
      return;
    }
  }
}

void State::stage(StagedBatch& batch) {
  batch.revision = revision;
  batch.next_lease = next_lease;
  uint64_t bytes = 0;
  while (!queue.empty() && batch.submissions.size() < kSubmissionsPerBatchMax && bytes < kBytesPerBatchMax) {
    std::shared_ptr<Submission> submission = std::move(queue.front());
    queue.pop_front();
    for (const Operation& operation : submission->transaction.operations)
      bytes += operation.key.size() + operation.value.size();
    stage_one(batch, *submission);
    batch.submissions.push_back(std::move(submission));
  }
}

index::Batch State::index_batch(const StagedBatch& batch) const {
  index::Batch writes;
  for (const auto& [key, entry] : batch.changes.changes()) {
    if (entry) writes.put(entry_index_key(key), encode_stored(*entry));
    else writes.erase(entry_index_key(key));
  }
  for (const auto& [lease, ttl_ns] : batch.leases) {
    if (ttl_ns) {
      StoredLease stored;
      stored.ttl_ns = *ttl_ns;
      writes.put(lease_index_key(lease), encode_stored(lease, stored));
    } else {
      writes.erase(lease_index_key(lease));
    }
  }
  if (writes.empty()) return writes;
  StoredState stored;
  stored.revision = batch.revision;
  stored.next_lease = batch.next_lease;
  writes.put(state_index_key(), encode_stored(stored));
  return writes;
}

// The batch is durable: it becomes what everyone sees, then its submissions are answered.
void State::publish(StagedBatch& batch) {
  for (const auto& [key, entry] : batch.changes.changes()) {
    if (entry) keys.put(*entry);
    else keys.erase(key);
  }
  for (const auto& [lease, ttl_ns] : batch.leases) {
    if (ttl_ns) leases[lease] = Lease{*ttl_ns, executor.now_ns() + *ttl_ns};
    else leases.erase(lease);
  }
  next_lease = batch.next_lease;
  if (!batch.leases.empty()) leases_changed.wake_all();
  if (batch.revision == revision) return;
  revision = batch.revision;
  history.append(std::move(batch.events));
  changed.wake_all();
}

runtime::Task<void> commit_loop(std::shared_ptr<State> state, std::optional<runtime::Gate::Pass>) {
  for (;;) {
    while (state->queue.empty() && !state->closing && !state->broken) co_await state->submitted.wait();
    if (state->broken || state->queue.empty()) break;
    StagedBatch batch(state->keys);
    state->stage(batch);
    index::Batch writes = state->index_batch(batch);
    if (!writes.empty()) {
      Result<uint64_t> written = co_await state->index->write(std::move(writes), true);
      if (!written) {
        LOG_WARN("meta: the index failed, the store stops: {}", written.error().message());
        state->broken = true;
        state->failed.set();
        for (const auto& submission : batch.submissions) {
          submission->answer = fail(ErrorCode::kUnavailable, "metadata store failed: outcome unknown");
          submission->answered.set();
        }
        break;
      }
    }
    state->publish(batch);
    for (const auto& submission : batch.submissions) submission->answered.set();
  }
  for (const auto& submission : state->queue) {
    submission->answer = fail(ErrorCode::kUnavailable, "metadata store failed");
    submission->answered.set();
  }
  state->queue.clear();
  state->wake_all();
}

// Submits the end of leases that have run out, and of nothing else.
runtime::Task<void> expire_loop(std::shared_ptr<State> state, std::optional<runtime::Gate::Pass>) {
  while (!state->closing && !state->broken) {
    uint64_t next_ns = UINT64_MAX;
    const uint64_t now_ns = state->executor.now_ns();
    for (auto& [id, lease] : state->leases) {
      if (lease.ending) continue;
      if (lease.expires_ns <= now_ns) {
        lease.ending = true;
        auto submission = std::make_shared<Submission>(state->executor, Submission::Kind::kRevoke);
        submission->lease = id;
        state->queue.push_back(std::move(submission));
        state->submitted.wake_all();
      } else {
        next_ns = std::min(next_ns, lease.expires_ns);
      }
    }
    co_await state->leases_changed.wait_until(next_ns);
  }
}

runtime::Task<Result<TransactionResult>> State::submit(std::shared_ptr<Submission> submission) {
  if (std::optional<Error> error = refusal()) co_return fail(std::move(*error));
  if (waiting >= options.waiting_max) co_return fail(ErrorCode::kBusy, "metadata transactions waiting", waiting);
  const std::shared_ptr<State> self = shared_from_this();
  ++waiting;
  queue.push_back(submission);
  submitted.wake_all();
  co_await submission->answered.wait();
  --waiting;
  co_return std::move(submission->answer);
}

// ---- watches

class EmbeddedWatch final : public Watch {
 public:
  EmbeddedWatch(std::shared_ptr<State> state, std::string prefix, Revision from)
      : state_(std::move(state)), prefix_(std::move(prefix)), from_(from), next_(state_->history.number_from(from)),
        missed_(from <= state_->history.forgotten() && state_->history.forgotten() != 0) {}

  runtime::Task<Result<std::vector<Event>>> next() override {
    const std::shared_ptr<State> state = state_;
    for (;;) {
      if (cancelled_) co_return fail(ErrorCode::kCancelled, "watch");
      if (state->closing || state->broken) co_return fail(ErrorCode::kUnavailable, "metadata store closed");
      if (missed_ || next_ < state->history.first_number())
        co_return fail(ErrorCode::kNotFound, "compacted", state->history.forgotten());
      std::vector<Event> events = collect();
      if (!events.empty()) co_return events;
      co_await state->changed.wait();
    }
  }
  void cancel() override {
    cancelled_ = true;
    state_->changed.wake_all();
  }

 private:
  std::vector<Event> collect() {
    std::vector<Event> events;
    const EventHistory& history = state_->history;
    for (; next_ < history.end_number(); ++next_) {
      const Event& event = history.at(next_);
      if (events.size() >= kEventsPerAnswer && events.back().entry.modified != event.entry.modified) break;
      if (event.entry.modified >= from_ && event.entry.key.starts_with(prefix_)) events.push_back(event);
    }
    return events;
  }
  const std::shared_ptr<State> state_;
  const std::string prefix_;
  const Revision from_;
  uint64_t next_;
  const bool missed_;
  bool cancelled_ = false;
};

// ---- the face

class IndexedMeta final : public EmbeddedMeta {
 public:
  explicit IndexedMeta(std::shared_ptr<State> state) : state_(std::move(state)) {
    state_->executor.spawn(commit_loop(state_, state_->gate.enter()));
    state_->executor.spawn(expire_loop(state_, state_->gate.enter()));
  }

  runtime::Task<Result<std::optional<Entry>>> get(std::string key) override {
    if (std::optional<Error> error = state_->refusal()) co_return fail(std::move(*error));
    const Entry* entry = state_->keys.find(key);
    co_return entry != nullptr ? std::optional<Entry>(*entry) : std::nullopt;
  }

  runtime::Task<Result<RangeResult>> range(std::string begin, std::string end, size_t limit, bool backward) override {
    if (std::optional<Error> error = state_->refusal()) co_return fail(std::move(*error));
    const size_t entries_max = limit == 0 ? kRangeEntriesMax : std::min(limit, kRangeEntriesMax);
    RangeResult result = state_->keys.range(begin, end, entries_max, backward);
    result.revision = state_->revision;
    co_return result;
  }

  runtime::Task<Result<TransactionResult>> commit(Transaction transaction) override {
    CO_TRY_VOID(check_transaction(transaction));
    auto submission = std::make_shared<Submission>(state_->executor, Submission::Kind::kTransaction);
    submission->transaction = std::move(transaction);
    Result<TransactionResult> result = co_await state_->submit(submission);
    co_return result;
  }

  runtime::Task<Result<std::unique_ptr<Watch>>> watch(std::string prefix, Revision from) override {
    if (std::optional<Error> error = state_->refusal()) co_return fail(std::move(*error));
    co_return std::make_unique<EmbeddedWatch>(state_, std::move(prefix), from);
  }

  runtime::Task<Result<LeaseId>> grant_lease(uint64_t ttl_ns) override {
    if (ttl_ns == 0 || ttl_ns > UINT64_MAX / 4) co_return fail(ErrorCode::kInvalid, "lease term", ttl_ns);
    auto submission = std::make_shared<Submission>(state_->executor, Submission::Kind::kGrant);
    submission->ttl_ns = ttl_ns;
    CO_TRY_VOID(co_await state_->submit(submission));
    co_return submission->lease;
  }

  runtime::Task<Result<void>> renew_lease(LeaseId lease) override {
    if (std::optional<Error> error = state_->refusal()) co_return fail(std::move(*error));
    const uint64_t now_ns = state_->executor.now_ns();
    const auto found = state_->leases.find(lease);
    if (found == state_->leases.end() || found->second.ending || found->second.expires_ns <= now_ns)
      co_return fail(ErrorCode::kNotFound, "lease", lease);
    found->second.expires_ns = now_ns + found->second.ttl_ns;
    co_return Result<void>();
  }

  runtime::Task<Result<void>> revoke_lease(LeaseId lease) override {
    auto submission = std::make_shared<Submission>(state_->executor, Submission::Kind::kRevoke);
    submission->lease = lease;
    CO_TRY_VOID(co_await state_->submit(submission));
    co_return Result<void>();
  }

  runtime::Task<Result<void>> close() override {
    state_->closing = true;
    state_->wake_all();
    co_await state_->gate.close();
    if (state_->index == nullptr) co_return Result<void>();
    Result<void> closed = co_await state_->index->close();
    // Watches may live on; the index is to be opened anew.
    state_->index.reset();
    co_return closed;
  }

  Revision revision() const override { return state_->revision; }
  runtime::Signal& failed() override { return state_->failed; }

 private:
  std::shared_ptr<State> state_;
};

}  // namespace

runtime::Task<Result<std::unique_ptr<EmbeddedMeta>>> EmbeddedMeta::open(runtime::Runtime& runtime,
                                                                        std::unique_ptr<index::Index> index,
                                                                        EmbeddedMetaOptions options) {
  auto state = std::make_shared<State>(runtime, std::move(index), options);
  Result<void> loaded = co_await state->load();
  if (!loaded) {
    Result<void> closed = co_await state->index->close();
    if (!closed) LOG_WARN("meta: closing the index: {}", closed.error().message());
    co_return fail(std::move(loaded.error()));
  }
  co_return std::make_unique<IndexedMeta>(std::move(state));
}

}  // namespace foreshard::meta
