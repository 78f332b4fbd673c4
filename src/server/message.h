// What drivers and servers say to each other: the control parts of the replica service's calls. Fixed-size,
// little-endian, explicit padding; checksummed by the rpc layer. Page contents travel as raw data parts.
//
// Every request on a volume names (volume, epoch, session): the fence and the drain hang on it (R-DRAIN).
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace foreshard::server {

inline constexpr uint16_t kMethodOpen = 0x200;
inline constexpr uint16_t kMethodClose = 0x201;
inline constexpr uint16_t kMethodHeartbeat = 0x202;
inline constexpr uint16_t kMethodRead = 0x203;
inline constexpr uint16_t kMethodWrite = 0x204;
inline constexpr uint16_t kMethodZero = 0x205;
inline constexpr uint16_t kMethodFlush = 0x206;
inline constexpr uint16_t kMethodStates = 0x207;
inline constexpr uint16_t kMethodPrepare = 0x208;
inline constexpr uint16_t kMethodLook = 0x209;
inline constexpr uint16_t kMethodStats = 0x20a;
inline constexpr uint16_t kMethodScrub = 0x20b;
inline constexpr uint16_t kMethodUsage = 0x20c;

// Whose request it is. Sessions are numbered by the driver, 1, 2, ... within its epoch.
struct SessionName {
  uint64_t volume;
  uint64_t epoch;
  uint64_t session;
};
static_assert(sizeof(SessionName) == 24);

struct OpenRequest {
  SessionName name;
};

struct OpenReply {
  uint64_t store_uuid;
  uint64_t loss;
  uint64_t grant_ns;    // how long each reply lets the driver hand out reads, from when it sent the request
  uint32_t incomplete;  // 1: ranges of the volume here are not whole any more (R-INDEX)
  uint32_t reserved;
};
static_assert(sizeof(OpenReply) == 32);

struct CloseRequest {
  SessionName name;
};

struct HeartbeatRequest {
  SessionName name;
};

// Pages of one chunk.
struct ReadRequest {
  SessionName name;
  uint64_t chunk;
  uint32_t layer;
  uint32_t first_page;  // within the chunk
  uint32_t pages;
  uint32_t flags;
};
static_assert(sizeof(ReadRequest) == 48);

inline constexpr uint32_t kReadIsPrefetch = 1;  // nobody waits for it
inline constexpr uint32_t kReadIsWarming = 2;   // into the server's cache; the answer has no data

// Data: the pages, or nothing when all of them read as zero.
struct ReadReply {
  uint32_t all_zero;
  uint32_t disk_ns;  // what the reading from disk took; 0: they were in memory. At most 4 s
};
static_assert(sizeof(ReadReply) == 8);

// Pages of one chunk; the data part is whole pages.
struct WriteRequest {
  SessionName name;
  uint64_t sequence;
  uint64_t chunk;
  uint32_t layer;
  uint32_t first_page;
};
static_assert(sizeof(WriteRequest) == 48);

// Pages of any number of chunks, all hosted by the server.
struct ZeroRequest {
  SessionName name;
  uint64_t sequence;
  uint64_t first_page;  // of the volume
  uint64_t pages;
  uint32_t layer;
  uint32_t may_unmap;
};
static_assert(sizeof(ZeroRequest) == 56);

struct FlushRequest {
  SessionName name;
  // The flush watermark: everything up to it is durable on all in-sync replicas (R-FLUSHMARK).
  uint64_t durable_sequence;
};
static_assert(sizeof(FlushRequest) == 32);

// The page maps of `chunks` chunks, 64 bytes each, as the data part of the reply.
struct StatesRequest {
  SessionName name;
  uint64_t first_chunk;
  uint32_t chunks;  // at most kStatesChunksMax
  uint32_t layer;
};
static_assert(sizeof(StatesRequest) == 40);
inline constexpr uint32_t kStatesChunksMax = 1024;

// Makes the server host ranges of a volume, empty and complete, before the map may name it (R-GC). Followed by
// `ranges` RangeItems. Preparing the same range with the same replica id again is fine.
struct PrepareRequest {
  uint64_t volume;
  uint32_t ranges;
  uint32_t reserved;
};
static_assert(sizeof(PrepareRequest) == 16);

struct RangeItem {
  uint64_t first_chunk;
  uint64_t chunks;
  uint64_t replica_id;
};
static_assert(sizeof(RangeItem) == 24);
inline constexpr uint32_t kRangesPerPrepareMax = 65536;

// A wake, never an order: the server looks at the metadata itself and deletes what nothing names (R-GC).
struct LookRequest {
  uint64_t volume;  // 0: all it hosts
};

struct StatsReply {
  uint64_t server;
  uint64_t store_uuid;
  uint64_t loss;
  uint64_t capacity_bytes;
  uint64_t slots;
  uint64_t slots_used;
  uint64_t reads;
  uint64_t writes;
  uint64_t flushes;
  uint64_t corrupt_pages;
  uint64_t cache_hits;
  uint64_t cache_misses;
  uint64_t cache_bytes;
  uint64_t volumes;
  uint64_t ranges;
  uint64_t caches_bytes_max;  // what this cache and those of the store may take in memory
};
static_assert(sizeof(StatsReply) == 128);

// A chunk of a volume, in the order of a scrub.
struct ScrubPlace {
  uint64_t volume;
  uint64_t chunk;
  uint32_t layer;
  uint32_t reserved;
};
static_assert(sizeof(ScrubPlace) == 24);

// A part of a scrub, of a bounded size: the caller asks on from where the answer ends.
struct ScrubRequest {
  uint64_t volume;            // 0: all
  uint64_t bytes_per_second;  // 0: the server's own pace
  ScrubPlace begin;           // at first: {volume, 0, 0}
};
static_assert(sizeof(ScrubRequest) == 40);

// Data: ScrubFaults.
struct ScrubReply {
  ScrubPlace next;
  uint64_t bytes;  // read and compared
  uint64_t slots;  // that they lay in
  uint32_t done;   // 1: there is no next
  uint32_t reserved;
};
static_assert(sizeof(ScrubReply) == 48);

// Pages that do not match their checksums.
struct ScrubFault {
  uint64_t volume;
  uint64_t chunk;
  uint32_t layer;
  uint32_t page;
  uint32_t pages;
  uint32_t reserved;
};
static_assert(sizeof(ScrubFault) == 32);

// Volumes from this one on. Data of the reply: UsageItems by volume, at most kUsageItemsMax; fewer: there are no more.
struct UsageRequest {
  uint64_t first_volume;
};
struct UsageItem {
  uint64_t volume;
  uint64_t bytes;
};
static_assert(sizeof(UsageItem) == 16);
inline constexpr uint32_t kUsageItemsMax = 65536;

}  // namespace foreshard::server
