// Result<T>: a value or an Error. Expected failures travel as Results; the code says what the caller
// can do about it, the context (a string literal) where it arose, the detail what a person should read.
// No allocation happens unless a detail is given, so the data path carries codes and contexts only.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include <tl/expected.hpp>

namespace foreshard {

// What a caller can act on.
enum class ErrorCode : uint8_t {
  kUnavailable = 1,   // the other side is gone for now: retry, elsewhere or later
  kTimeout = 2,       // a deadline passed: the outcome is unknown
  kConflict = 3,      // a compare-and-swap lost or a record changed: re-read, decide anew
  kNotFound = 4,      // no such key, volume, file
  kExists = 5,        // it is there already
  kInvalid = 6,       // the request itself is wrong: do not retry
  kFenced = 7,        // a newer epoch rules: this driver ends (R-GUARD)
  kStaleSession = 8,  // the session is no longer the server's: open anew
  kNotHere = 9,       // this server does not host the range complete: re-read the map (R-PRESENT)
  kCorrupt = 10,      // a checksum does not match: repair from another copy, else EIO
  kNoSpace = 11,      // refused without effect, nothing changed
  kIo = 12,           // the device failed
  kLossy = 13,        // the server may have forgotten acknowledged writes (R-LOSS)
  kCancelled = 14,    // given up by the caller, or this side is closing
  kTooLarge = 15,     // over a stated bound
  kUnsupported = 16,  // a newer format or protocol
  kBusy = 17,         // held by another: the detail names whom
  kClosed = 18,       // the peer closed the connection in good order
  kPermission = 19,   // the system forbids it
};

const char* error_code_name(ErrorCode code);

struct Error {
  ErrorCode code;
  const char* context = "";  // a literal: where, in the code's words
  uint64_t id = 0;           // what it concerns: a page, a slot, an errno; 0 when nothing
  std::string detail = {};   // for people; empty on the data path

  // "context: detail (code, id)", for logs and terminals.
  std::string message() const;
};

template <class T>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using tl::expected<T, Error>::expected;
};

inline tl::unexpected<Error> fail(ErrorCode code, const char* context, uint64_t id = 0) {
  return tl::unexpected<Error>(Error{code, context, id, {}});
}
inline tl::unexpected<Error> fail(ErrorCode code, const char* context, std::string detail) {
  return tl::unexpected<Error>(Error{code, context, 0, std::move(detail)});
}
inline tl::unexpected<Error> fail(Error error) { return tl::unexpected<Error>(std::move(error)); }

// The Error for an errno of a system call; context names the call or the purpose.
Error error_from_errno(int error_number, const char* context, std::string detail = {});

}  // namespace foreshard

#define FORESHARD_CONCAT2(a, b) a##b
#define FORESHARD_CONCAT(a, b) FORESHARD_CONCAT2(a, b)
#define FORESHARD_TRY(result, ret, declaration, ...)    \
  auto result = __VA_ARGS__;                            \
  if (!result) [[unlikely]]                             \
    ret ::foreshard::fail(std::move(result.error()));   \
  declaration = std::move(*result)
#define FORESHARD_CHECK(result, ret, ...) \
  auto result = __VA_ARGS__;              \
  if (!result) [[unlikely]]               \
  ret ::foreshard::fail(std::move(result.error()))

// TRY(auto x, expression): x is the value, or the function returns the error.
#define TRY(declaration, ...) FORESHARD_TRY(FORESHARD_CONCAT(try_result_, __LINE__), return, declaration, __VA_ARGS__)
// TRY_VOID(expression): for Result<void>, or where the value is not wanted.
#define TRY_VOID(...) FORESHARD_CHECK(FORESHARD_CONCAT(try_result_, __LINE__), return, __VA_ARGS__)
// The same in a coroutine; the expression is usually `co_await call(...)`.
#define CO_TRY(declaration, ...) \
  FORESHARD_TRY(FORESHARD_CONCAT(try_result_, __LINE__), co_return, declaration, __VA_ARGS__)
#define CO_TRY_VOID(...) FORESHARD_CHECK(FORESHARD_CONCAT(try_result_, __LINE__), co_return, __VA_ARGS__)
