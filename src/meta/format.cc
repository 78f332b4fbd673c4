#include "meta/format.h"

#include "base/bytes.h"
#include "base/crc32c.h"

namespace foreshard::meta {
namespace {

template <class Record>
uint32_t crc_of(std::string_view index_key, Record record, std::string_view rest) {
  record.head.crc = 0;
  return crc32c(as_bytes(rest), crc32c(object_bytes(record), crc32c(as_bytes(index_key))));
}

template <class Record>
std::string seal(std::string_view index_key, Record record, std::string_view rest) {
  record.head.crc = crc_of(index_key, record, rest);
  std::string bytes(as_text(object_bytes(record)));
  bytes.append(rest);
  return bytes;
}

template <class Record>
Result<Record> open(const std::string& index_key, std::string_view bytes) {
  if (bytes.size() < sizeof(Record)) return fail(ErrorCode::kCorrupt, "stored metadata length", index_key);
  const auto record = load_object<Record>(as_bytes(bytes));
  if (record.head.magic != kStoredMagic) return fail(ErrorCode::kCorrupt, "stored metadata magic", index_key);
  if (record.head.version != kStoredVersion)
    return fail(ErrorCode::kUnsupported, "stored metadata version", record.head.version);
  if (record.head.crc != crc_of(index_key, record, bytes.substr(sizeof(Record))))
    return fail(ErrorCode::kCorrupt, "stored metadata checksum", index_key);
  return record;
}

}  // namespace

std::string entry_index_key(std::string_view key) { return "k" + std::string(key); }

std::string lease_index_key(LeaseId lease) {
  std::string key = "l";
  append_big_endian64(key, lease);
  return key;
}

std::string state_index_key() { return "s"; }

std::string encode_stored(const Entry& entry) {
  StoredEntry stored;
  stored.created = entry.created;
  stored.modified = entry.modified;
  stored.lease = entry.lease;
  return seal(entry_index_key(entry.key), stored, entry.value);
}

std::string encode_stored(LeaseId lease, const StoredLease& stored) { return seal(lease_index_key(lease), stored, {}); }

std::string encode_stored(const StoredState& stored) { return seal(state_index_key(), stored, {}); }

Result<Entry> decode_stored_entry(const std::string& index_key, std::string_view bytes) {
  TRY(const StoredEntry stored, open<StoredEntry>(index_key, bytes));
  if (index_key.size() < 2 || index_key[0] != 'k') return fail(ErrorCode::kCorrupt, "stored metadata key", index_key);
  Entry entry;
  entry.key = index_key.substr(1);
  entry.value = std::string(bytes.substr(sizeof(StoredEntry)));
  entry.created = stored.created;
  entry.modified = stored.modified;
  entry.lease = stored.lease;
  return entry;
}

Result<LeaseRecord> decode_stored_lease(const std::string& index_key, std::string_view bytes) {
  TRY(const StoredLease stored, open<StoredLease>(index_key, bytes));
  if (index_key.size() != 9 || index_key[0] != 'l' || bytes.size() != sizeof(StoredLease))
    return fail(ErrorCode::kCorrupt, "stored lease", index_key);
  return LeaseRecord{load_big_endian64(std::string_view(index_key).substr(1)), stored.ttl_ns};
}

Result<StoredState> decode_stored_state(std::string_view bytes) {
  TRY(const StoredState stored, open<StoredState>(state_index_key(), bytes));
  if (bytes.size() != sizeof(StoredState)) return fail(ErrorCode::kCorrupt, "stored metadata state");
  return stored;
}

}  // namespace foreshard::meta
