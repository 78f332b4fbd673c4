// DeviceLoad: a steady load on a block device, for `foreshard bench`: one kind of request, a constant number of them
// under way, each measured. Owner: the command. One executor; one run per object.
#pragma once

#include <cstdint>
#include <vector>

#include "base/buffer.h"
#include "base/random.h"
#include "base/result.h"
#include "runtime/io.h"
#include "runtime/sync.h"
#include "volume/block_device.h"

namespace foreshard::app {

struct LoadOptions {
  bool write = false;
  bool random = false;            // else in order, starting over at the end
  bool flush_after_each = false;  // of writes
  uint64_t request_bytes = 4096;
  uint32_t depth = 1;  // requests under way
  uint64_t duration_ns = 2'000'000'000;
  uint64_t range_bytes = 0;         // of the device, from its beginning; 0: all of it
  uint64_t bytes_max = UINT64_MAX;  // ends earlier, when so much is done
};

struct LoadResult {
  uint64_t requests = 0;
  uint64_t bytes = 0;
  uint64_t elapsed_ns = 0;
  uint64_t latency_ns_p50 = 0, latency_ns_p99 = 0, latency_ns_max = 0;
  double requests_per_s() const {
    return elapsed_ns == 0 ? 0 : static_cast<double>(requests) * 1e9 / static_cast<double>(elapsed_ns);
  }
  double bytes_per_s() const {
    return elapsed_ns == 0 ? 0 : static_cast<double>(bytes) * 1e9 / static_cast<double>(elapsed_ns);
  }
};

class DeviceLoad {
 public:
  DeviceLoad(runtime::Runtime& runtime, volume::BlockDevice& device, LoadOptions options);
  runtime::Task<Result<LoadResult>> run();
  void cancel() { cancelled_ = true; }

 private:
  runtime::Task<void> lane(runtime::Gate::Pass pass);
  runtime::Task<Result<void>> request(uint64_t offset, Buffer& buffer);
  uint64_t next_offset();

  runtime::Runtime& runtime_;
  volume::BlockDevice& device_;
  LoadOptions options_;
  Random random_;
  uint64_t places_;  // where a request may begin
  uint64_t next_place_ = 0;
  uint64_t end_ns_ = 0;
  bool cancelled_ = false;
  Result<void> result_;
  uint64_t bytes_ = 0;
  std::vector<uint64_t> latencies_ns_;
};

}  // namespace foreshard::app
