#include "front/nbd/request.h"

namespace foreshard::front::nbd {
namespace {

void refuse(Request& request, WireError error, const char* reason) {
  request.refusal = error;
  request.reason = reason;
}

// FUA is valid on every command, by the specification; the others belong to one each.
uint16_t flags_allowed(const Request& request, const Agreement& agreement) {
  switch (request.command) {
    case kCmdRead: return kCmdFlagFua | (agreement.structured_replies ? kCmdFlagDf : 0);
    case kCmdWriteZeroes: return kCmdFlagFua | kCmdFlagNoHole;
    case kCmdBlockStatus: return kCmdFlagFua | kCmdFlagReqOne;
    default: return kCmdFlagFua;
  }
}

bool changes_data(uint16_t command) {
  return command == kCmdWrite || command == kCmdTrim || command == kCmdWriteZeroes;
}

void check_range(Request& request, const Agreement& agreement) {
  if (request.length == 0) return refuse(request, kEInval, "length is zero");
  const bool outside = request.offset > agreement.size_bytes || request.length > agreement.size_bytes - request.offset;
  if (outside) {
    const bool takes_space = request.command == kCmdWrite || request.command == kCmdWriteZeroes;
    return refuse(request, takes_space ? kENoSpc : kEInval, "range is outside the export");
  }
  const bool has_payload = request.command == kCmdRead || request.command == kCmdWrite;
  if (has_payload && request.length > kPayloadBytesMax) {
    refuse(request, request.has(kCmdFlagDf) ? kEOverflow : kEInval, "longer than the maximum block size");
  }
}

}  // namespace

bool decode_request(const RequestHeader& header, Request& request) {
  request.flags = header.flags;
  request.command = header.command;
  request.cookie = header.cookie;
  request.offset = header.offset;
  request.length = header.length;
  request.refusal = kOk;
  return header.magic == kRequestMagic;
}

void check_request(Request& request, const Agreement& agreement) {
  if (request.command > kCmdBlockStatus) return refuse(request, kEInval, "unknown command");
  if ((request.flags & ~flags_allowed(request, agreement)) != 0) {
    return refuse(request, kEInval, "flag unknown, or not valid for this command");
  }
  if (request.command == kCmdFlush) {
    if (request.offset != 0 || request.length != 0) refuse(request, kEInval, "a flush has no range");
    return;
  }
  if (agreement.read_only && changes_data(request.command)) return refuse(request, kEPerm, "export is read-only");
  if (request.command == kCmdBlockStatus && !agreement.allocation_context) {
    return refuse(request, kEInval, "no metadata context was negotiated");
  }
  check_range(request, agreement);
}

WireError wire_error(ErrorCode code) {
  switch (code) {
    case ErrorCode::kNoSpace: return kENoSpc;
    case ErrorCode::kInvalid: return kEInval;
    case ErrorCode::kPermission: return kEPerm;
    case ErrorCode::kUnsupported: return kENotSup;
    case ErrorCode::kTooLarge: return kEOverflow;
    case ErrorCode::kFenced:
    case ErrorCode::kCancelled:
    case ErrorCode::kClosed: return kEShutdown;
    default: return kEIo;
  }
}

}  // namespace foreshard::front::nbd
