#include "runtime/delayed_connection.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <utility>

#include "base/assert.h"
#include "base/buffer.h"
#include "runtime/sync.h"

namespace foreshard::runtime {

namespace {

constexpr size_t kPieceBytes = 64u << 10;

// Bytes that arrived together, or the end of the stream.
struct Piece {
  Buffer buffer;
  size_t count = 0;    // bytes in it; none: the end
  size_t taken = 0;
  int64_t end = 0;     // at the end: 0 or minus an errno
  uint64_t due_ns = 0;
};

// Shared by the connection and the task that reads ahead, because either may end first.
class DelayLine final : public Timer {
 public:
  DelayLine(Executor& executor, std::unique_ptr<Connection> inner, uint64_t delay_ns)
      : executor_(executor), inner_(std::move(inner)), delay_ns_(delay_ns), room_(executor) {}

  Connection& inner() { return *inner_; }
  uint64_t delay_ns() const { return delay_ns_; }
  Executor& executor() { return executor_; }
  bool shut() const { return shut_; }
  bool full() const { return held_bytes_ >= kDelayedBytesMax; }
  WaitQueue& room() { return room_; }

  void arrive(Piece piece) {
    held_bytes_ += piece.buffer.size();
    pieces_.push_back(std::move(piece));
    if (reader_ != nullptr && !pending()) deliver_or_wait();
  }

  bool start_read(IoOp& op, ByteSpan into) {
    ASSERT(reader_ == nullptr && !into.empty());
    op.result = take(into);
    if (op.result != -EAGAIN) return false;
    reader_ = &op;
    into_ = into;
    op.owner = this;
    op.abandon = [](IoOp* abandoned) {
      auto* line = static_cast<DelayLine*>(abandoned->owner);
      line->reader_ = nullptr;
      line->cancel();
    };
    if (!pieces_.empty()) start(executor_, pieces_.front().due_ns);
    return true;
  }

  void shutdown() {
    if (std::exchange(shut_, true)) return;
    inner_->shutdown();
    cancel();
    pieces_.clear();
    held_bytes_ = 0;
    room_.wake_all();
    if (reader_ != nullptr) end_read(-ECANCELED);
  }

 private:
  void fire() override { deliver_or_wait(); }

  void deliver_or_wait() {
    const int64_t result = take(into_);
    if (result != -EAGAIN) return end_read(result);
    if (!pieces_.empty()) start(executor_, pieces_.front().due_ns);
  }

  // Bytes that are due, the end if that is, or -EAGAIN.
  int64_t take(ByteSpan into) {
    if (shut_) return -ECANCELED;
    const uint64_t now_ns = pieces_.empty() ? 0 : executor_.now_ns();
    size_t done = 0;
    while (!pieces_.empty() && pieces_.front().due_ns <= now_ns && done < into.size()) {
      Piece& piece = pieces_.front();
      if (piece.count == 0) return done > 0 ? static_cast<int64_t>(done) : piece.end;
      const size_t part = std::min(into.size() - done, piece.count - piece.taken);
      std::memcpy(into.data() + done, piece.buffer.data() + piece.taken, part);
      done += part;
      piece.taken += part;
      if (piece.taken == piece.count) drop_front();
    }
    return done > 0 ? static_cast<int64_t>(done) : -EAGAIN;
  }

  void drop_front() {
    held_bytes_ -= pieces_.front().buffer.size();
    pieces_.pop_front();
    if (!full()) room_.wake_all();
  }

  void end_read(int64_t result) {
    IoOp* op = std::exchange(reader_, nullptr);
    op->result = result;
    op->abandon = nullptr;
    executor_.post(op->waiter);
  }

  Executor& executor_;
  std::unique_ptr<Connection> inner_;
  uint64_t delay_ns_;
  WaitQueue room_;
  std::deque<Piece> pieces_;
  size_t held_bytes_ = 0;  // by capacity, so that small pieces cannot hold much
  IoOp* reader_ = nullptr;
  ByteSpan into_;
  bool shut_ = false;
};

Task<void> read_ahead(std::shared_ptr<DelayLine> line) {
  while (!line->shut()) {
    if (line->full()) {
      co_await line->room().wait();
      continue;
    }
    Piece piece;
    piece.buffer = Buffer::allocate(kPieceBytes);
    const Result<size_t> count = co_await line->inner().read(piece.buffer.span());
    if (line->shut()) co_return;
    piece.due_ns = line->executor().now_ns() + line->delay_ns();
    if (!count) piece.end = -static_cast<int64_t>(count.error().id);  // the errno
    piece.count = count ? *count : 0;
    const bool last = piece.count == 0;
    // A small piece is copied, so that it holds no more memory than it needs.
    if (piece.count < kPieceBytes / 2) piece.buffer = Buffer::copy_of(piece.buffer.subspan(0, piece.count));
    line->arrive(std::move(piece));
    if (last) co_return;
  }
}

class DelayedConnection final : public Connection {
 public:
  explicit DelayedConnection(std::shared_ptr<DelayLine> line) : line_(std::move(line)) {}
  ~DelayedConnection() override { line_->shutdown(); }
  bool start_read(IoOp& op, ByteSpan into) override { return line_->start_read(op, into); }
  bool start_write(IoOp& op, std::span<const iovec> from) override { return line_->inner().start_write(op, from); }
  void shutdown() override { line_->shutdown(); }
  std::string peer() const override { return line_->inner().peer(); }
  std::string peer_group() const override { return line_->inner().peer_group(); }

 private:
  std::shared_ptr<DelayLine> line_;
};

}  // namespace

std::unique_ptr<Connection> delay_connection(Executor& executor, std::unique_ptr<Connection> inner, uint64_t delay_ns) {
  auto line = std::make_shared<DelayLine>(executor, std::move(inner), delay_ns);
  executor.spawn(read_ahead(line));
  return std::make_unique<DelayedConnection>(std::move(line));
}

}  // namespace foreshard::runtime
