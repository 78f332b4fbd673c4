// What the program's exit status says, as `foreshard help exit-codes` documents it, and how an error is told to a
// person: what went wrong, and what to do next.
#pragma once

#include <string>

#include "base/result.h"

namespace foreshard::cli {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitNotFound = 3;
inline constexpr int kExitConflict = 4;     // busy, exists already, taken over by another
inline constexpr int kExitUnavailable = 5;  // the region or a server cannot be reached, or a deadline passed
inline constexpr int kExitNoSpace = 6;
inline constexpr int kExitDataLost = 7;  // checksums do not match, or a server came back without its data
inline constexpr int kExitInterrupted = 130;

int exit_code_of(ErrorCode code);
// "context: detail", without the code's name where the detail says it.
std::string describe(const Error& error);
// The text of `foreshard help exit-codes`.
std::string exit_codes_text();

}  // namespace foreshard::cli
