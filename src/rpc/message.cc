#include "rpc/message.h"

#include <algorithm>
#include <bit>

#include <fmt/format.h>

#include "base/crc32c.h"
#include "rpc/rpc.h"

namespace foreshard::rpc {

static_assert(std::endian::native == std::endian::little, "headers are sent as they lie in memory");

uint64_t admission_bytes(uint64_t data_bytes, uint64_t reply_data_bytes_max) {
  const uint64_t reply_bytes = reply_data_bytes_max != 0 ? reply_data_bytes_max : kUnknownReplyBytes;
  return data_bytes + std::min<uint64_t>(reply_bytes, kDataBytesMax);
}

void seal_header(MessageHeader& header) {
  header.header_crc = crc32c(object_bytes(header).first(offsetof(MessageHeader, header_crc)));
}

bool data_matches(const MessageHeader& header, ConstByteSpan data) {
  return (header.flags & kFlagDataUnchecked) != 0 || crc32c(data) == header.data_crc;
}

Result<MessageHeader> open_header(ConstByteSpan bytes, bool in_process) {
  const MessageHeader header = load_object<MessageHeader>(bytes);
  if (header.magic != kMessageMagic) return fail(ErrorCode::kCorrupt, "message magic", header.magic);
  if (header.version != kProtocolVersion) {
    return fail(ErrorCode::kUnsupported, "protocol version",
                fmt::format("the peer speaks version {}, this side version {}", header.version, kProtocolVersion));
  }
  if (header.header_crc != crc32c(bytes.first(offsetof(MessageHeader, header_crc))))
    return fail(ErrorCode::kCorrupt, "message header checksum");
  const auto kind = static_cast<MessageKind>(header.kind);
  if (kind != MessageKind::kRequest && kind != MessageKind::kReply && kind != MessageKind::kCancel)
    return fail(ErrorCode::kCorrupt, "message kind", header.kind);
  if ((header.flags & kFlagDataUnchecked) != 0 && !in_process)
    return fail(ErrorCode::kCorrupt, "message flags", header.flags);
  if (header.status > UINT8_MAX || (header.status != 0 && kind != MessageKind::kReply))
    return fail(ErrorCode::kCorrupt, "message status", header.status);
  if (header.control_bytes > kControlBytesMax || header.data_bytes > kDataBytesMax)
    return fail(ErrorCode::kCorrupt, "message length", std::max(header.control_bytes, header.data_bytes));
  if (kind == MessageKind::kCancel && (header.control_bytes != 0 || header.data_bytes != 0))
    return fail(ErrorCode::kCorrupt, "message length", std::max(header.control_bytes, header.data_bytes));
  return header;
}

}  // namespace foreshard::rpc
