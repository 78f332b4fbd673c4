// Proves that both indexes keep one contract (visibility, order, ranges, sequences, survival of a reopening),
// and that the simulated one forgets in a crash exactly what it may: the newest unsynced batches.
#include <gtest/gtest.h>

#include <condition_variable>
#include <filesystem>
#include <mutex>

#include "index/map_index.h"
#include "index/rocks_index.h"

namespace foreshard::index {
namespace {

using runtime::Task;

// Runs root tasks to their end: timers at once, in virtual time; other threads' posts when they come.
class LoopExecutor : public runtime::Executor {
 public:
  uint64_t now_ns() const override { return now_ns_; }
  void post_from_thread(std::coroutine_handle<> h) override {
    const std::lock_guard lock(mutex_);
    posted_.push_back(h);
    wake_.notify_one();
  }
  void run() {
    while (root_count() > 0) {
      take_posted(!has_ready() && next_deadline_ns() == UINT64_MAX);
      if (has_ready()) {
        run_ready();
      } else if (next_deadline_ns() != UINT64_MAX) {
        now_ns_ = next_deadline_ns();
        run_timers(now_ns_);
      }
    }
  }

 private:
  void take_posted(bool wait) {
    std::unique_lock lock(mutex_);
    if (wait) wake_.wait(lock, [this] { return !posted_.empty(); });
    for (const std::coroutine_handle<> h : posted_) post(h);
    posted_.clear();
  }
  uint64_t now_ns_ = 1;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::coroutine_handle<>> posted_;
};

class LoopRuntime : public runtime::Runtime {
 public:
  runtime::Executor& executor() override { return executor_; }
  runtime::Network& network() override { std::abort(); }
  Result<std::unique_ptr<runtime::Disk>> open_disk(const std::string&) override { std::abort(); }
  Random& random() override { return random_; }
  uint64_t wall_ns() override { return 0; }
  void run(Task<void> task) {
    executor_.spawn(std::move(task));
    executor_.run();
  }

 private:
  LoopExecutor executor_;
  Random random_{1};
};

class FolderDisk : public runtime::Disk {
 public:
  explicit FolderDisk(std::string path) : path_(std::move(path)) {}
  Result<std::unique_ptr<runtime::File>> open(const std::string&, Open) override { std::abort(); }
  Result<bool> exists(const std::string&) override { std::abort(); }
  Result<void> remove(const std::string&) override { std::abort(); }
  Result<void> rename(const std::string&, const std::string&) override { std::abort(); }
  Result<std::vector<std::string>> list(const std::string&) override { std::abort(); }
  Result<void> sync_folder(const std::string&) override { std::abort(); }
  Result<uint64_t> free_bytes() override { std::abort(); }
  std::string host_path() const override { return path_; }

 private:
  std::string path_;
};

enum class Kind { kMap, kRocks };

class IndexContract : public testing::TestWithParam<Kind> {
 public:
  IndexContract() {
    char path[] = "/tmp/foreshard_index_XXXXXX";
    folder_ = ::mkdtemp(path);
    opener_ = GetParam() == Kind::kMap ? map_index_opener(state_, {.read_latency_ns = 10, .sync_latency_ns = 100})
                                       : rocks_index_opener();
  }
  ~IndexContract() override { std::filesystem::remove_all(folder_); }

  void run(Task<void> task) { runtime_.run(std::move(task)); }
  Task<std::unique_ptr<Index>> open() {
    Result<std::unique_ptr<Index>> index = co_await opener_(runtime_, disk_, "index");
    EXPECT_TRUE(index) << index.error().message();
    co_return std::move(*index);
  }

  MapIndexState state_;
  std::string folder_;
  LoopRuntime runtime_;
  FolderDisk disk_{"/nowhere"};
  OpenIndex opener_;

