// Crowding: tells when a client itself keeps the way to its data full. It asks for many requests at once, and each
// takes a multiple of what it takes on an empty way: they wait for one another. What is fetched ahead then arrives no
// sooner than what is asked for, and only adds to the queue and to the work. A client that waits for each answer is
// never crowded by itself, however slow others make the way: for it a prefetch is a place in the queue taken early.
//
// The least latency lately seen stands for the empty way: of reads of about the same size, from the same server, and
// apart for those that its disk was asked for. It is forgotten slowly, so that data which has moved further away is not
// taken for a queue for ever.
//
// Owner: the Prefetcher. Deterministic.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

namespace foreshard::policy {

// A read from a server.
struct ServerRead {
  uint64_t server = 0;
  uint64_t pages = 0;
  uint64_t latency_ns = 0;
  uint64_t disk_ns = 0;  // of that, what its disk took; 0: it had the data in memory
};

class Crowding {
 public:
  void add(const ServerRead& read, uint64_t now_ns) {
    if (read.pages == 0 || read.latency_ns == 0) return;
    const auto latency_ns = static_cast<double>(read.latency_ns);
    Least& least = least_[read.server % kServers][read.disk_ns != 0 ? 1 : 0]
                         [std::min<size_t>(std::bit_width(read.pages), kSizes) - 1];
    if (now_ns > least.seen_ns) {
      least.latency_ns *= 1 + std::min(static_cast<double>(now_ns - least.seen_ns) / kForgetNs, 1.0);
      least.seen_ns = now_ns;
    }
    if (least.latency_ns == 0 || latency_ns < least.latency_ns) least.latency_ns = latency_ns;
    // One that waited for a server to come back says nothing about a queue.
    ratio_ += (std::min(latency_ns / least.latency_ns, kRatioMax) - ratio_) / kMemory;
  }
  // A request finds so many of the client's on their way, itself among them. Clients send in bursts, and see few of
  // their requests wait while most are answered at once: what they have shown to have at once is forgotten slowly.
  void note_request(uint64_t outstanding) {
    const double at_once = std::min(static_cast<double>(outstanding), kAtOnceMax);
    at_once_ += (at_once - at_once_) / (at_once > at_once_ ? kRiseMemory : kFallMemory);
  }
  bool full() const { return ratio_ >= kFullFrom && at_once_ >= kFullAtOnce; }

 private:
  static constexpr double kForgetNs = 3.6e12;  // doubled, about, in less than an hour
  static constexpr double kFullFrom = 3, kRatioMax = 20, kMemory = 32;
  static constexpr double kFullAtOnce = 4, kAtOnceMax = 64, kRiseMemory = 4, kFallMemory = 256;
  static constexpr size_t kServers = 16, kSizes = 8;  // of 1, 2-3, 4-7, ... pages
  struct Least {
    double latency_ns = 0;
    uint64_t seen_ns = 0;
  };
  std::array<std::array<std::array<Least, kSizes>, 2>, kServers> least_;
  double ratio_ = 1;    // of a read's latency to the least, smoothed
  double at_once_ = 1;  // requests under way, as the client has shown
};

}  // namespace foreshard::policy
