// What NBD puts on the wire, after the specification (NetworkBlockDevice/nbd, doc/proto.md): constants and
// fixed headers. All integers are big-endian; the Be types keep them so, at alignment 1, without padding.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/bytes.h"

namespace foreshard::front::nbd {

template <class T>
T swap_bytes(T value) {
  if constexpr (sizeof(T) == 2) return __builtin_bswap16(value);
  if constexpr (sizeof(T) == 4) return __builtin_bswap32(value);
  if constexpr (sizeof(T) == 8) return __builtin_bswap64(value);
}

// Hosts are little-endian (the build is for x86-64).
template <class T>
struct BigEndian {
  uint8_t raw[sizeof(T)];

  BigEndian() = default;
  BigEndian(T value) {  // NOLINT: a number converts to its form on the wire
    value = swap_bytes(value);
    std::memcpy(raw, &value, sizeof(T));
  }
  operator T() const {  // NOLINT
    T value;
    std::memcpy(&value, raw, sizeof(T));
    return swap_bytes(value);
  }
};
using Be16 = BigEndian<uint16_t>;
using Be32 = BigEndian<uint32_t>;
using Be64 = BigEndian<uint64_t>;

// ---- negotiation

inline constexpr uint64_t kGreetingMagic = 0x4e42444d41474943ull;      // "NBDMAGIC"
inline constexpr uint64_t kOptionMagic = 0x49484156454f5054ull;        // "IHAVEOPT"
inline constexpr uint64_t kOptionReplyMagic = 0x0003e889045565a9ull;

inline constexpr uint16_t kHandshakeFixedNewstyle = 1;
inline constexpr uint16_t kHandshakeNoZeroes = 2;

enum Option : uint32_t {
  kOptExportName = 1,
  kOptAbort = 2,
  kOptList = 3,
  kOptStartTls = 5,
  kOptInfo = 6,
  kOptGo = 7,
  kOptStructuredReply = 8,
  kOptListMetaContext = 9,
  kOptSetMetaContext = 10,
};

enum OptionReplyType : uint32_t {
  kRepAck = 1,
  kRepServer = 2,
  kRepInfo = 3,
  kRepMetaContext = 4,
  kRepErrUnsupported = 1u << 31 | 1,
  kRepErrPolicy = 1u << 31 | 2,
  kRepErrInvalid = 1u << 31 | 3,
  kRepErrUnknown = 1u << 31 | 6,
  kRepErrShutdown = 1u << 31 | 7,
  kRepErrTooBig = 1u << 31 | 9,
};

enum InfoType : uint16_t { kInfoExport = 0, kInfoName = 1, kInfoDescription = 2, kInfoBlockSize = 3 };

struct Greeting {
  Be64 magic;
  Be64 option_magic;
  Be16 flags;
};
static_assert(sizeof(Greeting) == 18 && alignof(Greeting) == 1);

struct OptionHeader {
  Be64 magic;
  Be32 option;
  Be32 length;
};
static_assert(sizeof(OptionHeader) == 16);

struct OptionReplyHeader {
  Be64 magic;
  Be32 option;
  Be32 type;
  Be32 length;
};
static_assert(sizeof(OptionReplyHeader) == 20);

struct InfoExport {
  Be16 type;
  Be64 size;
  Be16 flags;
};
static_assert(sizeof(InfoExport) == 12);

struct InfoBlockSize {
  Be16 type;
  Be32 minimum;
  Be32 preferred;
  Be32 maximum;
};
static_assert(sizeof(InfoBlockSize) == 14);

// Ends NBD_OPT_EXPORT_NAME; 124 zeros follow unless the client asked for none.
struct ExportNameReply {
  Be64 size;
  Be16 flags;
};
static_assert(sizeof(ExportNameReply) == 10);
inline constexpr size_t kExportNameZeroes = 124;

inline constexpr uint32_t kNameBytesMax = 4096;  // "a string" of the specification
inline constexpr std::string_view kAllocationContext = "base:allocation";
inline constexpr uint32_t kAllocationContextId = 1;

// ---- transmission

enum TransmissionFlag : uint16_t {
  kFlagHasFlags = 1 << 0,
  kFlagReadOnly = 1 << 1,
  kFlagSendFlush = 1 << 2,
  kFlagSendFua = 1 << 3,
  kFlagSendTrim = 1 << 5,
  kFlagSendWriteZeroes = 1 << 6,
  kFlagSendDf = 1 << 7,
  kFlagCanMultiConn = 1 << 8,
  kFlagSendCache = 1 << 10,
};

inline constexpr uint32_t kBlockBytesMin = 1;
inline constexpr uint32_t kBlockBytesPreferred = 4096;
inline constexpr uint32_t kPayloadBytesMax = 32u << 20;

inline constexpr uint32_t kRequestMagic = 0x25609513;
inline constexpr uint32_t kSimpleReplyMagic = 0x67446698;
inline constexpr uint32_t kStructuredReplyMagic = 0x668e33ef;

enum Command : uint16_t {
  kCmdRead = 0,
  kCmdWrite = 1,
  kCmdDisconnect = 2,
  kCmdFlush = 3,
  kCmdTrim = 4,
  kCmdCache = 5,
  kCmdWriteZeroes = 6,
  kCmdBlockStatus = 7,
};

enum CommandFlag : uint16_t {
  kCmdFlagFua = 1 << 0,
  kCmdFlagNoHole = 1 << 1,
  kCmdFlagDf = 1 << 2,
  kCmdFlagReqOne = 1 << 3,
};

struct RequestHeader {
  Be32 magic;
  Be16 flags;
  Be16 command;
  Be64 cookie;
  Be64 offset;
  Be32 length;
};
static_assert(sizeof(RequestHeader) == 28 && alignof(RequestHeader) == 1);

struct SimpleReply {
  Be32 magic;
  Be32 error;
  Be64 cookie;
};
static_assert(sizeof(SimpleReply) == 16);

struct ChunkHeader {
  Be32 magic;
  Be16 flags;
  Be16 type;
  Be64 cookie;
  Be32 length;
};
static_assert(sizeof(ChunkHeader) == 20);

inline constexpr uint16_t kChunkDone = 1;

enum ChunkType : uint16_t {
  kChunkNone = 0,
  kChunkOffsetData = 1,
  kChunkOffsetHole = 2,
  kChunkBlockStatus = 5,
  kChunkError = 1 << 15 | 1,
};

// A chunk of data: this, then the bytes.
struct DataChunk {
  ChunkHeader header;
  Be64 offset;
};
static_assert(sizeof(DataChunk) == 28);

struct HoleChunk {
  ChunkHeader header;
  Be64 offset;
  Be32 length;
};
static_assert(sizeof(HoleChunk) == 32);

// A chunk that ends a request with an error: this, then message_bytes of text.
struct ErrorChunk {
  ChunkHeader header;
  Be32 error;
  Be16 message_bytes;
};
static_assert(sizeof(ErrorChunk) == 26);

// A chunk of extents: this, then as many StatusExtents as its length says.
struct StatusChunk {
  ChunkHeader header;
  Be32 context_id;
};
static_assert(sizeof(StatusChunk) == 24);

struct StatusExtent {
  Be32 length;
  Be32 flags;
};
static_assert(sizeof(StatusExtent) == 8);
inline constexpr uint32_t kStateHole = 1;
inline constexpr uint32_t kStateZero = 2;

// The only error numbers that NBD knows; the values are the specification's, not the host's.
enum WireError : uint32_t {
  kOk = 0,
  kEPerm = 1,
  kEIo = 5,
  kENoMem = 12,
  kEInval = 22,
  kENoSpc = 28,
  kEOverflow = 75,
  kENotSup = 95,
  kEShutdown = 108,
};

}  // namespace foreshard::front::nbd
