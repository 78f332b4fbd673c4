// What goes over the wire: a fixed header, then control bytes, then data bytes, nothing between. All fields are
// little-endian. Three checksums: of the header (so that lengths can be trusted), of the control part, of the
// data part. The first eight bytes keep their place in every future version; the rest belongs to the version.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "base/result.h"

namespace foreshard::rpc {

inline constexpr uint32_t kMessageMagic = 0x43525346;  // "FSRC"
inline constexpr uint16_t kProtocolVersion = 1;

enum class MessageKind : uint8_t {
  kRequest = 1,
  kReply = 2,
  kCancel = 3,  // the caller waits no longer for the answer of call_id; no control, no data, no answer
};

// Flag: data_crc says nothing. Only on connections inside one process, where there is no way to be damaged on; from
// any other peer it is refused.
inline constexpr uint8_t kFlagDataUnchecked = 1;

struct MessageHeader {
  uint32_t magic = kMessageMagic;
  uint16_t version = kProtocolVersion;
  uint8_t kind = 0;
  uint8_t flags = 0;           // others than the ones above: zero when sent, ignored when received
  uint16_t method = 0;
  uint16_t status = 0;         // of a reply: 0 or an ErrorCode; the control part then is the text for people
  uint32_t control_bytes = 0;
  uint32_t data_bytes = 0;
  uint32_t control_crc = 0;
  uint64_t call_id = 0;        // the caller's choice, unique among its calls under way
  uint64_t remaining_ns = 0;   // of a request: until its deadline, counted from now; UINT64_MAX: none
  uint64_t error_id = 0;       // of a reply with an error: Error::id
  uint32_t data_crc = 0;
  uint32_t reply_data_bytes_max = 0;  // of a request: room for the reply's data; 0: not said
  uint32_t endpoint = 0;       // of a request: which service of the process; 0: the one that accepted the connection
  uint32_t header_crc = 0;     // of all bytes before it
};
static_assert(sizeof(MessageHeader) == 64);
static_assert(offsetof(MessageHeader, version) == 4 && offsetof(MessageHeader, call_id) == 24);
static_assert(offsetof(MessageHeader, data_crc) == 48 && offsetof(MessageHeader, header_crc) == 60);

inline constexpr size_t kHeaderBytes = sizeof(MessageHeader);

// What a call counts for where bytes under way are bounded, on either side: its data and room for its reply's.
inline constexpr uint64_t kUnknownReplyBytes = 64u << 10;  // for a reply of which nothing is said
uint64_t admission_bytes(uint64_t data_bytes, uint64_t reply_data_bytes_max);

// Fills in header_crc; the other fields are final.
void seal_header(MessageHeader& header);

// Whether a data part is what was sent.
bool data_matches(const MessageHeader& header, ConstByteSpan data);

// Checks what 64 received bytes say, in the order in which it can be trusted: magic (kCorrupt), version
// (kUnsupported, naming both), checksum (kCorrupt), kind, flags, status and lengths (kCorrupt).
Result<MessageHeader> open_header(ConstByteSpan bytes, bool in_process);

}  // namespace foreshard::rpc
