#include "front/nbd/reply_encoding.h"

#include <algorithm>

namespace foreshard::front::nbd {
namespace {

SimpleReply simple_reply(const Request& request, WireError error) {
  SimpleReply reply;
  reply.magic = kSimpleReplyMagic;
  reply.error = error;
  reply.cookie = request.cookie;
  return reply;
}

// Every request is answered by one chunk.
ChunkHeader chunk_header(const Request& request, ChunkType type, size_t length) {
  ChunkHeader header;
  header.magic = kStructuredReplyMagic;
  header.flags = kChunkDone;
  header.type = type;
  header.cookie = request.cookie;
  header.length = static_cast<uint32_t>(length);
  return header;
}

}  // namespace

ReplyHeader ReplyHeader::done(const Request& request) {
  ReplyHeader header;
  header.append(simple_reply(request, kOk));
  return header;
}

ReplyHeader ReplyHeader::data(const Request& request, bool structured, size_t data_bytes) {
  ReplyHeader header;
  if (!structured) {
    header.append(simple_reply(request, kOk));
    return header;
  }
  DataChunk chunk;
  chunk.header = chunk_header(request, kChunkOffsetData, sizeof(Be64) + data_bytes);
  chunk.offset = request.offset;
  header.append(chunk);
  return header;
}

ReplyHeader ReplyHeader::hole(const Request& request) {
  HoleChunk chunk;
  chunk.header = chunk_header(request, kChunkOffsetHole, sizeof(HoleChunk) - sizeof(ChunkHeader));
  chunk.offset = request.offset;
  chunk.length = request.length;
  ReplyHeader header;
  header.append(chunk);
  return header;
}

ReplyHeader ReplyHeader::status(const Request& request, size_t extents_bytes) {
  StatusChunk chunk;
  chunk.header = chunk_header(request, kChunkBlockStatus, sizeof(Be32) + extents_bytes);
  chunk.context_id = kAllocationContextId;
  ReplyHeader header;
  header.append(chunk);
  return header;
}

ReplyHeader ReplyHeader::error(const Request& request, bool structured, WireError error, std::string_view reason) {
  ReplyHeader header;
  if (!structured) {
    header.append(simple_reply(request, error));
    return header;
  }
  reason = reason.substr(0, kBytesMax - sizeof(ErrorChunk));
  ErrorChunk chunk;
  chunk.header = chunk_header(request, kChunkError, sizeof(Be32) + sizeof(Be16) + reason.size());
  chunk.error = error;
  chunk.message_bytes = static_cast<uint16_t>(reason.size());
  header.append(chunk);
  std::memcpy(header.bytes_ + header.size_, reason.data(), reason.size());
  header.size_ += reason.size();
  return header;
}

Buffer encode_extents(const Request& request, const std::vector<volume::Extent>& extents) {
  StatusExtent described[kExtentsMax];
  size_t count = 0;
  uint64_t left = request.length;
  for (const volume::Extent& extent : extents) {
    if (left == 0 || count == kExtentsMax || extent.bytes == 0) break;
    const uint64_t length = std::min(extent.bytes, left);
    left -= length;
    described[count].length = static_cast<uint32_t>(length);
    described[count++].flags = (extent.hole ? kStateHole : 0) | (extent.zero ? kStateZero : 0);
  }
  return Buffer::copy_of(std::as_bytes(std::span(described, count)));
}

}  // namespace foreshard::front::nbd
