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

}  // namespace foreshard::volume
