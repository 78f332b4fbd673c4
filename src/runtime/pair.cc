#include "runtime/pair.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/assert.h"
#include "runtime/iovec_cursor.h"

namespace foreshard::runtime {

namespace {

// A ring of bytes that grows up to a bound.
class ByteRing {
 public:
  explicit ByteRing(size_t bytes_max) : bytes_max_(bytes_max) {}
  size_t size() const { return size_; }

  size_t push(ConstByteSpan from) {
    const size_t count = std::min(from.size(), bytes_max_ - size_);
    if (size_ + count > storage_.size()) grow(size_ + count);
    for (size_t done = 0; done < count;) {
      const size_t at = (begin_ + size_) % storage_.size();
      const size_t part = std::min(count - done, storage_.size() - at);
      std::memcpy(storage_.data() + at, from.data() + done, part);
      size_ += part;
      done += part;
    }
    return count;
  }

  size_t pop(ByteSpan into) {
    const size_t count = std::min(into.size(), size_);
    for (size_t done = 0; done < count;) {
      const size_t part = std::min(count - done, storage_.size() - begin_);
      std::memcpy(into.data() + done, storage_.data() + begin_, part);
      begin_ = (begin_ + part) % storage_.size();
      size_ -= part;
      done += part;
    }
    if (size_ == 0) begin_ = 0;
    return count;
  }

 private:
  void grow(size_t wanted) {
    size_t capacity = std::max<size_t>(storage_.size(), 4096);
    while (capacity < wanted) capacity *= 2;
    std::vector<std::byte> larger(std::min(capacity, bytes_max_));
    const size_t kept = pop({larger.data(), larger.size()});
    storage_ = std::move(larger);
    begin_ = 0;
    size_ = kept;
  }
  size_t bytes_max_;
  std::vector<std::byte> storage_;
  size_t begin_ = 0;
  size_t size_ = 0;
};

// One direction. The writer fills, the reader takes; either may wait for the other.
class Pipe {
 public:
  Pipe(Executor& executor, size_t bytes_max) : executor_(executor), ring_(bytes_max) {}

  bool start_read(IoOp& op, ByteSpan into) {
    ASSERT(reader_ == nullptr && !into.empty());
    if (read_closed_) return answer(op, -ECANCELED);
    size_t count = ring_.pop(into);
    while (writer_ != nullptr && count < into.size()) count += take_from_writer(into.subspan(count));
    if (writer_ != nullptr) fill_ring();
    if (count > 0) return answer(op, static_cast<int64_t>(count));
    if (write_closed_) return answer(op, 0);
    wait(op, reader_, [](IoOp* abandoned) { static_cast<Pipe*>(abandoned->owner)->reader_ = nullptr; });
    into_ = into;
    return true;
  }

  bool start_write(IoOp& op, std::span<const iovec> from) {
    ASSERT(writer_ == nullptr);
    if (write_closed_) return answer(op, -ECANCELED);
    if (read_closed_) return answer(op, -EPIPE);
    rest_.reset(from);
    done_ = 0;
    if (reader_ != nullptr) {
      size_t count = 0;
      while (!rest_.at_end() && count < into_.size()) count += copy_front(into_.subspan(count));
      if (count > 0) end(reader_, static_cast<int64_t>(count));
    }
    push_what_fits();
    if (rest_.at_end()) return answer(op, done_);
    wait(op, writer_, [](IoOp* abandoned) { static_cast<Pipe*>(abandoned->owner)->writer_ = nullptr; });
    return true;
  }

  // The writing end is gone: the reader gets what is there, then 0.
  void close_write() {
    if (std::exchange(write_closed_, true)) return;
    if (writer_ != nullptr) end(writer_, -ECANCELED);
    if (reader_ != nullptr) end(reader_, 0);
  }
  void close_read() {
    if (std::exchange(read_closed_, true)) return;
    if (reader_ != nullptr) end(reader_, -ECANCELED);
    if (writer_ != nullptr) end(writer_, -EPIPE);
  }

 private:
  static constexpr uint32_t kInlineAnswers = 16;

  // Answers at once, but now and then through the ready queue, so that two ends which never wait for each
  // other let the rest of the executor run.
  bool answer(IoOp& op, int64_t result) {
    op.result = result;
    if (++answers_ % kInlineAnswers != 0) return false;
    executor_.post(op.waiter);
    return true;
  }
  void wait(IoOp& op, IoOp*& slot, void (*abandon)(IoOp*)) {
    slot = &op;
    op.owner = this;
    op.abandon = abandon;
  }
  void end(IoOp*& slot, int64_t result) {
    IoOp* op = std::exchange(slot, nullptr);
    op->result = result;
    op->abandon = nullptr;
    executor_.post(op->waiter);
  }
  size_t copy_front(ByteSpan into) {
    const iovec front = rest_.front();
    const size_t count = std::min(front.iov_len, into.size());
    std::memcpy(into.data(), front.iov_base, count);
    rest_.advance(count);
    done_ += static_cast<int64_t>(count);
    return count;
  }
  size_t take_from_writer(ByteSpan into) {
    const size_t count = copy_front(into);
    if (rest_.at_end()) end(writer_, done_);
    return count;
  }
  void push_what_fits() {
    while (!rest_.at_end()) {
      const iovec front = rest_.front();
      const size_t count = ring_.push({static_cast<const std::byte*>(front.iov_base), front.iov_len});
      if (count == 0) return;
      rest_.advance(count);
      done_ += static_cast<int64_t>(count);
    }
  }
  void fill_ring() {
    push_what_fits();
    if (rest_.at_end()) end(writer_, done_);
  }

  Executor& executor_;
  ByteRing ring_;
  IoOp* reader_ = nullptr;
  ByteSpan into_;
  IoOp* writer_ = nullptr;
  IovecCursor rest_;
  int64_t done_ = 0;
  uint32_t answers_ = 0;
  bool read_closed_ = false;
  bool write_closed_ = false;
};

struct PairState {
  PairState(Executor& executor, size_t bytes_max) : pipes{{executor, bytes_max}, {executor, bytes_max}} {}
  Pipe pipes[2];
  MeetingPlace meeting_place;
};

class PairEnd final : public Connection {
 public:
  PairEnd(std::shared_ptr<PairState> state, int side, std::string name)
      : state_(std::move(state)), out_(state_->pipes[side]), in_(state_->pipes[1 - side]), name_(std::move(name)) {}
  ~PairEnd() override { shutdown(); }
  bool start_read(IoOp& op, ByteSpan into) override { return in_.start_read(op, into); }
  bool start_write(IoOp& op, std::span<const iovec> from) override { return out_.start_write(op, from); }
  void shutdown() override {
    out_.close_write();
    in_.close_read();
  }
  std::string peer() const override { return name_; }
  MeetingPlace* meeting_place() override { return &state_->meeting_place; }

 private:
  std::shared_ptr<PairState> state_;
  Pipe& out_;
  Pipe& in_;
  std::string name_;
};

}  // namespace

ConnectionPair make_pair(Executor& executor, std::string name, size_t buffer_bytes_max) {
  auto state = std::make_shared<PairState>(executor, buffer_bytes_max);
  auto first = std::make_unique<PairEnd>(state, 0, name);
  auto second = std::make_unique<PairEnd>(state, 1, name);
  return {std::move(first), std::move(second)};
}

}  // namespace foreshard::runtime
