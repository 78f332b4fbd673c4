// A world for the tests of this layer: an executor with virtual time that runs until nothing is ready, and byte
// streams in memory whose ends can be segmented, stalled, cut and written to by hand. Not for other use: it has
// no faults of its own making (the simulated network has those).
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/io.h"
#include "runtime/sync.h"

namespace foreshard::rpc {

class TestExecutor final : public runtime::Executor {
 public:
  uint64_t now_ns() const override { return now_ns_; }
  void post_from_thread(std::coroutine_handle<> h) override { post(h); }
  // Runs what is ready, never moving time.
  void run_ready_only() {
    while (has_ready()) run_ready();
  }
  // Runs until nothing is left to do, moving time from timer to timer up to the limit.
  void run_until(uint64_t limit_ns) {
    for (;;) {
      run_ready_only();
      const uint64_t next_ns = next_deadline_ns();
      if (next_ns > limit_ns) break;
      if (next_ns > now_ns_) now_ns_ = next_ns;
      run_timers(now_ns_);
    }
    if (limit_ns != UINT64_MAX) now_ns_ = limit_ns;
  }
  // Runs that many ready coroutines, if there are.
  void run_steps(size_t count) {
    for (; count > 0 && has_ready(); --count) run_ready();
  }
  // Moves time to the next timer and fires it; false when there is none.
  bool advance_to_next_timer() {
    const uint64_t next_ns = next_deadline_ns();
    if (next_ns == UINT64_MAX) return false;
    if (next_ns > now_ns_) now_ns_ = next_ns;
    run_timers(now_ns_);
    return true;
  }
  void run() { run_until(UINT64_MAX - 1); }

 private:
  uint64_t now_ns_ = 1'000'000'000;
};

// Bytes in their order, put in and taken out in bulk: a fuzzer spends its time here.
class ByteQueue {
 public:
  size_t size() const { return bytes_.size() - head_; }
  bool empty() const { return size() == 0; }
  void append(ConstByteSpan more) { bytes_.insert(bytes_.end(), more.begin(), more.end()); }
  void take(ByteSpan into) {
    std::memcpy(into.data(), bytes_.data() + head_, into.size());
    head_ += into.size();
    if (head_ == bytes_.size()) {
      bytes_.clear();
      head_ = 0;
    }
  }

 private:
  std::vector<std::byte> bytes_;
  size_t head_ = 0;
};

// One direction of a stream: a bounded queue of bytes.
struct TestPipe {
  ByteQueue bytes;
  size_t capacity_bytes = 256u << 10;
  size_t segment_bytes_max = SIZE_MAX;  // the most that one read gets
  bool stalled = false;                 // nothing arrives at the reader
  bool ended = false;                   // the writer is done
  bool broken = false;                  // reads and writes fail
  bool holds_reader = false;            // a read under way outlives a shutdown, as one in the kernel may
  runtime::IoOp* reader = nullptr;
  ByteSpan into;
  runtime::IoOp* writer = nullptr;
  std::vector<iovec> from;
  uint64_t written = 0;
};

class TestConnection final : public runtime::Connection {
 public:
  TestConnection(runtime::Executor& executor, std::shared_ptr<TestPipe> in, std::shared_ptr<TestPipe> out)
      : executor_(executor), in_(std::move(in)), out_(std::move(out)) {}
  ~TestConnection() override { shutdown(); }

  bool start_read(runtime::IoOp& op, ByteSpan into) override {
    op.owner = in_.get();
    op.abandon = [](runtime::IoOp* o) { static_cast<TestPipe*>(o->owner)->reader = nullptr; };
    in_->reader = &op;
    in_->into = into;
    move(executor_, *in_);
    return true;
  }
  bool start_write(runtime::IoOp& op, std::span<const iovec> from) override {
    op.owner = out_.get();
    op.abandon = [](runtime::IoOp* o) { static_cast<TestPipe*>(o->owner)->writer = nullptr; };
    out_->writer = &op;
    out_->from.assign(from.begin(), from.end());
    out_->written = 0;
    move(executor_, *out_);
    return true;
  }
  void shutdown() override {
    if (in_->reader != nullptr && !in_->holds_reader) end(executor_, in_->reader, -ECANCELED);
    if (out_->writer != nullptr) end(executor_, out_->writer, -ECANCELED);
    in_->broken = true;
    out_->ended = true;
    move(executor_, *in_);
    move(executor_, *out_);
  }
  std::string peer() const override { return "test"; }
  runtime::MeetingPlace* meeting_place() override { return meeting_place_.get(); }
  void meet_at(std::shared_ptr<runtime::MeetingPlace> place) { meeting_place_ = std::move(place); }

  // Lets bytes flow as far as they can.
  static void move(runtime::Executor& executor, TestPipe& pipe) {
    take_from_writer(executor, pipe);
    if (pipe.reader == nullptr || pipe.holds_reader) return;
    if (!pipe.stalled && !pipe.bytes.empty()) {
      const size_t count = std::min({pipe.bytes.size(), pipe.into.size(), pipe.segment_bytes_max});
      pipe.bytes.take(pipe.into.first(count));
      end(executor, pipe.reader, static_cast<int64_t>(count));
      take_from_writer(executor, pipe);
    } else if (pipe.broken) {
      end(executor, pipe.reader, -ECONNRESET);
    } else if (pipe.ended && !pipe.stalled) {
      end(executor, pipe.reader, 0);
    }
  }

