// Claiming and releasing a volume's attachment: the transactions of R-CLAIM and R-CLOSE, and the hint that the
// driver lives.
#pragma once

#include "meta/meta.h"
#include "meta/records.pb.h"
#include "volume/driver.h"

namespace foreshard::volume {

struct Claim {
  meta::pb::Volume volume;
  meta::pb::Attachment attachment;
  meta::LeaseId hint_lease = 0;
  meta::Revision revision = 0;  // of the attachment record: the guard of every later transaction (R-GUARD)
};

// Raises the epoch in one transaction, after the driver before has released the volume or seems dead.
runtime::Task<Result<Claim>> claim_volume(runtime::Runtime& runtime, meta::Meta& meta, const DriverOptions& options,
                                          uint64_t driver_id);
// Marks the attachment as released and drops the hint.
runtime::Task<Result<void>> release_volume(runtime::Runtime& runtime, meta::Meta& meta, const Claim& claim);
// The compare that holds as long as nobody has claimed the volume since.
meta::Compare claim_guard(const Claim& claim);

// Commits, resubmitting the identical transaction while its outcome is unknown (R-TXN), until deadline_ns. A put of
// `nonce_key` with exactly its value, found afterwards, means that it was this transaction that succeeded.
runtime::Task<Result<meta::TransactionResult>> commit_until_known(runtime::Runtime& runtime, meta::Meta& meta,
                                                                  meta::Transaction transaction, std::string nonce_key,
                                                                  uint64_t deadline_ns);

}  // namespace foreshard::volume
