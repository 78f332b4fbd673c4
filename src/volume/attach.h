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
// Whether the driver of a held attachment is gone: its hint has been absent for a whole term (after a pause of the
// metadata or of the driver it comes back within one). False when it is there at or after give_up_ns.
runtime::Task<Result<bool>> driver_is_gone(runtime::Runtime& runtime, meta::Meta& meta, VolumeId volume,
                                           uint64_t hint_ttl_ns, uint64_t give_up_ns);
// Marks the attachment as released and drops the hint.
runtime::Task<Result<void>> release_volume(runtime::Runtime& runtime, meta::Meta& meta, const Claim& claim);
// The compare that holds as long as nobody has claimed the volume since.
meta::Compare claim_guard(const Claim& claim);

}  // namespace foreshard::volume
