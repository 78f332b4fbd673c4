// Crowding: tells when a client itself keeps the way to its data full. It asks for many requests at once, and each
// takes a multiple of what it takes on an empty way: they wait for one another. What is fetched ahead then arrives no
// sooner than what is asked for, and only adds to the queue and to the work. A client that waits for each answer is
// never crowded by itself, however slow others make the way: for it a prefetch is a place in the queue taken early.
//
// The least latency lately seen of reads of about the same size stands for the empty way. It is forgotten slowly, so
// that data which has moved further away is not taken for a queue for ever.
//
// Owner: the Prefetcher. Deterministic.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

namespace foreshard::policy {

class Crowding {
 public:
  // A read of so many pages from a server took that long.
  void add(uint64_t pages, uint64_t latency_ns, uint64_t now_ns) {
    if (pages == 0 || latency_ns == 0) return;
    Least& least = least_[std::min<size_t>(std::bit_width(pages), least_.size()) - 1];
    if (least.latency_ns != 0 && now_ns > least.seen_ns) {
      const double forgotten = static_cast<double>(now_ns - least.seen_ns) / kForgetNs;
      least.latency_ns += static_cast<uint64_t>(static_cast<double>(least.latency_ns) * std::min(forgotten, 1.0));
    }
    least.seen_ns = std::max(least.seen_ns, now_ns);
    if (least.latency_ns == 0 || latency_ns < least.latency_ns) least.latency_ns = latency_ns;
    const double ratio = static_cast<double>(latency_ns) / static_cast<double>(least.latency_ns);
    // One that waited for a server to come back says nothing about a queue.
    ratio_ += (std::min(ratio, kRatioMax) - ratio_) / kMemory;
  }
  // Whether a request of so many pages, with so many on their way to the client, itself among them, finds it full.
  // Clients send in bursts, of which the first see few others: it is the mean that counts.
  bool full(uint64_t pages, uint64_t outstanding_pages) {
    const double at_once = static_cast<double>(outstanding_pages) / static_cast<double>(std::max<uint64_t>(pages, 1));
    at_once_ += (std::min(at_once, kAtOnceMax) - at_once_) / kMemory;
    return ratio_ >= kFullFrom && at_once_ >= kFullAtOnce;
  }

 private:
  static constexpr double kForgetNs = 3.6e12;  // doubled after an hour
  static constexpr double kFullFrom = 3, kRatioMax = 20, kMemory = 32;
  static constexpr double kFullAtOnce = 4, kAtOnceMax = 64;
  struct Least {
    uint64_t latency_ns = 0;
    uint64_t seen_ns = 0;
  };
  std::array<Least, 8> least_;  // of 1, 2-3, 4-7, ... pages
  double ratio_ = 1;            // of a read's latency to the least, smoothed
  double at_once_ = 1;          // requests on their way, smoothed
};

}  // namespace foreshard::policy
