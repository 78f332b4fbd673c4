#include "meta/wire.h"

namespace foreshard::meta {

void to_wire(const Entry& entry, wire::Entry& message) {
  message.set_key(entry.key);
  message.set_value(entry.value);
  message.set_created(entry.created);
  message.set_modified(entry.modified);
  message.set_lease(entry.lease);
}

Entry from_wire(const wire::Entry& message) {
  return Entry{message.key(), message.value(), message.created(), message.modified(), message.lease()};
}

wire::CommitRequest to_wire(const Transaction& transaction) {
  wire::CommitRequest message;
  for (const Compare& compare : transaction.compares) {
    wire::Compare& c = *message.add_compares();
    c.set_target(static_cast<wire::CompareTarget>(compare.target));
    c.set_key(compare.key);
    c.set_revision(compare.revision);
    c.set_value(compare.value);
  }
  for (const Operation& operation : transaction.operations) {
    wire::Operation& o = *message.add_operations();
    o.set_kind(static_cast<wire::OperationKind>(operation.kind));
    o.set_key(operation.key);
    o.set_value(operation.value);
    o.set_lease(operation.lease);
  }
  return message;
}
static_assert(static_cast<int>(Compare::Target::kModified) == wire::COMPARE_MODIFIED);
static_assert(static_cast<int>(Compare::Target::kCreated) == wire::COMPARE_CREATED);
static_assert(static_cast<int>(Compare::Target::kValue) == wire::COMPARE_VALUE);
static_assert(static_cast<int>(Operation::Kind::kPut) == wire::OPERATION_PUT);
static_assert(static_cast<int>(Operation::Kind::kErase) == wire::OPERATION_ERASE);
static_assert(static_cast<int>(Operation::Kind::kErasePrefix) == wire::OPERATION_ERASE_PREFIX);

Result<Transaction> from_wire(const wire::CommitRequest& message) {
  Transaction transaction;
  transaction.compares.reserve(static_cast<size_t>(message.compares_size()));
  for (const wire::Compare& c : message.compares()) {
    if (!wire::CompareTarget_IsValid(c.target())) return fail(ErrorCode::kInvalid, "compare target", c.target());
    transaction.compares.push_back({static_cast<Compare::Target>(c.target()), c.key(), c.revision(), c.value()});
  }
  transaction.operations.reserve(static_cast<size_t>(message.operations_size()));
  for (const wire::Operation& o : message.operations()) {
    if (!wire::OperationKind_IsValid(o.kind())) return fail(ErrorCode::kInvalid, "operation kind", o.kind());
    transaction.operations.push_back({static_cast<Operation::Kind>(o.kind()), o.key(), o.value(), o.lease()});
  }
  return transaction;
}

void to_wire(const Event& event, wire::Event& message) {
  message.set_erased(event.kind == Event::Kind::kErase);
  to_wire(event.entry, *message.mutable_entry());
}

Event from_wire(const wire::Event& message) {
  return Event{message.erased() ? Event::Kind::kErase : Event::Kind::kPut, from_wire(message.entry())};
}

}  // namespace foreshard::meta
