// Between the Meta interface's structs and the messages of wire.proto; what a peer sent is checked on the way in.
#pragma once

#include <optional>
#include <string>

#include "base/buffer.h"
#include "base/result.h"
#include "meta/meta.h"
#include "meta/wire.pb.h"

namespace foreshard::meta {

// rpc methods: 0x100 to 0x1ff are the metadata store's.
inline constexpr uint16_t kMethodGet = 0x100;
inline constexpr uint16_t kMethodRange = 0x101;
inline constexpr uint16_t kMethodCommit = 0x102;
inline constexpr uint16_t kMethodPoll = 0x103;
inline constexpr uint16_t kMethodGrantLease = 0x104;
inline constexpr uint16_t kMethodRenewLease = 0x105;
inline constexpr uint16_t kMethodRevokeLease = 0x106;

void to_wire(const Entry& entry, wire::Entry& message);
Entry from_wire(const wire::Entry& message);
wire::CommitRequest to_wire(const Transaction& transaction);
// kInvalid for targets and kinds that are not known.
Result<Transaction> from_wire(const wire::CommitRequest& message);
void to_wire(const Event& event, wire::Event& message);
Event from_wire(const wire::Event& message);

template <class Message>
Buffer to_buffer(const Message& message) {
  Buffer buffer = Buffer::allocate(message.ByteSizeLong());
  message.SerializeToArray(buffer.data(), static_cast<int>(buffer.size()));
  return buffer;
}

// kCorrupt when the bytes are no such message.
template <class Message>
Result<Message> parse(ConstByteSpan bytes) {
  Message message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return fail(ErrorCode::kCorrupt, "metadata message");
  return message;
}

}  // namespace foreshard::meta
