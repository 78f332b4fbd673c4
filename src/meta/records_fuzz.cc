// Feeds bytes to every decoder of the metadata layer: records, what the embedded store keeps, messages of the wire.
// The first byte chooses; what is accepted must survive being written and read again.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "meta/format.h"
#include "meta/limits.h"
#include "meta/records.h"
#include "meta/wire.h"

namespace foreshard::meta {
namespace {

template <class Record>
void fuzz_record(const std::string& key, const std::string& bytes) {
  const Result<Record> first = decode<Record>(Entry{key, bytes, 1, 1, 0});
  if (!first) return;
  const Result<Record> second = decode<Record>(Entry{key, encode(*first), 1, 1, 0});
  if (!second || encode(*first) != encode(*second)) std::abort();
}

void fuzz_stored(uint8_t choice, const std::string& bytes) {
  const std::string key = bytes.substr(0, bytes.find('\0'));
  const std::string rest = bytes.substr(key.size());
  if (choice == 0) {
    const Result<Entry> entry = decode_stored_entry("k" + key, rest);
    if (entry && encode_stored(*entry).size() != rest.size()) std::abort();
  }
  if (choice == 1) (void)decode_stored_lease(key, rest).has_value();
  if (choice == 2) (void)decode_stored_state(bytes).has_value();
}

void fuzz_wire(uint8_t choice, const std::string& bytes) {
  const ConstByteSpan span = as_bytes(bytes);
  if (choice == 0) {
    const Result<wire::CommitRequest> message = parse<wire::CommitRequest>(span);
    if (!message) return;
    const Result<Transaction> transaction = from_wire(*message);
    if (transaction && check_transaction(*transaction)) {
      const Result<Transaction> again = from_wire(to_wire(*transaction));
      if (!again || again->operations.size() != transaction->operations.size()) std::abort();
    }
  }
  if (choice == 1) {
    const Result<wire::PollReply> message = parse<wire::PollReply>(span);
    if (message)
      for (const wire::Event& event : message->events()) (void)from_wire(event);
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
  switch (data[0] % 14) {
    case 0: fuzz_record<pb::Region>(region_key(), bytes); break;
    case 1: fuzz_record<pb::Server>(server_key(ServerId{1}), bytes); break;
    case 2: fuzz_record<pb::Volume>(volume_key("a"), bytes); break;
    case 3: fuzz_record<pb::Attachment>(attachment_key(VolumeId{1}), bytes); break;
    case 4: fuzz_record<pb::DriverHint>(alive_key(VolumeId{1}), bytes); break;
    case 5: fuzz_record<pb::VolumeServer>(volume_server_key(VolumeId{1}, ServerId{1}), bytes); break;
    case 6: fuzz_record<pb::Volumelet>(volumelet_key(VolumeId{1}, 0), bytes); break;
    case 7: case 8: case 9: fuzz_stored(data[0] % 14 - 7, bytes); break;
    default: fuzz_wire(data[0] % 14 - 10, bytes); break;
  }
  return 0;
}
