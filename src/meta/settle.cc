#include "meta/settle.h"

#include <algorithm>

#include "base/planted.h"

namespace foreshard::meta {
namespace {

constexpr uint64_t kPauseNsMin = 10'000'000;
constexpr uint64_t kPauseNsMax = 1'000'000'000;

bool is_unknown(ErrorCode code) { return code == ErrorCode::kTimeout || code == ErrorCode::kUnavailable; }

// The pauses between attempts: doubling, each with a random part so that many clients do not come back together.
class Pauses {
 public:
  explicit Pauses(runtime::Runtime& runtime) : runtime_(runtime) {}
  uint64_t next_ns() {
    const uint64_t pause_ns = pause_ns_ / 2 + runtime_.random().below(pause_ns_ / 2);
    pause_ns_ = std::min(pause_ns_ * 2, kPauseNsMax);
    return pause_ns;
  }

 private:
  runtime::Runtime& runtime_;
  uint64_t pause_ns_ = kPauseNsMin;
};

// What the key holds, asked until there is an answer.
runtime::Task<Result<std::optional<Entry>>> read_settled(runtime::Runtime& runtime, Meta& meta, std::string key,
                                                         uint64_t deadline_ns) {
  Pauses pauses(runtime);
  for (;;) {
    Result<std::optional<Entry>> entry = co_await meta.get(key);
    if (entry || !is_unknown(entry.error().code)) co_return entry;
    const uint64_t again_ns = runtime.now_ns() + pauses.next_ns();
    if (again_ns >= deadline_ns) co_return fail(ErrorCode::kTimeout, "metadata read", key);
    co_await runtime.executor().sleep_until(again_ns);
  }
}

struct Attempt {
  Result<TransactionResult> result;
  bool was_unknown = false;  // an earlier submission may have happened
};

// What the planted bug does before it tries again: it compares with what is there by now.
runtime::Task<void> refresh_compares(Meta& meta, Transaction& transaction) {
  for (Compare& compare : transaction.compares) {
    if (compare.target != Compare::Target::kModified) continue;
    const Result<std::optional<Entry>> now = co_await meta.get(compare.key);
    if (now) compare.revision = *now ? (*now)->modified : 0;
  }
}

runtime::Task<Attempt> submit_until_definite(runtime::Runtime& runtime, Meta& meta, Transaction transaction,
                                             uint64_t deadline_ns) {
  Pauses pauses(runtime);
  Attempt attempt;
  for (;;) {
    attempt.result = co_await meta.commit(transaction);
    if (attempt.result) co_return attempt;
    const ErrorCode code = attempt.result.error().code;
    if (is_unknown(code)) {
      attempt.was_unknown = true;
    } else if (code != ErrorCode::kBusy) {
      co_return attempt;
    }
    const uint64_t again_ns = runtime.now_ns() + pauses.next_ns();
    if (again_ns >= deadline_ns) {
      attempt.result =
          fail(ErrorCode::kTimeout, "metadata transaction: outcome unknown", attempt.result.error().message());
      co_return attempt;
    }
    co_await runtime.executor().sleep_until(again_ns);
    if (PLANTED("txn retried with fresh revision")) co_await refresh_compares(meta, transaction);
  }
}

}  // namespace

runtime::Task<Result<TransactionResult>> commit_settled(runtime::Runtime& runtime, Meta& meta,
                                                        Transaction transaction, std::string mine_key, IsMine mine,
                                                        uint64_t deadline_ns) {
  Attempt attempt = co_await submit_until_definite(runtime, meta, transaction, deadline_ns);
  if (!attempt.result || attempt.result->succeeded || !attempt.was_unknown) co_return std::move(attempt.result);
  Result<std::optional<Entry>> entry = co_await read_settled(runtime, meta, mine_key, deadline_ns);
  if (!entry) co_return fail(std::move(entry.error()));
  if (*entry && mine(**entry)) co_return TransactionResult{true, (*entry)->modified};
  co_return std::move(attempt.result);
}

runtime::Task<Result<TransactionResult>> commit_settled(runtime::Runtime& runtime, Meta& meta,
                                                        Transaction transaction, uint64_t deadline_ns) {
  const auto put = std::find_if(transaction.operations.begin(), transaction.operations.end(),
                                [](const Operation& o) { return o.kind == Operation::Kind::kPut; });
  if (put != transaction.operations.end()) {
    const std::string key = put->key;
    IsMine mine = [value = put->value](const Entry& entry) { return entry.value == value; };
    Result<TransactionResult> result =
        co_await commit_settled(runtime, meta, std::move(transaction), key, std::move(mine), deadline_ns);
    co_return result;
  }
  Attempt attempt = co_await submit_until_definite(runtime, meta, transaction, deadline_ns);
  if (!attempt.result || attempt.result->succeeded || !attempt.was_unknown || transaction.operations.empty())
    co_return std::move(attempt.result);
  Result<std::optional<Entry>> entry =
      co_await read_settled(runtime, meta, transaction.operations.front().key, deadline_ns);
  if (!entry) co_return fail(std::move(entry.error()));
  if (!*entry) attempt.result->succeeded = true;
  co_return std::move(attempt.result);
}

}  // namespace foreshard::meta
