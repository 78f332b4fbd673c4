// UseDelays: after how many pages that went into the cache prefetched pages were used, those that were: a histogram
// that forgets. Owner: the PrefetchLedger. Plain arithmetic; a few ns.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

namespace foreshard::policy {

class UseDelays {
 public:
  void add(uint64_t pages) {
    ++counts_[bucket_of(pages)];
    if (++added_ % kEvery == 0) settle();
  }
  // kShare of them were used before so many pages had passed; kUnknown until enough have been seen.
  uint64_t nearly_all() const { return nearly_all_; }
  static constexpr uint64_t kUnknown = uint64_t{1} << 60;

 private:
  static constexpr uint32_t kSub = 4;  // buckets for each doubling
  static constexpr uint32_t kBuckets = 60 * kSub;
  static constexpr double kShare = 0.95;
  static constexpr uint64_t kEvery = 256, kMax = 8192;

  static uint32_t bucket_of(uint64_t pages) {
    const uint64_t value = std::min(pages, kUnknown / 2) + kSub;
    const auto log2 = static_cast<uint32_t>(std::bit_width(value)) - 1;  // at least 2
    return (log2 - 2) * kSub + static_cast<uint32_t>(value >> (log2 - 2) & (kSub - 1));
  }
  // The least that is in the bucket after it.
  static uint64_t end_of(uint32_t bucket) { return ((uint64_t{kSub + 1} + bucket % kSub) << bucket / kSub) - kSub; }

  void settle() {
    uint64_t sum = 0, all = 0;
    for (const uint32_t count : counts_) all += count;
    const auto wanted = static_cast<uint64_t>(kShare * static_cast<double>(all));
    uint32_t bucket = 0;
    while (bucket + 1 < kBuckets && (sum += counts_[bucket]) < wanted) ++bucket;
    nearly_all_ = end_of(bucket);
    if (all < kMax) return;
    for (uint32_t& count : counts_) count /= 2;
  }

  std::array<uint32_t, kBuckets> counts_{};
  uint64_t added_ = 0;
  uint64_t nearly_all_ = kUnknown;
};

}  // namespace foreshard::policy
