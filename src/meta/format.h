// What the embedded store keeps in its index.
//
//   "k" key                  StoredEntry, then the value
//   "l" lease (big-endian)   StoredLease
//   "s"                      StoredState: one record, in every batch
//
// Each has a magic number, a version and a checksum over everything else of it and over its key.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "meta/meta.h"

namespace foreshard::meta {

inline constexpr uint32_t kStoredMagic = 0x54454d46;  // "FMET"
inline constexpr uint16_t kStoredVersion = 1;

struct StoredHead {
  uint32_t magic = kStoredMagic;
  uint16_t version = kStoredVersion;
  uint16_t reserved = 0;
  uint32_t crc = 0;  // over the index key, this head with crc = 0, and everything behind it
  uint32_t reserved2 = 0;
};
static_assert(sizeof(StoredHead) == 16);

struct StoredEntry {
  StoredHead head;
  uint64_t created = 0;
  uint64_t modified = 0;
  uint64_t lease = 0;
};
static_assert(sizeof(StoredEntry) == 40);

struct StoredLease {
  StoredHead head;
  uint64_t ttl_ns = 0;
};
static_assert(sizeof(StoredLease) == 24);

struct StoredState {
  StoredHead head;
  uint64_t revision = 0;    // of the newest change
  uint64_t next_lease = 1;  // never given out yet
};
static_assert(sizeof(StoredState) == 32);

std::string entry_index_key(std::string_view key);
std::string lease_index_key(LeaseId lease);
std::string state_index_key();

std::string encode_stored(const Entry& entry);
std::string encode_stored(LeaseId lease, const StoredLease& stored);
std::string encode_stored(const StoredState& stored);

// kCorrupt, with the key, for what these did not encode; kUnsupported for a newer version.
Result<Entry> decode_stored_entry(const std::string& index_key, std::string_view bytes);
struct LeaseRecord {
  LeaseId lease = 0;
  uint64_t ttl_ns = 0;
};
Result<LeaseRecord> decode_stored_lease(const std::string& index_key, std::string_view bytes);
Result<StoredState> decode_stored_state(std::string_view bytes);

}  // namespace foreshard::meta
