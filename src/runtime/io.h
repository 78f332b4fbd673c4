// The world as a process sees it: clock, files on a disk, byte streams over a network, randomness.
// Two implementations each: the kernel's (reactor.h) and the simulator's (sim_world.h). Everything above
// this layer reaches the world through a Runtime& and nothing else.
//
// Data-path calls are awaitables without allocation: the awaiter is the operation (IoOp), started when
// awaited. An IoOp destroyed while pending (only in simulation, when a process is killed) withdraws itself.
#pragma once

#include <sys/uio.h>

#include <coroutine>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/random.h"
#include "base/result.h"
#include "runtime/executor.h"

namespace foreshard::runtime {

// One operation under way. The implementation sets `result` (bytes, or minus an errno) and posts `waiter`.
struct IoOp {
  IoOp() = default;
  IoOp(const IoOp&) = delete;
  IoOp& operator=(const IoOp&) = delete;
  ~IoOp() {
    if (abandon != nullptr) abandon(this);
  }
  std::coroutine_handle<> waiter;
  int64_t result = 0;
  // Set by the implementation while the operation is pending, cleared when it ends.
  void (*abandon)(IoOp*) = nullptr;
  void* owner = nullptr;  // for the implementation
};

// An open file. Offsets, lengths and addresses are multiples of kPageBytes (the file is opened O_DIRECT
// where the file system can). Operations on overlapping ranges are not ordered among themselves.
class File {
 public:
  virtual ~File() = default;
  // Each returns false when the operation is done already (op.result is set), true when it is pending.
  virtual bool start_read(IoOp& op, uint64_t offset, ByteSpan into) = 0;
  virtual bool start_write(IoOp& op, uint64_t offset, std::span<const iovec> from) = 0;
  // fdatasync: all writes that ended before the start are durable at the end. An error is never retried.
  virtual bool start_sync(IoOp& op) = 0;
  virtual Result<uint64_t> size() = 0;
  // Grows the file to `size` with space reserved (fallocate); contents of the new part read as zero.
  virtual Result<void> allocate(uint64_t size) = 0;

  class ReadAwaiter;
  class WriteAwaiter;
  class SyncAwaiter;
  // Result<void>: kIo when the device fails or the end of the file comes first.
  ReadAwaiter read(uint64_t offset, ByteSpan into);
  WriteAwaiter write(uint64_t offset, ConstByteSpan from);
  SyncAwaiter sync();
};

// A directory on one disk. Control-path calls: short, synchronous, rare.
class Disk {
 public:
  virtual ~Disk() = default;
  enum class Open { kExisting, kCreate };
  // Paths are relative to the disk's directory; folders are made as needed on kCreate. kBusy when the file is open
  // already, by anyone, or the writes of a process that was killed are still under way.
  virtual Result<std::unique_ptr<File>> open(const std::string& path, Open mode) = 0;
  virtual Result<bool> exists(const std::string& path) = 0;
  virtual Result<void> remove(const std::string& path) = 0;
  virtual Result<void> rename(const std::string& from, const std::string& to) = 0;
  virtual Result<std::vector<std::string>> list(const std::string& folder) = 0;
  // Makes creations, removals and renames in a folder durable.
  virtual Result<void> sync_folder(const std::string& folder) = 0;
  virtual Result<uint64_t> free_bytes() = 0;
  // Where the disk is for libraries that open files themselves (RocksDB); empty in simulation.
  virtual std::string host_path() const = 0;
};

// Where the two ends of a connection inside one process find each other: the accepting side may leave something of
// its own here for the connecting side. What it is, the layer above knows.
struct MeetingPlace {
  std::weak_ptr<void> accepting;
};

// An ordered byte stream to one peer. One reader and one writer at a time.
class Connection {
 public:
  virtual ~Connection() = default;
  // op.result: bytes read (at least 1), 0 when the peer closed in good order, or minus an errno.
  virtual bool start_read(IoOp& op, ByteSpan into) = 0;
  // Writes all of it; op.result is the sum, or minus an errno. The iovecs must live until the end.
  virtual bool start_write(IoOp& op, std::span<const iovec> from) = 0;
  // Ends the stream both ways: pending and later operations end with -ECANCELED. May be called any time.
  virtual void shutdown() = 0;
  // For logs: who is at the other end, as far as known.
  virtual std::string peer() const = 0;
  // Whose connection it is where connections are shared out: the same for all of one process (unix sockets) or of one
  // host (TCP; of one /64 with IPv6).
  virtual std::string peer_group() const { return peer(); }
  // Of a connection whose bytes never leave this process's memory: what both ends see. Null for all others.
  virtual MeetingPlace* meeting_place() { return nullptr; }

