// Proves what is the embedded store's own: many transactions share a sync, nothing is seen before it is durable, a
// failed index ends it, its bounds hold, and an index that holds anything else is refused.
#include "meta/embedded_meta.h"

#include <gtest/gtest.h>

#include <deque>

#include "index/map_index.h"
#include "meta/format.h"
#include "rpc/memory_stream.h"

namespace foreshard::meta {
namespace {

using runtime::Task;

constexpr uint64_t kSyncNs = 1'000'000;

struct Outcome {
  std::optional<Result<TransactionResult>> result;
};

Task<void> commit(Meta& meta, Transaction transaction, Outcome& outcome) {
  Result<TransactionResult> result = co_await meta.commit(std::move(transaction));
  outcome.result = std::move(result);
}

template <class T>
Task<void> keep(Task<T> task, std::optional<T>& out) {
  T value = co_await task;
  out.emplace(std::move(value));
}

class EmbeddedMetaTest : public testing::Test {
 protected:
  Result<void> open(EmbeddedMetaOptions options = {}) {
    index::MapIndexOptions index_options;
    index_options.sync_latency_ns = kSyncNs;
    auto index = std::make_unique<index::MapIndex>(executor(), state, index_options);
    Result<std::unique_ptr<EmbeddedMeta>> opened = run(EmbeddedMeta::open(runtime, std::move(index), options));
    if (!opened) return fail(opened.error());
    meta = std::move(*opened);
    return {};
  }
  template <class T>
  T run(Task<T> task) {
    std::optional<T> value;
    executor().spawn(keep(std::move(task), value));
    executor().run_ready_only();
    while (!value && executor().advance_to_next_timer()) executor().run_ready_only();
    return std::move(*value);
  }
  Outcome& submit(std::string key, std::string value) {
    Transaction transaction;
    transaction.operations.push_back({Operation::Kind::kPut, std::move(key), std::move(value), 0});
    Outcome& outcome = outcomes.emplace_back();
    executor().spawn(commit(*meta, std::move(transaction), outcome));
    return outcome;
  }
  rpc::TestExecutor& executor() { return runtime.executor(); }
  void TearDown() override {
    executor().destroy_tasks();
    meta = nullptr;
  }
  rpc::TestRuntime runtime;
  index::MapIndexState state;
  std::unique_ptr<EmbeddedMeta> meta;
  std::deque<Outcome> outcomes;
};

TEST_F(EmbeddedMetaTest, ManyTransactionsShareASync) {
  ASSERT_TRUE(open());
  const uint64_t start_ns = executor().now_ns();
  for (int i = 0; i < 300; ++i) submit("/k" + std::to_string(i), "v");
  executor().run_until(start_ns + 3 * kSyncNs);
  for (const Outcome& outcome : outcomes)
    EXPECT_TRUE(outcome.result && *outcome.result && (*outcome.result)->succeeded);
  EXPECT_EQ(meta->revision(), 300u);
}

TEST_F(EmbeddedMetaTest, NothingIsSeenBeforeItIsDurable) {
  ASSERT_TRUE(open());
  std::unique_ptr<Watch> watch = *run(meta->watch("/", 0));
  std::optional<Result<std::vector<Event>>> seen;
  executor().spawn(keep(watch->next(), seen));
  Outcome& outcome = submit("/k", "v");
  executor().run_ready_only();
  EXPECT_FALSE(outcome.result || seen);
  EXPECT_FALSE(run(meta->get("/k"))->has_value());
  EXPECT_EQ(meta->revision(), 0u);
  executor().run_until(executor().now_ns() + 2 * kSyncNs);
  EXPECT_TRUE(outcome.result && seen);
  EXPECT_TRUE(run(meta->get("/k"))->has_value());
  EXPECT_EQ(state.durable_sequence(), state.last_sequence());
}

TEST_F(EmbeddedMetaTest, AFailedIndexEndsTheStore) {
  ASSERT_TRUE(open());
  Outcome& before = submit("/a", "v");
  executor().run_until(executor().now_ns() + 2 * kSyncNs);
  ASSERT_TRUE(before.result && *before.result);
  std::unique_ptr<Watch> watch = *run(meta->watch("/", 2));
  std::optional<Result<std::vector<Event>>> seen;
  executor().spawn(keep(watch->next(), seen));
  state.fail_after(0);
  Outcome& failing = submit("/b", "v");
  Outcome& behind = submit("/c", "v");
  executor().run_until(executor().now_ns() + 3 * kSyncNs);
  for (Outcome* outcome : {&failing, &behind, &submit("/d", "v")}) {
    executor().run_ready_only();
    ASSERT_TRUE(outcome->result);
    EXPECT_EQ(outcome->result->error().code, ErrorCode::kUnavailable);
  }
  EXPECT_EQ(run(meta->get("/a")).error().code, ErrorCode::kUnavailable);
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->error().code, ErrorCode::kUnavailable);
}

TEST_F(EmbeddedMetaTest, KeepsToItsBounds) {
  EmbeddedMetaOptions options;
  options.bytes_max = 10'000;
  options.leases_max = 2;
  options.waiting_max = 3;
  ASSERT_TRUE(open(options));
  EXPECT_TRUE(run(meta->grant_lease(1'000'000'000'000)));
  EXPECT_TRUE(run(meta->grant_lease(1'000'000'000'000)));
  EXPECT_EQ(run(meta->grant_lease(1'000'000'000'000)).error().code, ErrorCode::kNoSpace);
  for (int i = 0; i < 4; ++i) submit("/fits" + std::to_string(i), "v");
  executor().run_until(executor().now_ns() + 3 * kSyncNs);
  EXPECT_EQ(outcomes[3].result->error().code, ErrorCode::kBusy);
  Outcome& large = submit("/large", std::string(10'000, 'x'));
  executor().run_until(executor().now_ns() + 3 * kSyncNs);
  EXPECT_EQ(large.result->error().code, ErrorCode::kNoSpace);
  Outcome& medium = submit("/medium", std::string(5'000, 'x'));
  Outcome& again = submit("/medium", std::string(5'000, 'y'));  // takes the place of the first
  executor().run_until(executor().now_ns() + 3 * kSyncNs);
  EXPECT_TRUE(*medium.result && *again.result);
}

TEST_F(EmbeddedMetaTest, CloseAnswersWhatWasSubmitted) {
  ASSERT_TRUE(open());
  Outcome& outcome = submit("/k", "v");
  executor().run_ready_only();
  EXPECT_TRUE(run(meta->close()));
  ASSERT_TRUE(outcome.result && *outcome.result);
  EXPECT_EQ(run(meta->get("/k")).error().code, ErrorCode::kCancelled);
  Outcome& late = submit("/l", "v");
  executor().run_ready_only();
  EXPECT_EQ(late.result->error().code, ErrorCode::kCancelled);
}

TEST_F(EmbeddedMetaTest, RefusesAnIndexThatHoldsAnythingElse) {
  ASSERT_TRUE(open());
  submit("/k", "value");
  executor().run_until(executor().now_ns() + 3 * kSyncNs);
  EXPECT_TRUE(run(meta->close()));
  const std::string key = entry_index_key("/k");
  const std::string good = state.content().at(key);
  const auto reopened_with = [&](std::string index_key, std::string value) {
    index::Batch batch;
    batch.put(index_key, std::move(value));
    state.apply(batch);
    Result<void> opened = open();
    if (opened) EXPECT_TRUE(run(meta->close()));
    index::Batch undo;
    undo.erase(index_key);
    undo.put(key, good);
    state.apply(undo);
    return opened ? ErrorCode{} : opened.error().code;
  };
  EXPECT_EQ(reopened_with(key, good), ErrorCode{});
  std::string flipped = good;
  flipped.back() ^= 1;
  EXPECT_EQ(reopened_with(key, flipped), ErrorCode::kCorrupt);
  EXPECT_EQ(reopened_with(entry_index_key("/other"), good), ErrorCode::kCorrupt);  // not written under this key
  EXPECT_EQ(reopened_with("what is this", "?"), ErrorCode::kCorrupt);
  Entry future{"/future", "v", 1, 1000, 0};
  EXPECT_EQ(reopened_with(entry_index_key("/future"), encode_stored(future)), ErrorCode::kCorrupt);
  Entry orphan{"/orphan", "v", 1, 1, 99};
  EXPECT_EQ(reopened_with(entry_index_key("/orphan"), encode_stored(orphan)), ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace foreshard::meta
