// A delayed connection hands out every byte exactly the given time after it came, in order, as many on the
// way at once as fit its bound, and ends as the inner one does, later by the same time.
#include "runtime/delayed_connection.h"

#include <gtest/gtest.h>

#include <deque>
#include <string>
#include <vector>

#include "base/random.h"
#include "runtime/manual_executor.h"
#include "runtime/pair.h"

namespace foreshard::runtime {
namespace {

constexpr uint64_t kDelayNs = 1'000'000;

struct Read {
  std::string text;
  uint64_t at_ns;
};

Task<void> read_all(Executor& executor, Connection& connection, size_t part, std::vector<Read>& reads, int64_t& end) {
  std::string buffer(part, '\0');
  for (;;) {
    const ByteSpan room = {reinterpret_cast<std::byte*>(buffer.data()), buffer.size()};
    const Result<size_t> count = co_await connection.read(room);
    if (!count || *count == 0) {
      end = count ? 0 : -static_cast<int64_t>(count.error().id);
      co_return;
    }
    reads.push_back({buffer.substr(0, *count), executor.now_ns()});
  }
}

Task<void> write_text(Connection& connection, std::string text) {
  const iovec piece = {text.data(), text.size()};
  const Result<void> written = co_await connection.write({&piece, 1});
  EXPECT_TRUE(written);
}

class DelayedConnectionTest : public testing::Test {
 protected:
  DelayedConnectionTest() {
    ConnectionPair pair = make_pair(executor_);
    far_ = std::move(pair.second);
    near_ = delay_connection(executor_, std::move(pair.first), kDelayNs);
  }
  ~DelayedConnectionTest() override { executor_.destroy_tasks(); }
  void start_reading(size_t part) { executor_.spawn(read_all(executor_, *near_, part, reads_, end_)); }
  ManualExecutor executor_;
  std::unique_ptr<Connection> near_;
  std::unique_ptr<Connection> far_;
  std::vector<Read> reads_;
  int64_t end_ = 1;
};

TEST_F(DelayedConnectionTest, EveryByteComesLaterByTheDelay) {
  for (const size_t part : {3u, 1000u}) {
    start_reading(part);
    const uint64_t start_ns = executor_.now_ns();
    std::string sent;
    std::vector<uint64_t> due_ns;  // of each byte
    Random random(part);
    for (int i = 0; i < 200; ++i) {
      executor_.advance_to(executor_.now_ns() + random.below(kDelayNs / 10));
      const std::string text(1 + random.below(50), static_cast<char>('a' + i % 26));
      sent += text;
      due_ns.insert(due_ns.end(), text.size(), executor_.now_ns() + kDelayNs);
      executor_.spawn(write_text(*far_, text));
      executor_.run();
    }
    executor_.advance_to(executor_.now_ns() + 2 * kDelayNs);
    std::string received;
    for (const Read& read : reads_) {
      // A byte is never early, and late only by waiting for no one: a read ends at the time it was due.
      for (size_t i = 0; i < read.text.size(); ++i) EXPECT_EQ(read.at_ns, due_ns[received.size() + i]);
      received += read.text;
    }
    EXPECT_EQ(received, sent);
    EXPECT_GT(executor_.now_ns() - start_ns, kDelayNs);
    // Afresh for the next size of reads.
    near_->shutdown();
    executor_.run();
    EXPECT_EQ(end_, -ECANCELED);
    reads_.clear();
    ConnectionPair pair = make_pair(executor_);
    far_ = std::move(pair.second);
    near_ = delay_connection(executor_, std::move(pair.first), kDelayNs);
  }
}

TEST_F(DelayedConnectionTest, TheEndComesLaterToo) {
  start_reading(100);
  executor_.spawn(write_text(*far_, "bye"));
  executor_.run();
  far_.reset();
  executor_.advance_to(kDelayNs - 1);
  EXPECT_TRUE(reads_.empty());
  EXPECT_EQ(end_, 1);
  executor_.advance_to(kDelayNs);
  ASSERT_EQ(reads_.size(), 1u);
  EXPECT_EQ(reads_[0].text, "bye");
  EXPECT_EQ(end_, 0);
}

TEST_F(DelayedConnectionTest, WritesAreNotDelayed) {
  std::vector<Read> reads;
  int64_t end = 1;
  executor_.spawn(read_all(executor_, *far_, 100, reads, end));
  executor_.spawn(write_text(*near_, "at once"));
  executor_.run();
  ASSERT_EQ(reads.size(), 1u);
  EXPECT_EQ(reads[0].at_ns, 0u);
  near_.reset();
  executor_.run();
  EXPECT_EQ(end, 0);
}

Task<void> write_much(Connection& connection, size_t bytes, size_t& written_bytes) {
  std::string text(64 << 10, 'x');
  const iovec piece = {text.data(), text.size()};
  while (written_bytes < bytes) {
    const Result<void> written = co_await connection.write({&piece, 1});
    if (!written) co_return;
    written_bytes += text.size();
  }
}

TEST_F(DelayedConnectionTest, HoldsNoMoreThanItsBound) {
  size_t written_bytes = 0;
  executor_.spawn(write_much(*far_, 100 << 20, written_bytes));
  executor_.advance_to(10 * kDelayNs);
  // What it holds, what the pair holds, and one write.
  EXPECT_GE(written_bytes, kDelayedBytesMax);
  EXPECT_LE(written_bytes, kDelayedBytesMax + kPairBufferBytes + (256 << 10));
  start_reading(1 << 20);
  executor_.advance_to(100 * kDelayNs);
  size_t read_bytes = 0;
  for (const Read& read : reads_) read_bytes += read.text.size();
  EXPECT_EQ(written_bytes, size_t{100} << 20);
  EXPECT_EQ(read_bytes, written_bytes);
}

TEST_F(DelayedConnectionTest, EndsWithItsReadPendingAndNothingStays) {
  start_reading(100);
  executor_.spawn(write_text(*far_, "on its way"));
  executor_.run();
  near_->shutdown();
  executor_.run();
  EXPECT_EQ(end_, -ECANCELED);
  near_.reset();
  executor_.run();
  EXPECT_EQ(executor_.root_count(), 0u);
}

}  // namespace
}  // namespace foreshard::runtime
