// The calls of the control sockets. A driver's socket answers the first group, a region's the second (beside the
// metadata service on the same socket).
#pragma once

#include <cstdint>

#include "app/control.pb.h"
#include "base/result.h"
#include "rpc/rpc.h"

namespace foreshard::app {

inline constexpr uint16_t kMethodDriverStatus = 0x300;
inline constexpr uint16_t kMethodDriverHeat = 0x301;
inline constexpr uint16_t kMethodDriverDetach = 0x302;  // answered when it has begun
inline constexpr uint16_t kMethodDriverPrefetchMode = 0x303;
inline constexpr uint16_t kMethodDriverRecordStart = 0x304;  // for as long as the connection lives
inline constexpr uint16_t kMethodDriverRecordTake = 0x305;
inline constexpr uint16_t kMethodDriverExplain = 0x306;
inline constexpr uint16_t kMethodRegionStatus = 0x310;

// At most this many accesses wait for a taker, and travel in one batch.
inline constexpr size_t kRecordedAccessesMax = 65536;

// A message as the control part of a call or reply.
template <class Message>
Buffer to_control(const Message& message) {
  Buffer buffer = Buffer::allocate(message.ByteSizeLong());
  message.SerializeToArray(buffer.data(), static_cast<int>(buffer.size()));
  return buffer;
}

template <class Message>
Result<Message> from_control(ConstByteSpan bytes) {
  Message message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return fail(ErrorCode::kInvalid, "control message", std::string("does not parse"));
  }
  return message;
}

template <class Message>
rpc::Reply reply_of(const Message& message) {
  rpc::Reply reply;
  reply.control = to_control(message);
  return reply;
}

// One call with protobufs both ways.
template <class Answer, class Question>
runtime::Task<Result<Answer>> call_control(rpc::Channel& channel, uint16_t method, Question question,
                                           uint64_t deadline_ns) {
  const Buffer control = to_control(question);
  rpc::Call call;
  call.method = method;
  call.control = control.span();
  call.deadline_ns = deadline_ns;
  CO_TRY(rpc::Reply reply, co_await channel.call(call));
  co_return from_control<Answer>(reply.control.span());
}

}  // namespace foreshard::app
