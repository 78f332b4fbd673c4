// Proves which requests are refused, and with which error.
#include "front/nbd/request.h"

#include <gtest/gtest.h>

namespace foreshard::front::nbd {
namespace {

constexpr uint64_t kSize = 100 << 20;

WireError judge(uint16_t command, uint64_t offset, uint32_t length, uint16_t flags = 0, Agreement agreement = {}) {
  agreement.size_bytes = kSize;
  RequestHeader header;
  header.magic = kRequestMagic;
  header.flags = flags;
  header.command = command;
  header.cookie = 77;
  header.offset = offset;
  header.length = length;
  Request request;
  EXPECT_TRUE(decode_request(header, request));
  EXPECT_EQ(request.cookie, 77u);
  check_request(request, agreement);
  return request.refusal;
}

Agreement structured() {
  Agreement agreement;
  agreement.structured_replies = true;
  agreement.allocation_context = true;
  return agreement;
}

TEST(NbdRequest, WrongMagicIsNoRequest) {
  RequestHeader header = {};
  Request request;
  EXPECT_FALSE(decode_request(header, request));
}

TEST(NbdRequest, RangesOutsideTheExport) {
  for (uint64_t offset : {kSize, kSize + 1, kSize - 511, uint64_t{1} << 62, UINT64_MAX - 510, UINT64_MAX}) {
    EXPECT_EQ(judge(kCmdRead, offset, 512), kEInval);
    EXPECT_EQ(judge(kCmdWrite, offset, 512), kENoSpc);
    EXPECT_EQ(judge(kCmdWriteZeroes, offset, 512), kENoSpc);
    EXPECT_EQ(judge(kCmdTrim, offset, 512), kEInval);
    EXPECT_EQ(judge(kCmdCache, offset, 512), kEInval);
    EXPECT_EQ(judge(kCmdBlockStatus, offset, 512, 0, structured()), kEInval);
  }
  EXPECT_EQ(judge(kCmdRead, kSize - 512, 512), kOk);
  EXPECT_EQ(judge(kCmdWrite, kSize - 1, 1), kOk);
  EXPECT_EQ(judge(kCmdTrim, 0, kSize), kOk);
}

TEST(NbdRequest, Lengths) {
  EXPECT_EQ(judge(kCmdRead, 0, 0), kEInval);
  EXPECT_EQ(judge(kCmdWrite, 0, 0), kEInval);
  EXPECT_EQ(judge(kCmdRead, 0, kPayloadBytesMax), kOk);
  EXPECT_EQ(judge(kCmdRead, 0, kPayloadBytesMax + 1), kEInval);
  EXPECT_EQ(judge(kCmdWrite, 0, kPayloadBytesMax + 1), kEInval);
  EXPECT_EQ(judge(kCmdRead, 0, kPayloadBytesMax + 1, kCmdFlagDf, structured()), kEOverflow);
  EXPECT_EQ(judge(kCmdFlush, 0, 0), kOk);
  EXPECT_EQ(judge(kCmdFlush, 0, 1), kEInval);
}

TEST(NbdRequest, FlagsAndCommands) {
  EXPECT_EQ(judge(kCmdRead, 0, 1, 1 << 13), kEInval);
  EXPECT_EQ(judge(kCmdRead, 0, 1, kCmdFlagDf), kEInval);
  EXPECT_EQ(judge(kCmdRead, 0, 1, kCmdFlagDf, structured()), kOk);
  EXPECT_EQ(judge(kCmdWrite, 0, 1, kCmdFlagFua), kOk);
  EXPECT_EQ(judge(kCmdWrite, 0, 1, kCmdFlagNoHole), kEInval);
  EXPECT_EQ(judge(kCmdWriteZeroes, 0, 1, kCmdFlagNoHole | kCmdFlagFua), kOk);
  EXPECT_EQ(judge(kCmdWriteZeroes, 0, 1, 1 << 4), kEInval);  // fast zero was not offered
  EXPECT_EQ(judge(kCmdBlockStatus, 0, 1, kCmdFlagReqOne, structured()), kOk);
  EXPECT_EQ(judge(kCmdBlockStatus, 0, 1), kEInval);
  EXPECT_EQ(judge(8, 0, 1), kEInval);
  EXPECT_EQ(judge(0xffff, 0, 1), kEInval);
}

TEST(NbdRequest, ReadOnlyExport) {
  Agreement agreement = structured();
  agreement.read_only = true;
  EXPECT_EQ(judge(kCmdWrite, 0, 1, 0, agreement), kEPerm);
  EXPECT_EQ(judge(kCmdTrim, 0, 1, 0, agreement), kEPerm);
  EXPECT_EQ(judge(kCmdWriteZeroes, 0, 1, 0, agreement), kEPerm);
  EXPECT_EQ(judge(kCmdRead, 0, 1, 0, agreement), kOk);
  EXPECT_EQ(judge(kCmdFlush, 0, 0, 0, agreement), kOk);
}

}  // namespace
}  // namespace foreshard::front::nbd
