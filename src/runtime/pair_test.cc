// A pair inside the process behaves as a connection: bytes in order through a bounded buffer, the end after
// the last byte, -EPIPE to who writes to no one, and shutdown ends what is pending.
#include "runtime/pair.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/random.h"
#include "runtime/manual_executor.h"

namespace foreshard::runtime {
namespace {

constexpr int64_t kPending = INT64_MIN;

Task<void> write_text(Connection& connection, std::string text, size_t piece, int64_t& result) {
  result = kPending;
  std::vector<iovec> pieces;
  for (size_t at = 0; at < text.size(); at += piece)
    pieces.push_back({text.data() + at, std::min(piece, text.size() - at)});
  const Result<void> written = co_await connection.write(pieces);
  result = written ? 0 : -static_cast<int64_t>(written.error().id);
}

Task<void> read_text(Connection& connection, size_t at_most, std::string& into, int64_t& result) {
  result = kPending;
  std::string buffer(at_most, '\0');
  const ByteSpan room = {reinterpret_cast<std::byte*>(buffer.data()), buffer.size()};
  const Result<size_t> count = co_await connection.read(room);
  result = count ? static_cast<int64_t>(*count) : -static_cast<int64_t>(count.error().id);
  if (count) into += buffer.substr(0, *count);
}

TEST(PairTest, RandomReadsAndWritesCarryTheStream) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    Random random(seed);
    ManualExecutor executor;
    ConnectionPair pair = make_pair(executor, "test", 1 + random.below(5000));
    std::string sent;
    std::string received;
    int64_t written = 0;
    int64_t read = 0;
    while (received.size() < 100'000) {
      if (written != kPending && random.chance(0.5)) {
        std::string text(1 + random.below(random.chance(0.1) ? 20'000 : 300), '\0');
        for (char& c : text) c = static_cast<char>(random.next());
        sent += text;
        executor.spawn(write_text(*pair.first, std::move(text), 1 + random.below(400), written));
      }
      if (read != kPending && random.chance(0.5)) {
        executor.spawn(read_text(*pair.second, 1 + random.below(random.chance(0.1) ? 20'000 : 300), received, read));
      }
      executor.run();
      ASSERT_FALSE(written == kPending && read == kPending) << "both wait: seed " << seed;
    }
    ASSERT_EQ(received, sent.substr(0, received.size())) << seed;
    ASSERT_TRUE(read == kPending || read > 0);
  }
}

TEST(PairTest, TheBufferIsBounded) {
  ManualExecutor executor;
  ConnectionPair pair = make_pair(executor, "test", 1000);
  int64_t written = 0;
  int64_t read = 0;
  std::string received;
  executor.spawn(write_text(*pair.first, std::string(1000, 'a'), 1000, written));
  executor.run();
  EXPECT_EQ(written, 0);
  executor.spawn(write_text(*pair.first, "b", 1, written));
  executor.run();
  EXPECT_EQ(written, kPending);
  executor.spawn(read_text(*pair.second, 10, received, read));
  executor.run();
  EXPECT_EQ(written, 0);
  EXPECT_EQ(read, 10);
}

TEST(PairTest, WhatWasWrittenIsReadBeforeTheEnd) {
  ManualExecutor executor;
  ConnectionPair pair = make_pair(executor);
  int64_t result = 0;
  std::string received;
  executor.spawn(write_text(*pair.first, "the last words", 3, result));
  executor.run();
  pair.first.reset();
  executor.spawn(read_text(*pair.second, 100, received, result));
  executor.run();
  EXPECT_EQ(received, "the last words");
  executor.spawn(read_text(*pair.second, 100, received, result));
  executor.run();
  EXPECT_EQ(result, 0);
  executor.spawn(write_text(*pair.second, "to no one", 100, result));
  executor.run();
  EXPECT_EQ(result, -EPIPE);
}

TEST(PairTest, ShutdownEndsWhatIsPendingOnBothSides) {
  ManualExecutor executor;
  ConnectionPair pair = make_pair(executor, "test", 10);
  int64_t read_here = 0;
  int64_t write_here = 0;
  int64_t write_there = 0;
  std::string received;
  executor.spawn(write_text(*pair.first, std::string(100, 'x'), 7, write_here));
  executor.spawn(write_text(*pair.second, std::string(100, 'y'), 7, write_there));
  executor.run();
  EXPECT_EQ(write_here, kPending);
  EXPECT_EQ(write_there, kPending);
  pair.first->shutdown();
  pair.first->shutdown();
  executor.run();
  EXPECT_EQ(write_here, -ECANCELED);
  EXPECT_EQ(write_there, -EPIPE);
  executor.spawn(read_text(*pair.first, 100, received, read_here));
  executor.run();
  EXPECT_EQ(read_here, -ECANCELED);
  int64_t read_there = 0;
  executor.spawn(read_text(*pair.second, 100, received, read_there));
  executor.run();
  EXPECT_EQ(read_there, 10);
  executor.spawn(read_text(*pair.second, 100, received, read_there));
  executor.run();
  EXPECT_EQ(read_there, 0);
}

TEST(PairTest, AReaderIsEndedByItsOwnShutdownAndByThePeers) {
  ManualExecutor executor;
  ConnectionPair pair = make_pair(executor);
  int64_t first = 0;
  int64_t second = 0;
  std::string received;
  executor.spawn(read_text(*pair.first, 100, received, first));
  executor.spawn(read_text(*pair.second, 100, received, second));
  executor.run();
  pair.first->shutdown();
  executor.run();
  EXPECT_EQ(first, -ECANCELED);
  EXPECT_EQ(second, 0);
}

TEST(PairTest, TasksThatWaitMayBeDestroyed) {
  ManualExecutor executor;
  ConnectionPair pair = make_pair(executor, "test", 10);
  int64_t result = 0;
  std::string received;
  executor.spawn(write_text(*pair.first, std::string(100, 'x'), 7, result));
  executor.spawn(read_text(*pair.first, 100, received, result));
  executor.run();
  executor.destroy_tasks();
  pair.first.reset();
  pair.second.reset();
}

}  // namespace
}  // namespace foreshard::runtime