  void SetUp() override { disk_ = FolderDisk(folder_); }
};

Task<std::string> text_of(Index& index, std::string begin, std::string end, size_t limit, bool backward) {
  Result<std::vector<KeyValue>> found = co_await index.scan(begin, end, limit, backward);
  EXPECT_TRUE(found);
  std::string text;
  for (const KeyValue& kv : *found) text += kv.key + "=" + kv.value + " ";
  co_return text;
}

Batch batch_of(std::initializer_list<std::pair<std::string, std::string>> puts) {
  Batch batch;
  for (const auto& [key, value] : puts) batch.put(key, value);
  return batch;
}

TEST_P(IndexContract, BatchesAreVisibleAtOnceInOrderAndByRange) {
  auto body = [](IndexContract* self) -> Task<void> {
    std::unique_ptr<Index> index = co_await self->open();
    Result<uint64_t> wrote = co_await index->write(batch_of({{"a", "1"}, {"b", "2"}, {"c", "3"}, {"d", "4"}}), false);
    EXPECT_TRUE(wrote);
    const uint64_t first = *wrote;
    Result<std::optional<std::string>> got = co_await index->get("b");
    EXPECT_EQ(**got, "2");
    got = co_await index->get("bb");
    EXPECT_FALSE(got->has_value());
    std::string text = co_await text_of(*index, "b", "d", 10, false);
    EXPECT_EQ(text, "b=2 c=3 ");
    text = co_await text_of(*index, "b", "", 2, false);
    EXPECT_EQ(text, "b=2 c=3 ");
    text = co_await text_of(*index, "a", "d", 2, true);
    EXPECT_EQ(text, "c=3 b=2 ");
    text = co_await text_of(*index, "d", "a", 2, true);
    EXPECT_EQ(text, "");
    // Within a batch the later change wins.
    Batch batch;
    batch.erase_range("b", "d");
    batch.put("c", "5");
    batch.erase("a");
    batch.erase("nothing");
    wrote = co_await index->write(std::move(batch), true);
    EXPECT_GT(*wrote, first);
    text = co_await text_of(*index, "", "", 10, false);
    EXPECT_EQ(text, "c=5 d=4 ");
    const Result<void> closed = co_await index->close();
    EXPECT_TRUE(closed);
  };
  run(body(this));
}

TEST_P(IndexContract, ReopeningFindsAllAndItsSequence) {
  auto body = [](IndexContract* self) -> Task<void> {
    uint64_t sequence = 0;
    {
      std::unique_ptr<Index> index = co_await self->open();
      EXPECT_EQ(index->opened_sequence(), 0u);
      for (int i = 0; i < 100; ++i) {
        const Result<uint64_t> wrote = co_await index->write(batch_of({{"k" + std::to_string(i), "v"}}), i % 10 == 0);
        EXPECT_GT(*wrote, sequence);
        sequence = *wrote;
      }
      const Result<uint64_t> synced = co_await index->sync();
      EXPECT_GE(*synced, sequence);
      const Result<void> closed = co_await index->close();
      EXPECT_TRUE(closed);
      const Result<uint64_t> refused = co_await index->write(Batch(), true);
      EXPECT_FALSE(refused);
    }
    std::unique_ptr<Index> index = co_await self->open();
    EXPECT_GE(index->opened_sequence(), sequence);
    const Result<std::vector<KeyValue>> all = co_await index->scan("", "", 1000, false);
    EXPECT_EQ(all->size(), 100u);
    const Result<uint64_t> wrote = co_await index->write(batch_of({{"k", "v"}}), true);
    EXPECT_GT(*wrote, index->opened_sequence());
    const Result<void> closed = co_await index->close();
    EXPECT_TRUE(closed);
  };
  run(body(this));
}

TEST_P(IndexContract, ConcurrentWritesKeepTheOrderOfTheCalls) {
  auto writer = [](Index* index, int n, int* left) -> Task<void> {
    const Result<uint64_t> wrote = co_await index->write(batch_of({{"last", std::to_string(n)}}), true);
    EXPECT_TRUE(wrote);
    --*left;
  };
  auto body = [](IndexContract* self, decltype(writer) writer) -> Task<void> {
    std::unique_ptr<Index> index = co_await self->open();
    int left = 50;
    for (int n = 0; n < 50; ++n) self->runtime_.executor().spawn(writer(index.get(), n, &left));
    while (left > 0) co_await self->runtime_.executor().sleep_for(1);
    const Result<std::optional<std::string>> got = co_await index->get("last");
    EXPECT_EQ(**got, "49");
    const Result<void> closed = co_await index->close();
    EXPECT_TRUE(closed);
  };
  run(body(this, writer));
}

INSTANTIATE_TEST_SUITE_P(Both, IndexContract, testing::Values(Kind::kMap, Kind::kRocks),
                         [](const auto& info) { return info.param == Kind::kMap ? "Map" : "Rocks"; });

// The model: the list of batches; what survives is a prefix that holds every synced one.
TEST(MapIndexState, ACrashDropsOnlyTheNewestUnsyncedBatches) {
  bool some_lost = false, some_kept = false;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    Random random(seed);
    MapIndexState state;
    std::vector<std::map<std::string, std::string>> after{{}};  // contents after each batch
    const uint64_t batches = random.between(1, 40);
    uint64_t durable = 0;
    for (uint64_t n = 1; n <= batches; ++n) {
      Batch batch;
      auto model = after.back();
      for (uint64_t change = random.between(1, 4); change > 0; --change) {
        const std::string key(1, static_cast<char>('a' + random.below(8)));
        const std::string other(1, static_cast<char>('a' + random.below(8)));
        switch (random.below(4)) {
          case 0:
            batch.erase(key);
            model.erase(key);
            break;
          case 1:
            batch.erase_range(key, other);
            if (key < other) model.erase(model.lower_bound(key), model.lower_bound(other));
            break;
          default: batch.put(key, std::to_string(n)); model[key] = std::to_string(n);
        }
      }
      EXPECT_EQ(state.apply(batch), n);
      after.push_back(model);
      EXPECT_EQ(state.content(), model);
      if (random.chance(0.2)) state.mark_durable(durable = random.between(durable, n));
    }
    state.crash(random);
    ASSERT_GE(state.last_sequence(), durable);
    ASSERT_LE(state.last_sequence(), batches);
    EXPECT_EQ(state.content(), after[state.last_sequence()]);
    EXPECT_EQ(state.durable_sequence(), state.last_sequence());
    some_lost |= state.last_sequence() < batches;
    some_kept |= state.last_sequence() > durable;
    if (state.lose_synced_tail(random)) EXPECT_EQ(state.content(), after[state.last_sequence()]);
  }
  EXPECT_TRUE(some_lost && some_kept);
}

TEST(MapIndex, AFailedWriteEndsTheIndexUntilItIsReopened) {
  LoopRuntime runtime;
  FolderDisk disk("");
  MapIndexState state;
  auto body = [](LoopRuntime* runtime, FolderDisk* disk, MapIndexState* state) -> Task<void> {
    const OpenIndex opener = map_index_opener(*state);
    Result<std::unique_ptr<Index>> index = co_await opener(*runtime, *disk, "index");
    state->fail_after(1);
    Result<uint64_t> wrote = co_await (*index)->write(batch_of({{"a", "1"}}), true);
    EXPECT_TRUE(wrote);
    wrote = co_await (*index)->write(batch_of({{"b", "1"}}), true);
    EXPECT_EQ(wrote.error().code, ErrorCode::kIo);
    state->repair();
    wrote = co_await (*index)->write(batch_of({{"b", "1"}}), true);
    EXPECT_EQ(wrote.error().code, ErrorCode::kIo);
    EXPECT_EQ(state->content().size(), 1u);
  };
  runtime.run(body(&runtime, &disk, &state));
}

}  // namespace
}  // namespace foreshard::index
