// Request: one command of a client, decoded and judged before anything is done about it. Pure.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "front/nbd/message.h"

namespace foreshard::front::nbd {

struct Request {
  uint64_t cookie = 0;
  uint64_t offset = 0;
  uint32_t length = 0;
  uint16_t flags = 0;
  uint16_t command = 0;
  WireError refusal = kOk;       // what check_request found
  const char* reason = "";       // the same for people

  bool has(CommandFlag flag) const { return (flags & flag) != 0; }
  // Bytes that follow the header on the wire, whatever will be made of them.
  uint32_t payload_bytes() const { return command == kCmdWrite ? length : 0; }
};

// What a client and its export have agreed on.
struct Agreement {
  uint64_t size_bytes = 0;
  bool read_only = false;
  bool structured_replies = false;
  bool allocation_context = false;
};

// Nothing when the magic is wrong: the stream is out of step and cannot be trusted any further.
bool decode_request(const RequestHeader& header, Request& request);
// Sets refusal and reason when the request must be refused.
void check_request(Request& request, const Agreement& agreement);

// The error number that the client is told.
WireError wire_error(ErrorCode code);

}  // namespace foreshard::front::nbd
