// Warming: the second destination of prefetching, the memory of the server that has the data. A page that is not
// probable enough for the driver's cache may still be worth a read by its server: that takes nothing of the network and
// displaces nothing at the client, and spares a later read the disk. It has thresholds and a budget of its own, so that
// what is wasted in one place is not held against the other.
//
// It pays only where the disk makes up a good part of what a read from disk takes: not for data in another zone.
//
// Owner: the Prefetcher. Plain arithmetic, no clock.
#pragma once

#include <algorithm>
#include <cstdint>

#include "policy/prefetch/budget.h"

namespace foreshard::policy {

// Pages.
struct WarmingStatistics {
  bool pays = false;
  double disk_share = 0;  // of what a read from a server's disk takes; 0: not known
  double threshold = 0;   // of the probability, for a large request
  double budget_tokens = 0;
  uint64_t issued = 0;
  uint64_t used = 0;    // read within the horizon
  uint64_t wasted = 0;  // not read
  uint64_t taken = 0;   // fetched into the driver's cache in the meantime
  uint64_t in_flight = 0;
};

class Warming {
 public:
  explicit Warming(const BudgetSettings& driver) : threshold_(settings(driver)), budget_(kWasteShare) {}

  void set_enabled(bool enabled) { enabled_ = enabled; }
  // A read took that long, and of it the server's disk so much; 0: it came from the server's memory.
  void on_read(uint64_t latency_ns, uint64_t disk_ns) {
    if (disk_ns == 0 || latency_ns == 0) return;
    const double share = std::min(static_cast<double>(disk_ns) / static_cast<double>(latency_ns), 1.0);
    disk_share_ += (share - disk_share_) / static_cast<double>(std::min(++disk_reads_, kMemory));
  }
  bool pays() const { return enabled_ && disk_reads_ >= kReadsFirst && disk_share_ >= kDiskShareMin; }
  // Whether a page of this probability, whose request lacks so many, is worth it. `begun`: the pages before it are on
  // their way, and worth little without it.
  bool allows(double probability, uint32_t missing, bool begun) const {
    return pays() && in_flight_ < kInFlightMax && probability >= threshold_.of(missing) * (begun ? kRestShare : 1) &&
           budget_.affordable(probability, open_) != 0;
  }
  void earn(uint64_t read_pages) { budget_.earn(read_pages); }
  void issue() {
    ++issued_;
    ++open_;
    ++in_flight_;
  }
  void arrived(uint64_t pages) { in_flight_ -= std::min(in_flight_, pages); }
  void outcome(bool used) {
    open_ -= std::min<uint64_t>(open_, 1);
    ++(used ? used_ : wasted_);
    threshold_.learn(used);
    if (!used) budget_.waste();
  }
  // It goes into the driver's cache after all.
  void take() {
    open_ -= std::min<uint64_t>(open_, 1);
    ++taken_;
  }
  WarmingStatistics statistics() const {
    return {pays(), disk_share_, threshold_.value(), budget_.tokens(), issued_, used_, wasted_, taken_, in_flight_};
  }

 private:
  static constexpr double kDiskShareMin = 0.5;
  static constexpr double kRestShare = 0.5;        // of the threshold: for the rest of a request
  static constexpr double kThresholdShare = 0.75;  // of the driver's
  static constexpr double kPrecisionMin = 0.3;
  static constexpr double kPace = 4;          // of the threshold: it sees fewer outcomes than the driver's
  static constexpr double kWasteShare = 0.5;  // of the pages that the client reads
  static constexpr uint64_t kReadsFirst = 32, kMemory = 256;
  static constexpr uint64_t kInFlightMax = 128;

  static BudgetSettings settings(BudgetSettings driver) {
    // It moves only where precision is below the minimum.
    const double threshold = driver.threshold.first * kThresholdShare, small = driver.small_share.first;
    driver.threshold = {.first = threshold, .least = threshold};
    driver.small_share = {.first = small, .least = small, .most = small};
    driver.half_share_min = 1;
    driver.precision_min = std::min(driver.precision_min, kPrecisionMin);
    driver.pace = kPace;
    return driver;
  }

  Threshold threshold_;
  WasteBudget budget_;
  bool enabled_ = false;
  double disk_share_ = 0;
  uint64_t disk_reads_ = 0;
  uint64_t issued_ = 0, used_ = 0, wasted_ = 0, taken_ = 0, open_ = 0, in_flight_ = 0;
};

}  // namespace foreshard::policy
