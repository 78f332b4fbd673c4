#include "cli/exit_code.h"

namespace foreshard::cli {

int exit_code_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalid:
    case ErrorCode::kTooLarge: return kExitUsage;
    case ErrorCode::kNotFound: return kExitNotFound;
    case ErrorCode::kConflict:
    case ErrorCode::kExists:
    case ErrorCode::kFenced:
    case ErrorCode::kStaleSession:
    case ErrorCode::kBusy: return kExitConflict;
    case ErrorCode::kUnavailable:
    case ErrorCode::kTimeout:
    case ErrorCode::kClosed: return kExitUnavailable;
    case ErrorCode::kNoSpace: return kExitNoSpace;
    case ErrorCode::kCorrupt:
    case ErrorCode::kLossy: return kExitDataLost;
    case ErrorCode::kCancelled: return kExitInterrupted;
    case ErrorCode::kNotHere:
    case ErrorCode::kIo:
    case ErrorCode::kUnsupported:
    case ErrorCode::kPermission: return kExitFailure;
  }
  return kExitFailure;
}

std::string describe(const Error& error) {
  std::string text = error.context;
  if (error.detail.empty()) {
    if (!text.empty()) text += ": ";
    text += error_code_name(error.code);
    if (error.id != 0) text += " (" + std::to_string(error.id) + ")";
    return text;
  }
  if (!text.empty()) text += ": ";
  return text + error.detail;
}

std::string exit_codes_text() {
  return "Exit codes:\n"
         "    0  done\n"
         "    1  failed for a reason that the message tells\n"
         "    2  the command line or a value on it is not understood\n"
         "    3  no such volume, file or key\n"
         "    4  in conflict with what is there: attached, existing, running or taken over by another\n"
         "    5  the region or a server cannot be reached, or did not answer in time; try again\n"
         "    6  no space left\n"
         "    7  data is damaged or gone: a checksum does not match, or a server came back without its data\n"
         "  130  interrupted\n";
}

}  // namespace foreshard::cli
