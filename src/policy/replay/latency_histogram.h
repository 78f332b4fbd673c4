// LatencyHistogram: how often what latency was seen, in buckets of 1/32 of their size, so that a percentile is right to
// 3 % and the memory is fixed. The mean is exact.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

namespace foreshard::policy {

class LatencyHistogram {
 public:
  void add(uint64_t ns) {
    ++counts_[bucket_of(ns)];
    ++count_;
    sum_ns_ += static_cast<double>(ns);
    max_ns_ = std::max(max_ns_, ns);
  }
  uint64_t count() const { return count_; }
  double mean_ns() const { return count_ == 0 ? 0 : sum_ns_ / static_cast<double>(count_); }
  // The upper bound of the bucket in which the share of the smallest ends; 0 when nothing was added.
  uint64_t percentile_ns(double share) const {
    const auto rank = static_cast<uint64_t>(share * static_cast<double>(count_));
    uint64_t below = 0;
    for (uint32_t bucket = 0; bucket < kBuckets; ++bucket) {
      below += counts_[bucket];
      if (below > rank || (below == count_ && count_ != 0)) return std::min(upper_bound_ns(bucket), max_ns_);
    }
    return 0;
  }

 private:
  static constexpr uint32_t kParts = 32;  // of each power of two
  static constexpr uint32_t kBuckets = 60 * kParts;
  // Below kParts a bucket for each value; from there on the five bits behind the first one tell.
  static uint32_t bucket_of(uint64_t ns) {
    if (ns < kParts) return static_cast<uint32_t>(ns);
    const auto shift = static_cast<uint32_t>(std::bit_width(ns)) - 6;
    return (shift + 1) * kParts + static_cast<uint32_t>((ns >> shift) - kParts);
  }
  static uint64_t upper_bound_ns(uint32_t bucket) {
    if (bucket < kParts) return bucket;
    const uint32_t shift = bucket / kParts - 1;
    return ((uint64_t{bucket % kParts} + kParts + 1) << shift) - 1;
  }

  std::array<uint64_t, kBuckets> counts_{};
  uint64_t count_ = 0;
  uint64_t max_ns_ = 0;
  double sum_ns_ = 0;
};

}  // namespace foreshard::policy
