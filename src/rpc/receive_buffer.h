// ReceiveBuffer: the reading half of a connection. One large buffer is filled with whatever has arrived and
// parsed in place; long data parts go straight to where they are wanted. Owned by the one reader coroutine of
// the connection. Its calls end with kClosed when the peer closed between messages, with kUnavailable inside one.
#pragma once

#include <cstddef>

#include "base/buffer.h"
#include "runtime/io.h"

namespace foreshard::rpc {

class ReceiveBuffer {
 public:
  explicit ReceiveBuffer(runtime::Connection& connection);

  size_t available() const { return end_ - begin_; }
  // The next `count` bytes, all of them available; valid until the next call.
  ConstByteSpan peek(size_t count) const { return buffer_.subspan(begin_, count); }
  void consume(size_t count);
  // Reads until `count` bytes are available; count is at most kReserveBytes.
  runtime::Task<Result<void>> fill(size_t count);
  // Takes what is available, at most all of `into`; returns how much.
  size_t take_available(ByteSpan into);
  // Takes all of `into`, reading what is not there yet.
  runtime::Task<Result<void>> take(ByteSpan into);
  // Reads some bytes past the buffer, straight into `into`; only when nothing is available.
  runtime::Task<Result<size_t>> read_into(ByteSpan into);
  // Throws away `count` bytes, reading as many as it takes.
  runtime::Task<Result<void>> skip(size_t count);

  // Told of each message's data part: after a long one only little is read ahead of the next header, so that the
  // next long part too goes straight to its place instead of through the buffer.
  void note_data_bytes(size_t count) { read_little_ = count >= kDirectBytesMin; }

  // What is shorter than this is copied out of the buffer, longer parts are read in place.
  static constexpr size_t kDirectBytesMin = 16u << 10;
  static constexpr size_t kReserveBytes = 32u << 10;

 private:
  runtime::Task<Result<void>> read_more();
  runtime::Connection& connection_;
  Buffer buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
  bool read_little_ = false;
};

}  // namespace foreshard::rpc
