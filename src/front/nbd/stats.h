// What an export has done: counts, bytes and latencies per kind of request. Plain numbers of one core; the
// CLI's live view subtracts two snapshots.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <string>

namespace foreshard::front {

// Counts in buckets whose bounds grow by a quarter of a power of two: at most 25 % off.
class LatencyHistogram {
 public:
  static constexpr uint32_t kBuckets = 160;  // up to 2^41 ns
  void add(uint64_t ns) { ++counts_[bucket_of(ns)]; }
  uint64_t count() const;
  // The upper bound of the bucket in which the given fraction of samples lies; 0 without samples.
  uint64_t quantile_ns(double fraction) const;
  void merge(const LatencyHistogram& other);
  // What came since `earlier`, a former snapshot of this histogram.
  LatencyHistogram since(const LatencyHistogram& earlier) const;

 private:
  static uint32_t bucket_of(uint64_t ns) {
    if (ns < 4) return static_cast<uint32_t>(ns);
    const uint32_t log2 = static_cast<uint32_t>(std::bit_width(ns)) - 1;
    const uint32_t bucket = (log2 - 1) * 4 + static_cast<uint32_t>(ns >> (log2 - 2) & 3);
    return bucket < kBuckets ? bucket : kBuckets - 1;
  }
  static uint64_t upper_bound_ns(uint32_t bucket) {
    if (bucket < 4) return bucket;
    return ((uint64_t{5} + bucket % 4) << (bucket / 4 - 1)) - 1;
  }
  std::array<uint64_t, kBuckets> counts_ = {};
};

enum class NbdOperation : uint8_t { kRead, kWrite, kFlush, kTrim, kCache, kZero, kBlockStatus, kRefused };
inline constexpr size_t kNbdOperations = 8;

struct NbdOperationStats {
  uint64_t requests = 0;
  uint64_t errors = 0;
  uint64_t bytes = 0;
  uint64_t latency_ns_sum = 0;  // from the request's arrival to its reply's leaving
  LatencyHistogram latency;
};

struct NbdExportStats {
  std::string name;
  uint64_t size_bytes = 0;
  uint32_t connections = 0;
  uint64_t bytes_in_flight = 0;  // payloads of requests begun and not answered
  std::array<NbdOperationStats, kNbdOperations> operations;
  const NbdOperationStats& of(NbdOperation operation) const { return operations[static_cast<size_t>(operation)]; }
  NbdOperationStats& of(NbdOperation operation) { return operations[static_cast<size_t>(operation)]; }
};

}  // namespace foreshard::front
