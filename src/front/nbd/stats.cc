#include "front/nbd/stats.h"

namespace foreshard::front {

uint64_t LatencyHistogram::count() const {
  uint64_t sum = 0;
  for (uint64_t n : counts_) sum += n;
  return sum;
}

uint64_t LatencyHistogram::quantile_ns(double fraction) const {
  const uint64_t total = count();
  if (total == 0) return 0;
  const auto rank = static_cast<uint64_t>(fraction * static_cast<double>(total - 1));
  uint64_t seen = 0;
  for (uint32_t bucket = 0; bucket < kBuckets; ++bucket) {
    seen += counts_[bucket];
    if (seen > rank) return upper_bound_ns(bucket);
  }
  return upper_bound_ns(kBuckets - 1);
}

void LatencyHistogram::merge(const LatencyHistogram& other) {
  for (uint32_t bucket = 0; bucket < kBuckets; ++bucket) counts_[bucket] += other.counts_[bucket];
}

LatencyHistogram LatencyHistogram::since(const LatencyHistogram& earlier) const {
  LatencyHistogram difference;
  for (uint32_t bucket = 0; bucket < kBuckets; ++bucket) {
    difference.counts_[bucket] = counts_[bucket] - earlier.counts_[bucket];
  }
  return difference;
}

}  // namespace foreshard::front
