// Proves what is the remote store's own: an answer lost between the transaction and its caller is reported as unknown
// and settles to what happened; calls to a store out of reach end in time; close() ends everything that waits.
#include "meta/remote_meta.h"

#include <gtest/gtest.h>

#include "index/map_index.h"
#include "meta/embedded_meta.h"
#include "meta/meta_service.h"
#include "meta/settle.h"
#include "rpc/memory_stream.h"

namespace foreshard::meta {
namespace {

using runtime::Task;

template <class T>
Task<void> keep(Task<T> task, std::optional<T>& out) {
  T value = co_await task;
  out.emplace(std::move(value));
}
Task<int> as_value(Task<void> task) {
  co_await task;
  co_return 0;
}

class RemoteMetaTest : public testing::Test {
 protected:
  void SetUp() override {
    index::MapIndexOptions options;
    auto index = std::make_unique<index::MapIndex>(executor(), state, options);
    store = std::move(*run(EmbeddedMeta::open(runtime, std::move(index), {})));
    service = rpc::Service::create(runtime);
    meta_service = MetaService::create(runtime, *store, *service);
    service->serve(std::move(*runtime.network().listen("store")));
    remote = RemoteMeta::create(runtime, "store");
    EXPECT_FALSE(*run(remote->get("/k")));  // connected
  }
  void TearDown() override {
    run(as_value(remote->close()));
    meta_service->stop();
    run(as_value(service->stop()));
    EXPECT_TRUE(run(store->close()));
    executor().destroy_tasks();
  }
  template <class T>
  std::optional<T>& start(Task<T> task, std::optional<T>& out) {
    executor().spawn(keep(std::move(task), out));
    executor().run_ready_only();
    return out;
  }
  template <class T>
  T run(Task<T> task) {
    std::optional<T> value;
    start(std::move(task), value);
    while (!value && executor().advance_to_next_timer()) executor().run_ready_only();
    return std::move(*value);
  }
  rpc::TestPipe& from_store() { return *runtime.network().pipes.back()[1]; }
  void break_connection() {
    for (const auto& pipe : runtime.network().pipes.back()) {
      pipe->broken = true;
      rpc::TestConnection::move(executor(), *pipe);
    }
    executor().run_ready_only();
  }
  static Transaction create_key(std::string value) {
    Transaction transaction;
    transaction.compares = {{Compare::Target::kModified, "/k", 0, {}}};
    transaction.operations = {{Operation::Kind::kPut, "/k", std::move(value), 0}};
    return transaction;
  }
  rpc::TestExecutor& executor() { return runtime.executor(); }

  rpc::TestRuntime runtime;
  index::MapIndexState state;
  std::unique_ptr<EmbeddedMeta> store;
  std::unique_ptr<rpc::Service> service;
  std::unique_ptr<MetaService> meta_service;
  std::unique_ptr<RemoteMeta> remote;
};

TEST_F(RemoteMetaTest, ALostAnswerIsUnknown) {
  from_store().stalled = true;
  std::optional<Result<TransactionResult>> outcome;
  start(remote->commit(create_key("mine")), outcome);
  executor().run_until(executor().now_ns() + 1'000'000);
  EXPECT_FALSE(outcome);
  break_connection();
  ASSERT_TRUE(outcome && !*outcome);
  EXPECT_EQ(outcome->error().code, ErrorCode::kUnavailable);
  EXPECT_EQ((*run(remote->get("/k")))->value, "mine");  // it had happened; reads reconnect by themselves
}

TEST_F(RemoteMetaTest, ALostAnswerSettlesToWhatHappened) {
  from_store().stalled = true;
  std::optional<Result<TransactionResult>> mine;
  start(commit_settled(runtime, *remote, create_key("mine")), mine);
  executor().run_until(executor().now_ns() + 1'000'000);
  break_connection();
  executor().run_until(executor().now_ns() + 10'000'000'000);
  ASSERT_TRUE(mine && *mine);
  EXPECT_TRUE((*mine)->succeeded);
  EXPECT_EQ((*mine)->revision, (*run(remote->get("/k")))->modified);
  EXPECT_EQ((*run(remote->get("/k")))->created, (*run(remote->get("/k")))->modified);  // once only

  // Another's transaction on the same key is not taken for it.
  from_store().stalled = true;
  std::optional<Result<TransactionResult>> other;
  start(commit_settled(runtime, *remote, create_key("other")), other);
  executor().run_until(executor().now_ns() + 1'000'000);
  break_connection();
  executor().run_until(executor().now_ns() + 10'000'000'000);
  ASSERT_TRUE(other && *other);
  EXPECT_FALSE((*other)->succeeded);
}

TEST_F(RemoteMetaTest, SettlingSaysWhenItDoesNotKnow) {
  from_store().stalled = true;
  const uint64_t start_ns = executor().now_ns();
  std::optional<Result<TransactionResult>> outcome;
  start(commit_settled(runtime, *remote, create_key("mine"), start_ns + 20'000'000'000), outcome);
  executor().run_until(executor().now_ns() + 1'000'000);
  run(as_value(service->stop()));
  EXPECT_FALSE(outcome);
  executor().run_until(start_ns + 40'000'000'000);
  ASSERT_TRUE(outcome && !*outcome);
  EXPECT_EQ(outcome->error().code, ErrorCode::kTimeout);
}

TEST_F(RemoteMetaTest, CallsToAStoreOutOfReachEndInTime) {
  run(as_value(service->stop()));
  const uint64_t start_ns = executor().now_ns();
  EXPECT_EQ(run(remote->get("/k")).error().code, ErrorCode::kUnavailable);
  EXPECT_LE(executor().now_ns(), start_ns + 6'000'000'000);
  EXPECT_EQ(run(remote->commit(create_key("x"))).error().code, ErrorCode::kUnavailable);
  std::unique_ptr<Watch> watch = *run(remote->watch("/", 1));
  EXPECT_EQ(run(watch->next()).error().code, ErrorCode::kUnavailable);
}

TEST_F(RemoteMetaTest, CloseEndsWhatWaits) {
  std::unique_ptr<Watch> watch = *run(remote->watch("/", 1));
  std::optional<Result<std::vector<Event>>> events;
  start(watch->next(), events);
  EXPECT_FALSE(events);
  run(as_value(remote->close()));
  executor().run_ready_only();
  ASSERT_TRUE(events);
  EXPECT_EQ(events->error().code, ErrorCode::kCancelled);
  EXPECT_EQ(run(remote->get("/k")).error().code, ErrorCode::kCancelled);
}

}  // namespace
}  // namespace foreshard::meta
