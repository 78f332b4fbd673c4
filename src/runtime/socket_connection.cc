#include "runtime/socket_connection.h"

#include <liburing.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/assert.h"
#include "runtime/iovec_cursor.h"

namespace foreshard::runtime {

namespace {

class SocketConnection;

// One direction of a connection: at most one operation, and the kernel's request for it.
class SocketSide : public PolledRequest {
 public:
  explicit SocketSide(SocketConnection& connection) : connection_(connection) {}
  void withdraw();

 protected:
  ~SocketSide() = default;
  // Does what can be done without waiting: the operation's result, or -EAGAIN.
  virtual int64_t attempt() = 0;
  // What start_read and start_write return.
  bool start(IoOp& op);
  void end(int64_t result);

  SocketConnection& connection_;
  IoOp* op_ = nullptr;

 private:
  bool try_now() final;
};

class SocketReader final : public SocketSide {
 public:
  using SocketSide::SocketSide;
  bool start(IoOp& op, ByteSpan into);

 private:
  int64_t attempt() override;
  void submit() override;
  void finished(int32_t result) override;
  ByteSpan into_;
};

class SocketWriter final : public SocketSide {
 public:
  using SocketSide::SocketSide;
  bool start(IoOp& op, std::span<const iovec> from);

 private:
  int64_t attempt() override;
  void submit() override;
  void finished(int32_t result) override;
  IovecCursor rest_;
  int64_t done_ = 0;
  msghdr message_ = {};
};

class SocketConnection final : public Connection {
 public:
  SocketConnection(Reactor& reactor, FileDescriptor socket, std::string peer, std::string peer_group)
      : reactor_(reactor),
        socket_(std::move(socket)),
        peer_(std::move(peer)),
        peer_group_(std::move(peer_group)),
        reader_(*this),
        writer_(*this) {}
  ~SocketConnection() override {
    reader_.withdraw();
    writer_.withdraw();
  }
  bool start_read(IoOp& op, ByteSpan into) override { return reader_.start(op, into); }
  bool start_write(IoOp& op, std::span<const iovec> from) override { return writer_.start(op, from); }
  void shutdown() override {
    if (std::exchange(shut_, true)) return;
    // This wakes what io_uring has pending on the socket; its results are turned into -ECANCELED.
    ::shutdown(socket_.get(), SHUT_RDWR);
  }
  std::string peer() const override { return peer_; }
  std::string peer_group() const override { return peer_group_.empty() ? peer_ : peer_group_; }

  Reactor& reactor() { return reactor_; }
  int fd() const { return socket_.get(); }
  bool usable() const { return !shut_ && reactor_.open(); }
  // Ends an operation without the kernel's help: at once, or through the ready queue so that others run.
  bool answer(IoOp& op, int64_t result) {
    op.result = result;
    if (reactor_.may_finish_inline()) return false;
    reactor_.post(op.waiter);
    return true;
  }

 private:
  Reactor& reactor_;
  FileDescriptor socket_;
  std::string peer_;
  std::string peer_group_;
  bool shut_ = false;
  SocketReader reader_;
  SocketWriter writer_;
};

// ---- SocketSide

bool SocketSide::start(IoOp& op) {
  const int64_t result = attempt();
  if (result != -EAGAIN) return connection_.answer(op, result);
  op_ = &op;
  op.owner = this;
  op.abandon = [](IoOp* abandoned) { static_cast<SocketSide*>(abandoned->owner)->withdraw(); };
  connection_.reactor().wait_for(*this);
  return true;
}

bool SocketSide::try_now() {
  const int64_t result = attempt();
  if (result == -EAGAIN) return false;
  end(result);
  return true;
}

void SocketSide::end(int64_t result) {
  IoOp* op = std::exchange(op_, nullptr);
  op->result = connection_.usable() ? result : -ECANCELED;
  op->abandon = nullptr;
  connection_.reactor().post(op->waiter);
}

void SocketSide::withdraw() {
  if (op_ == nullptr) return;
  connection_.reactor().withdraw(*this);
  IoOp* op = std::exchange(op_, nullptr);
  op->result = -ECANCELED;
  op->abandon = nullptr;
}

// ---- SocketReader

bool SocketReader::start(IoOp& op, ByteSpan into) {
  ASSERT(op_ == nullptr && !into.empty());
  if (!connection_.usable()) return connection_.answer(op, -ECANCELED);
  into_ = into;
  return SocketSide::start(op);
}

// How many bytes there were, -EAGAIN when there are none, or minus another errno.
int64_t SocketReader::attempt() {
  for (;;) {
    const ssize_t count = recv(connection_.fd(), into_.data(), into_.size(), MSG_DONTWAIT);
    if (count >= 0) return count;
    if (errno != EINTR) return -errno;
  }
}

void SocketReader::submit() {
  io_uring_sqe* sqe = connection_.reactor().prepare(*this);
  io_uring_prep_recv(sqe, connection_.fd(), into_.data(), into_.size(), 0);
  sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
}

void SocketReader::finished(int32_t result) {
  if ((result == -EINTR || result == -EAGAIN) && connection_.usable()) return submit();
  end(result);
}

// ---- SocketWriter

bool SocketWriter::start(IoOp& op, std::span<const iovec> from) {
  ASSERT(op_ == nullptr);
  if (!connection_.usable()) return connection_.answer(op, -ECANCELED);
  done_ = 0;
  rest_.reset(from);
  return SocketSide::start(op);
}

// All bytes sent so far when none are left, -EAGAIN when the socket is full, or minus another errno.
int64_t SocketWriter::attempt() {
  while (!rest_.at_end()) {
    const std::span<iovec> batch = rest_.next();
    msghdr message = {};
    message.msg_iov = batch.data();
    message.msg_iovlen = batch.size();
    const ssize_t count = sendmsg(connection_.fd(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0) {
      if (errno == EINTR) continue;
      return -errno;
    }
    done_ += count;
    rest_.advance(static_cast<size_t>(count));
  }
  return done_;
}

void SocketWriter::submit() {
  const std::span<iovec> batch = rest_.next();
  message_ = {};
  message_.msg_iov = batch.data();
  message_.msg_iovlen = batch.size();
  io_uring_sqe* sqe = connection_.reactor().prepare(*this);
  // MSG_WAITALL: the kernel goes on by itself after a partial send.
  io_uring_prep_sendmsg(sqe, connection_.fd(), &message_, MSG_NOSIGNAL | MSG_WAITALL);
  sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
}

void SocketWriter::finished(int32_t result) {
  if (result > 0) {
    done_ += result;
    rest_.advance(static_cast<size_t>(result));
  } else if (result < 0 && result != -EINTR && result != -EAGAIN) {
    return end(result);
  }
  if (!connection_.usable() || rest_.at_end()) return end(done_);
  submit();
}

}  // namespace

std::unique_ptr<Connection> make_socket_connection(Reactor& reactor, FileDescriptor socket, std::string peer,
                                                   std::string peer_group) {
  return std::make_unique<SocketConnection>(reactor, std::move(socket), std::move(peer), std::move(peer_group));
}

}  // namespace foreshard::runtime
