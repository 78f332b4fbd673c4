// Meta: the region's consistent facts. A flat ordered map of keys under one growing revision, as etcd has it:
// linearizable reads, transactions that compare and then change several keys at once, watches of a prefix
// from a revision on, leases whose keys vanish with them. Implementations: embedded (over an index), remote
// (another process's, over rpc); later etcd. The conformance suite (meta_conformance.h) says what all must do.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "runtime/io.h"

namespace foreshard::meta {

using Revision = uint64_t;  // 0: before everything
using LeaseId = uint64_t;   // 0: none

struct Entry {
  std::string key;
  std::string value;
  Revision created = 0;   // revision at which the key came into being
  Revision modified = 0;  // revision of its last change; what compares look at
  LeaseId lease = 0;
};

struct Compare {
  enum class Target : uint8_t { kModified, kCreated, kValue } target = Target::kModified;
  std::string key;
  Revision revision = 0;  // kModified, kCreated: must equal; 0 means the key must not exist
  std::string value;      // kValue: must equal (the key must exist)
};

struct Operation {
  enum class Kind : uint8_t { kPut, kErase, kErasePrefix } kind = Kind::kPut;
  std::string key;
  std::string value;
  LeaseId lease = 0;
};

// All compares hold: all operations happen, at one new revision. Otherwise nothing does.
// A transaction whose answer was lost (kTimeout, kUnavailable) may have happened, or may still happen:
// resubmit the identical one until a definite answer comes, then re-read (R-TXN).
struct Transaction {
  std::vector<Compare> compares;
  std::vector<Operation> operations;
};

struct TransactionResult {
  bool succeeded = false;
  Revision revision = 0;
};

struct RangeResult {
  std::vector<Entry> entries;
  Revision revision = 0;  // at which they were read
  bool more = false;      // the limit cut it
};

struct Event {
  enum class Kind : uint8_t { kPut, kErase } kind = Kind::kPut;
  Entry entry;  // erased: key and modified only
};

// A stream of the changes under a prefix. Watches only wake: whoever decides re-reads (R-WATCH).
class Watch {
 public:
  virtual ~Watch() = default;
  // The next events, in order of revision, never empty. kNotFound ("compacted") when the history asked for is
  // gone: list and start anew. kCancelled after cancel(). kUnavailable when the store is out of reach.
  virtual runtime::Task<Result<std::vector<Event>>> next() = 0;
  virtual void cancel() = 0;
};

class Meta {
 public:
  virtual ~Meta() = default;
  virtual runtime::Task<Result<std::optional<Entry>>> get(std::string key) = 0;
  // Keys in [begin, end), at most limit (0: no limit but the implementation's own 100,000); backward from the end.
  virtual runtime::Task<Result<RangeResult>> range(std::string begin, std::string end, size_t limit,
                                                   bool backward = false) = 0;
  virtual runtime::Task<Result<TransactionResult>> commit(Transaction transaction) = 0;
  // Events with a revision >= from.
  virtual runtime::Task<Result<std::unique_ptr<Watch>>> watch(std::string prefix, Revision from) = 0;
  virtual runtime::Task<Result<LeaseId>> grant_lease(uint64_t ttl_ns) = 0;
  // kNotFound when it has run out.
  virtual runtime::Task<Result<void>> renew_lease(LeaseId lease) = 0;
  virtual runtime::Task<Result<void>> revoke_lease(LeaseId lease) = 0;
};

// The end of the range of all keys with a prefix.
std::string prefix_end(std::string prefix);

}  // namespace foreshard::meta