 private:
  static void take_from_writer(runtime::Executor& executor, TestPipe& pipe) {
    if (pipe.writer == nullptr) return;
    if (pipe.broken || pipe.ended) return end(executor, pipe.writer, -EPIPE);
    for (iovec& part : pipe.from) {
      const size_t count =
          std::min(part.iov_len, pipe.capacity_bytes - std::min(pipe.capacity_bytes, pipe.bytes.size()));
      const auto* bytes = static_cast<const std::byte*>(part.iov_base);
      pipe.bytes.append({bytes, count});
      part.iov_base = static_cast<std::byte*>(part.iov_base) + count;
      part.iov_len -= count;
      pipe.written += count;
      if (part.iov_len != 0) return;
    }
    end(executor, pipe.writer, static_cast<int64_t>(pipe.written));
  }
  static void end(runtime::Executor& executor, runtime::IoOp*& op, int64_t result) {
    runtime::IoOp* ended = op;
    op = nullptr;
    ended->result = result;
    ended->abandon = nullptr;
    executor.post(ended->waiter);
  }
  runtime::Executor& executor_;
  std::shared_ptr<TestPipe> in_;
  std::shared_ptr<TestPipe> out_;
  std::shared_ptr<runtime::MeetingPlace> meeting_place_;
};

// Both ends of a stream, and its pipes for meddling: [0] from first to second, [1] back.
struct TestPair {
  std::unique_ptr<TestConnection> first;
  std::unique_ptr<TestConnection> second;
  std::shared_ptr<TestPipe> pipes[2];
};

inline TestPair make_test_pair(runtime::Executor& executor) {
  TestPair pair;
  pair.pipes[0] = std::make_shared<TestPipe>();
  pair.pipes[1] = std::make_shared<TestPipe>();
  pair.first = std::make_unique<TestConnection>(executor, pair.pipes[1], pair.pipes[0]);
  pair.second = std::make_unique<TestConnection>(executor, pair.pipes[0], pair.pipes[1]);
  return pair;
}

// Hands out what a test gives it.
class TestListener final : public runtime::Listener {
 public:
  struct State {
    explicit State(runtime::Executor& executor) : arrived(executor) {}
    std::deque<std::unique_ptr<runtime::Connection>> waiting;
    runtime::WaitQueue arrived;
    bool ended = false;
    void give(std::unique_ptr<runtime::Connection> connection) {
      waiting.push_back(std::move(connection));
      arrived.wake_one();
    }
  };
  explicit TestListener(std::shared_ptr<State> state) : state_(std::move(state)) {}
  runtime::Task<Result<std::unique_ptr<runtime::Connection>>> accept() override {
    const std::shared_ptr<State> state = state_;
    while (!state->ended && state->waiting.empty()) co_await state->arrived.wait();
    if (state->ended) co_return fail(ErrorCode::kCancelled, "listener");
    std::unique_ptr<runtime::Connection> connection = std::move(state->waiting.front());
    state->waiting.pop_front();
    co_return connection;
  }
  void shutdown() override {
    state_->ended = true;
    state_->arrived.wake_all();
  }
  std::string address() const override { return "test:"; }

 private:
  std::shared_ptr<State> state_;
};

// Connections by address, each through a TestPair kept for meddling.
class TestNetwork final : public runtime::Network {
 public:
  explicit TestNetwork(runtime::Executor& executor) : executor_(executor) {}
  runtime::Task<Result<std::unique_ptr<runtime::Connection>>> connect(const std::string& address,
                                                                      uint64_t deadline_ns) override {
    const auto found = listeners_.find(address);
    if (found == listeners_.end() || found->second->ended) co_return fail(ErrorCode::kUnavailable, "connect");
    TestPair pair = make_test_pair(executor_);
    pipes.push_back({pair.pipes[0], pair.pipes[1]});
    if (in_process) {
      const auto place = std::make_shared<runtime::MeetingPlace>();
      pair.first->meet_at(place);
      pair.second->meet_at(place);
    }
    found->second->give(std::move(pair.second));
    co_return std::move(pair.first);
  }
  Result<std::unique_ptr<runtime::Listener>> listen(const std::string& address) override {
    auto state = std::make_shared<TestListener::State>(executor_);
    listeners_[address] = state;
    return std::make_unique<TestListener>(std::move(state));
  }
  std::vector<std::array<std::shared_ptr<TestPipe>, 2>> pipes;  // of every connection made
  bool in_process = false;  // the ends of connections made from now on meet

 private:
  runtime::Executor& executor_;
  std::map<std::string, std::shared_ptr<TestListener::State>> listeners_;
};

class TestRuntime final : public runtime::Runtime {
 public:
  TestExecutor& executor() override { return executor_; }
  TestNetwork& network() override { return network_; }
  Result<std::unique_ptr<runtime::Disk>> open_disk(const std::string&) override {
    return fail(ErrorCode::kUnsupported, "test runtime has no disk");
  }
  Random& random() override { return random_; }
  uint64_t wall_ns() override { return executor_.now_ns(); }

 private:
  TestExecutor executor_;
  TestNetwork network_{executor_};
  Random random_{1};
};

}  // namespace foreshard::rpc
