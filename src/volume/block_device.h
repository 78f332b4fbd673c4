// BlockDevice: what a front end (NBD, later vhost-user) sees of a volume. Byte addressing: the device
// takes care of edges. Implementations: the driver, and memory (memory_device.h) for tests of front ends.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "runtime/task.h"

namespace foreshard::volume {

struct Extent {
  uint64_t bytes = 0;
  bool hole = false;   // no storage is taken
  bool zero = false;   // reads as zeros
};

enum class ZeroMode : uint8_t {
  kMayUnmap,      // the space may be given back
  kKeepAllocated  // NBD_CMD_FLAG_NO_HOLE: later writes must not fail for want of space, as far as the store can
};

// Offsets and lengths are in bytes and within size_bytes(); the front end has checked them. Every call may
// run at the same time as any other; overlapping ones are ordered by the device (R-ORDER, R-OVERLAP), whichever
// connection they came from. A call that has begun keeps its place and ends, also when its client is gone.
class BlockDevice {
 public:
  virtual ~BlockDevice() = default;
  virtual uint64_t size_bytes() const = 0;
  virtual runtime::Task<Result<void>> read(uint64_t offset, ByteSpan into) = 0;
  virtual runtime::Task<Result<void>> write(uint64_t offset, ConstByteSpan from, bool fua) = 0;
  virtual runtime::Task<Result<void>> zero(uint64_t offset, uint64_t bytes, ZeroMode mode, bool fua) = 0;
  // Advice in NBD, here a write of zeros on the whole pages inside; the edges are left alone (R-TRIM).
  virtual runtime::Task<Result<void>> discard(uint64_t offset, uint64_t bytes, bool fua) = 0;
  // Every write answered before the call is durable after it.
  virtual runtime::Task<Result<void>> flush() = 0;
  // A hint that the range will be read; returns at once, promises nothing (NBD_CMD_CACHE).
  virtual void prefetch(uint64_t offset, uint64_t bytes) = 0;
  // At most extents_max extents from offset on, covering at most bytes; at least one.
  virtual runtime::Task<Result<std::vector<Extent>>> block_status(uint64_t offset, uint64_t bytes,
                                                                  uint32_t extents_max) = 0;
};

}  // namespace foreshard::volume