  class ReadAwaiter;
  class WriteAwaiter;
  ReadAwaiter read(ByteSpan into);                      // Result<size_t>
  WriteAwaiter write(std::span<const iovec> from);      // Result<void>
};

// One accept() at a time; it must have ended before the listener is destroyed.
class Listener {
 public:
  virtual ~Listener() = default;
  // kCancelled after shutdown(). kUnavailable when this process is out of files for the moment.
  virtual Task<Result<std::unique_ptr<Connection>>> accept() = 0;
  virtual void shutdown() = 0;
  // The address with what the system chose filled in (a TCP port).
  virtual std::string address() const = 0;
};

// Addresses: "unix:/path", "tcp:host:port", "local:name" (a pair inside this process, no kernel between).
// In simulation any address names a simulated endpoint.
class Network {
 public:
  virtual ~Network() = default;
  // kUnavailable when nobody listens there; kTimeout at the deadline.
  virtual Task<Result<std::unique_ptr<Connection>>> connect(const std::string& address, uint64_t deadline_ns) = 0;
  // unix sockets are made with mode 0600; a stale one (nobody listens) is replaced, a live one is kBusy.
  virtual Result<std::unique_ptr<Listener>> listen(const std::string& address) = 0;
};

// One process's (or core's) world.
class Runtime {
 public:
  virtual ~Runtime() = default;
  virtual Executor& executor() = 0;
  virtual Network& network() = 0;
  // A disk rooted at a folder (real: of the host; simulated: of the node), made if missing.
  virtual Result<std::unique_ptr<Disk>> open_disk(const std::string& folder) = 0;
  virtual Random& random() = 0;
  // Nanoseconds since 1970, for records that people read; never for decisions.
  virtual uint64_t wall_ns() = 0;
  uint64_t now_ns() { return executor().now_ns(); }
};

// ---- awaiters

namespace detail {
struct AwaiterBase : IoOp {
  bool await_ready() { return false; }
  Result<void> whole(uint64_t wanted, const char* context) const {
    if (result < 0) return foreshard::fail(error_from_errno(static_cast<int>(-result), context));
    if (static_cast<uint64_t>(result) != wanted)
      return foreshard::fail(ErrorCode::kIo, context, static_cast<uint64_t>(result));
    return {};
  }
};
}  // namespace detail

class File::ReadAwaiter : public detail::AwaiterBase {
 public:
  ReadAwaiter(File& f, uint64_t o, ByteSpan s) : file_(f), offset_(o), into_(s) {}
  bool await_suspend(std::coroutine_handle<> h) {
    waiter = h;
    return file_.start_read(*this, offset_, into_);
  }
  Result<void> await_resume() { return whole(into_.size(), "file read"); }

 private:
  File& file_;
  uint64_t offset_;
  ByteSpan into_;
};

class File::WriteAwaiter : public detail::AwaiterBase {
 public:
  WriteAwaiter(File& f, uint64_t o, ConstByteSpan s)
      : file_(f), offset_(o), from_{const_cast<std::byte*>(s.data()), s.size()} {}
  bool await_suspend(std::coroutine_handle<> h) {
    waiter = h;
    return file_.start_write(*this, offset_, {&from_, 1});
  }
  Result<void> await_resume() { return whole(from_.iov_len, "file write"); }

 private:
  File& file_;
  uint64_t offset_;
  iovec from_;
};

class File::SyncAwaiter : public detail::AwaiterBase {
 public:
  explicit SyncAwaiter(File& f) : file_(f) {}
  bool await_suspend(std::coroutine_handle<> h) {
    waiter = h;
    return file_.start_sync(*this);
  }
  Result<void> await_resume() { return whole(0, "fdatasync"); }

 private:
  File& file_;
};

inline File::ReadAwaiter File::read(uint64_t offset, ByteSpan into) { return ReadAwaiter(*this, offset, into); }
inline File::WriteAwaiter File::write(uint64_t offset, ConstByteSpan from) { return WriteAwaiter(*this, offset, from); }
inline File::SyncAwaiter File::sync() { return SyncAwaiter(*this); }

class Connection::ReadAwaiter : public detail::AwaiterBase {
 public:
  ReadAwaiter(Connection& c, ByteSpan s) : connection_(c), into_(s) {}
  bool await_suspend(std::coroutine_handle<> h) {
    waiter = h;
    return connection_.start_read(*this, into_);
  }
  Result<size_t> await_resume() {
    if (result < 0) return foreshard::fail(error_from_errno(static_cast<int>(-result), "connection read"));
    return static_cast<size_t>(result);
  }

 private:
  Connection& connection_;
  ByteSpan into_;
};

class Connection::WriteAwaiter : public detail::AwaiterBase {
 public:
  WriteAwaiter(Connection& c, std::span<const iovec> s) : connection_(c), from_(s) {}
  bool await_suspend(std::coroutine_handle<> h) {
    waiter = h;
    return connection_.start_write(*this, from_);
  }
  Result<void> await_resume() {
    if (result < 0) return foreshard::fail(error_from_errno(static_cast<int>(-result), "connection write"));
    return {};
  }

 private:
  Connection& connection_;
  std::span<const iovec> from_;
};

inline Connection::ReadAwaiter Connection::read(ByteSpan into) { return ReadAwaiter(*this, into); }
inline Connection::WriteAwaiter Connection::write(std::span<const iovec> from) { return WriteAwaiter(*this, from); }

}  // namespace foreshard::runtime
