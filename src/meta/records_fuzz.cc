// Feeds bytes to every decoder of the metadata layer: records, what the embedded store keeps, messages of the wire.
// The first byte chooses; what is accepted must survive being written and read again. Bytes are also taken as a change
// of a good record (a later field of a message replaces an earlier one), under the key that fits, and with the checksum
// that fits, so that what lies behind these checks is reached.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/bytes.h"
#include "meta/format.h"
#include "meta/limits.h"
#include "meta/records.h"
#include "meta/wire.h"

namespace foreshard::meta {
namespace {

pb::Region good_region() {
  pb::Region record;
  record.set_format_version(1);
  record.add_zones("a");
  record.set_servers_per_zone(1);
  return record;
}

pb::Volume good_volume() {
  pb::Volume record;
  record.set_id(1);
  record.set_name("a");
  record.set_size_bytes(1u << 30);
  record.set_volumelet_bytes(1u << 20);
  record.set_replicas(1);
  record.set_state(pb::VOLUME_READY);
  return record;
}

pb::Server good_server() {
  pb::Server record;
  record.set_id(1);
  record.set_address("unix:/a");
  return record;
}

pb::Volumelet good_volumelet() {
  pb::Volumelet record;
  record.set_chunks(1);
  pb::Replica& replica = *record.add_replicas();
  replica.set_server(1);
  replica.set_state(pb::REPLICA_IN_SYNC);
  return record;
}

pb::Model good_model() {
  pb::Model record;
  record.set_number(1);
  record.set_kind("lstm");
  record.set_symbols("deltas");
  record.set_file_bytes(1);
  return record;
}

pb::ModelPart good_part() {
  pb::ModelPart record;
  record.set_data("a");
  return record;
}

// The key under which a record belongs, which is not always one that can be.
std::string key_of(const pb::Region&) { return region_key(); }
std::string key_of(const pb::Server& record) { return server_key(ServerId{record.id()}); }
std::string key_of(const pb::Volume& record) { return volume_key(record.name()); }
std::string key_of(const pb::Attachment& record) { return attachment_key(VolumeId{record.epoch()}); }
std::string key_of(const pb::DriverHint& record) { return alive_key(VolumeId{record.driver()}); }
std::string key_of(const pb::VolumeServer& record) {
  return volume_server_key(VolumeId{1}, ServerId{record.generation()});
}
std::string key_of(const pb::Volumelet& record) { return volumelet_key(VolumeId{1}, record.first_chunk()); }
std::string key_of(const pb::Model& record) { return model_key(record.number()); }
std::string key_of(const pb::ModelPart& record) { return model_part_key(1, record.nonce().n()); }

template <class Record>
void fuzz_one_record(const std::string& key, const std::string& bytes) {
  const Result<Record> first = decode<Record>(Entry{key, bytes, 1, 1, 0});
  if (!first) return;
  const Result<Record> second = decode<Record>(Entry{key, encode(*first), 1, 1, 0});
  if (!second || encode(*first) != encode(*second)) std::abort();
}

void fuzz_stored_lease(const std::string& key, const std::string& bytes) {
  (void)decode_stored_lease(key, bytes).has_value();
  if (bytes.size() < sizeof(StoredLease)) return;
  auto stored = load_object<StoredLease>(as_bytes(bytes));
  stored.head = StoredLease{}.head;
  const std::string sealed = encode_stored(7, stored);
  const Result<LeaseRecord> lease = decode_stored_lease(lease_index_key(7), sealed);
  if (!lease || lease->lease != 7 || lease->ttl_ns != stored.ttl_ns) std::abort();
  if (decode_stored_lease(lease_index_key(8), sealed)) std::abort();
}

template <class Record>
void fuzz_record(const Record& good, const std::string& bytes) {
  // The bytes up to a zero may be the key.
  const size_t end = bytes.find('\0');
  if (end != std::string::npos) fuzz_one_record<Record>(bytes.substr(0, end), bytes.substr(end + 1));
  for (const std::string& whole : {bytes, encode(good) + bytes}) {
    fuzz_one_record<Record>(key_of(good), whole);
    Record record;
    if (record.ParseFromString(whole)) fuzz_one_record<Record>(key_of(record), whole);
  }
}

// A stored record with one byte changed is never believed.
void fuzz_damage(const std::string& bytes) {
  if (bytes.size() < 3) return;
  const Entry good{bytes.substr(3) + "k", bytes, 1, 2, 3};
  const std::string key = entry_index_key(good.key);
  const auto damaged = [&](std::string stored) {
    stored[static_cast<uint8_t>(bytes[0]) % stored.size()] ^= static_cast<char>(bytes[1] | 1);
    if (bytes[2] % 4 == 0) stored.resize(stored.size() - 1);
    if (bytes[2] % 4 == 1) stored.push_back('\0');
    return stored;
  };
  if (decode_stored_entry(key, damaged(encode_stored(good)))) std::abort();
  if (decode_stored_lease(lease_index_key(5), damaged(encode_stored(5, StoredLease{})))) std::abort();
  if (decode_stored_state(damaged(encode_stored(StoredState{})))) std::abort();
  // Whole, but under a key that is none, or longer than it may be.
  if (decode_stored_entry("", encode_stored(Entry{"", bytes, 1, 1, 0}))) std::abort();
  Entry bare;
  bare.value = bytes;
  if (decode_stored_entry(entry_index_key(bare.key), encode_stored(bare))) std::abort();
  if (decode_stored_state(encode_stored(StoredState{}) + "x")) std::abort();
}

void fuzz_stored(uint8_t choice, const std::string& bytes) {
  fuzz_damage(bytes);
  const std::string key = bytes.substr(0, bytes.find('\0'));
  const std::string rest = bytes.substr(key.size());
  if (choice == 0) {
    const Result<Entry> entry = decode_stored_entry("k" + key, rest);
    if (entry && encode_stored(*entry).size() != rest.size()) std::abort();
    const Entry good{"k" + key, rest, 1, 2, 3};
    const Result<Entry> same = decode_stored_entry(entry_index_key(good.key), encode_stored(good));
    if (!same || same->value != rest || same->key != good.key || same->lease != 3) std::abort();
    // Under another key it is not believed.
    if (decode_stored_entry(entry_index_key(good.key + "x"), encode_stored(good))) std::abort();
  }
  if (choice == 1) fuzz_stored_lease(key, rest);
  if (choice == 2) {
    (void)decode_stored_state(bytes).has_value();
    if (bytes.size() < sizeof(StoredState)) return;
    auto stored = load_object<StoredState>(as_bytes(bytes));
    stored.head = StoredState{}.head;
    const std::string sealed = encode_stored(stored);
    const Result<StoredState> state = decode_stored_state(sealed);
    if (!state || encode_stored(*state) != sealed) std::abort();
    (void)decode_stored_state(sealed + bytes.substr(sizeof(StoredState))).has_value();
  }
}

// Transactions as large as the first bytes say: what is within the bounds is taken, and nothing else.
void fuzz_bounds(const std::string& bytes) {
  if (bytes.size() < 5) return;
  const auto at = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
  const auto size = [&](size_t i, size_t bound) { return at(i) < 128 ? at(i) : bound - 128 + (at(i) - 128) * 2; };
  Transaction transaction;
  const size_t parts = at(4) == 0 ? kTransactionPartsMax + at(0) % 2 : 1 + at(0) % 8;
  const std::string key = "/" + std::string(size(1, kKeyBytesMax), 'k');
  const std::string value(size(2, kValueBytesMax), 'v');
  const size_t compares = std::min<size_t>(parts, at(3) % 4);
  transaction.compares.resize(compares, {Compare::Target::kModified, key, 1, at(3) >= 128 ? value : ""});
  transaction.operations.resize(parts - compares, {Operation::Kind::kPut, key, at(4) == 0 ? "" : value, 0});
  size_t all = 0;
  for (const Compare& compare : transaction.compares) all += compare.key.size() + compare.value.size();
  for (const Operation& operation : transaction.operations) all += operation.key.size() + operation.value.size();
  const bool too_long = !transaction.operations.empty() && transaction.operations[0].value.size() > kValueBytesMax;
  const bool fits =
      parts <= kTransactionPartsMax && key.size() <= kKeyBytesMax && !too_long && all <= kTransactionBytesMax;
  if (check_transaction(transaction).has_value() != fits) std::abort();
}

void fuzz_wire(uint8_t choice, const std::string& bytes) {
  const ConstByteSpan span = as_bytes(bytes);
  if (choice == 0) {
    const Result<wire::CommitRequest> message = parse<wire::CommitRequest>(span);
    if (!message) return;
    const Result<Transaction> transaction = from_wire(*message);
    if (transaction && check_transaction(*transaction)) {
      const Result<Transaction> again = from_wire(to_wire(*transaction));
      if (!again || again->operations.size() != transaction->operations.size() ||
          again->compares.size() != transaction->compares.size()) {
        std::abort();
      }
    }
  }
  if (choice == 1) {
    const Result<wire::PollReply> message = parse<wire::PollReply>(span);
    if (message)
      for (const wire::Event& event : message->events()) {
        wire::Event again;
        to_wire(from_wire(event), again);
        if (again.erased() != event.erased() || again.entry().value() != event.entry().value()) std::abort();
      }
  }
  if (choice == 2) {
    const Result<wire::RangeReply> message = parse<wire::RangeReply>(span);
    if (message)
      for (const wire::Entry& entry : message->entries()) (void)from_wire(entry);
  }
  if (choice == 3) (void)parse<wire::LeaseRequest>(span).has_value();
}

}  // namespace
}  // namespace foreshard::meta

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace foreshard;
  using namespace foreshard::meta;
  if (size == 0) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  if (data[0] >= 252) return fuzz_bounds(bytes), 0;
  if (data[0] == 251) return fuzz_record(good_model(), bytes), 0;
  if (data[0] == 250) return fuzz_record(good_part(), bytes), 0;
  switch (data[0] % 14) {
    case 0: fuzz_record(good_region(), bytes); break;
    case 1: fuzz_record(good_server(), bytes); break;
    case 2: fuzz_record(good_volume(), bytes); break;
    case 3: fuzz_record(pb::Attachment(), bytes); break;
    case 4: fuzz_record(pb::DriverHint(), bytes); break;
    case 5: fuzz_record(pb::VolumeServer(), bytes); break;
    case 6: fuzz_record(good_volumelet(), bytes); break;
    case 7:
    case 8:
    case 9: fuzz_stored(data[0] % 14 - 7, bytes); break;
    default: fuzz_wire(data[0] % 14 - 10, bytes); break;
  }
  return 0;
}
