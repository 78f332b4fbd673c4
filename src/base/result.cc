#include "base/result.h"

#include <cerrno>
#include <cstring>

namespace foreshard {

const char* error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kUnavailable: return "unavailable";
    case ErrorCode::kTimeout: return "timeout";
    case ErrorCode::kConflict: return "conflict";
    case ErrorCode::kNotFound: return "not found";
    case ErrorCode::kExists: return "exists";
    case ErrorCode::kInvalid: return "invalid";
    case ErrorCode::kFenced: return "fenced";
    case ErrorCode::kStaleSession: return "stale session";
    case ErrorCode::kNotHere: return "not here";
    case ErrorCode::kCorrupt: return "corrupt";
    case ErrorCode::kNoSpace: return "no space";
    case ErrorCode::kIo: return "i/o error";
    case ErrorCode::kLossy: return "lossy";
    case ErrorCode::kCancelled: return "cancelled";
    case ErrorCode::kTooLarge: return "too large";
    case ErrorCode::kUnsupported: return "unsupported";
    case ErrorCode::kBusy: return "busy";
    case ErrorCode::kClosed: return "closed";
    case ErrorCode::kPermission: return "permission denied";
  }
  return "unknown";
}

std::string Error::message() const {
  std::string text = context;
  if (!detail.empty()) {
    if (!text.empty()) text += ": ";
    text += detail;
  }
  text += " (";
  text += error_code_name(code);
  if (id != 0) {
    text += ", ";
    text += std::to_string(id);
  }
  text += ")";
  return text;
}

namespace {

ErrorCode code_from_errno(int error_number) {
  switch (error_number) {
    case ENOENT: return ErrorCode::kNotFound;
    case EEXIST: return ErrorCode::kExists;
    case EINVAL: return ErrorCode::kInvalid;
    case ENOSPC:
    case EDQUOT: return ErrorCode::kNoSpace;
    case EACCES:
    case EPERM:
    case EROFS: return ErrorCode::kPermission;
    case EBUSY:
    case EADDRINUSE: return ErrorCode::kBusy;
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EAGAIN:
    case EMFILE:
    case ENFILE: return ErrorCode::kUnavailable;
    case ETIMEDOUT: return ErrorCode::kTimeout;
    case ECANCELED: return ErrorCode::kCancelled;
    default: return ErrorCode::kIo;
  }
}

}  // namespace

Error error_from_errno(int error_number, const char* context, std::string detail) {
  if (!detail.empty()) detail += ": ";
  detail += std::strerror(error_number);
  return Error{code_from_errno(error_number), context, static_cast<uint64_t>(error_number), std::move(detail)};
}

}  // namespace foreshard
