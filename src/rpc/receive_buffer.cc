#include "rpc/receive_buffer.h"

#include <algorithm>
#include <cstring>

#include "base/assert.h"

namespace foreshard::rpc {
namespace {

constexpr size_t kCapacityBytes = 256u << 10;
constexpr size_t kLittleBytes = 1024;

}  // namespace

ReceiveBuffer::ReceiveBuffer(runtime::Connection& connection)
    : connection_(connection), buffer_(Buffer::allocate(kCapacityBytes)) {}

void ReceiveBuffer::consume(size_t count) {
  ASSERT(count <= available(), count, available());
  begin_ += count;
  if (begin_ == end_) begin_ = end_ = 0;
}

runtime::Task<Result<void>> ReceiveBuffer::read_more() {
  // The rest of a message moves to the front when little room is left behind it.
  if (kCapacityBytes - end_ < 2 * kReserveBytes && begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, available());
    end_ -= begin_;
    begin_ = 0;
  }
  const size_t room = read_little_ ? kLittleBytes : kCapacityBytes - end_;
  Result<size_t> count = co_await connection_.read(buffer_.subspan(end_, room));
  if (!count) co_return fail(std::move(count.error()));
  if (*count == 0) {
    if (available() == 0) co_return fail(ErrorCode::kClosed, "peer closed the connection");
    co_return fail(ErrorCode::kUnavailable, "peer closed the connection inside a message");
  }
  end_ += *count;
  co_return Result<void>();
}

runtime::Task<Result<void>> ReceiveBuffer::fill(size_t count) {
  ASSERT(count <= kReserveBytes, count);
  while (available() < count) {
    Result<void> outcome = co_await read_more();
    if (!outcome) co_return outcome;
  }
  co_return Result<void>();
}

size_t ReceiveBuffer::take_available(ByteSpan into) {
  const size_t count = std::min(into.size(), available());
  if (count == 0) return 0;
  std::memcpy(into.data(), buffer_.data() + begin_, count);
  consume(count);
  return count;
}

runtime::Task<Result<void>> ReceiveBuffer::take(ByteSpan into) {
  into = into.subspan(take_available(into));
  while (into.size() >= kDirectBytesMin) {
    Result<size_t> count = co_await read_into(into);
    if (!count) co_return fail(std::move(count.error()));
    into = into.subspan(*count);
  }
  if (!into.empty()) {
    Result<void> outcome = co_await fill(into.size());
    if (!outcome) co_return outcome;
    take_available(into);
  }
  co_return Result<void>();
}

runtime::Task<Result<size_t>> ReceiveBuffer::read_into(ByteSpan into) {
  ASSERT(available() == 0 && !into.empty());
  Result<size_t> count = co_await connection_.read(into);
  if (!count) co_return fail(std::move(count.error()));
  if (*count == 0) co_return fail(ErrorCode::kUnavailable, "peer closed the connection inside a message");
  co_return *count;
}

runtime::Task<Result<void>> ReceiveBuffer::skip(size_t count) {
  for (;;) {
    const size_t now = std::min(count, available());
    consume(now);
    count -= now;
    if (count == 0) co_return Result<void>();
    Result<void> outcome = co_await read_more();
    if (!outcome) co_return outcome;
  }
}

}  // namespace foreshard::rpc
