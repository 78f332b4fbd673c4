// CpuBudget: lets work be done only as long as it takes no more than a share of one CPU, with a little saved up for
// bursts. The time comes from a function that the owner injects, so that a simulated or replayed run decides alike.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>

namespace foreshard::policy {

class CpuBudget {
 public:
  static constexpr uint64_t kSavedNsMax = 20'000'000;

  // share: 0 nothing, 1 or more everything. No clock: everything. work_ns: what measures the work, such as the CPU time
  // of its thread; empty: now_ns.
  CpuBudget(double share, std::function<uint64_t()> now_ns, std::function<uint64_t()> work_ns = {})
      : share_(share), now_ns_(std::move(now_ns)), work_ns_(work_ns ? std::move(work_ns) : now_ns_) {
    if (now_ns_) earned_until_ns_ = now_ns_();
  }
  // Whether work may begin; to be followed by spent().
  bool begin() {
    if (!now_ns_) return true;
    began_ns_ = work_ns_();
    if (share_ >= 1) return true;
    const uint64_t now_ns = now_ns_();
    const uint64_t passed_ns = now_ns > earned_until_ns_ ? now_ns - earned_until_ns_ : 0;
    earned_until_ns_ = std::max(now_ns, earned_until_ns_);
    saved_ns_ = std::min(saved_ns_ + share_ * static_cast<double>(passed_ns), static_cast<double>(kSavedNsMax));
    return saved_ns_ > 0;
  }
  // What has been done since begin() is paid for; the time it took, as far as there is a clock.
  uint64_t end() {
    if (!now_ns_) return 0;
    const uint64_t now_ns = work_ns_();
    const uint64_t took_ns = now_ns > began_ns_ ? now_ns - began_ns_ : 0;
    saved_ns_ -= static_cast<double>(took_ns);
    return took_ns;
  }

 private:
  double share_;
  std::function<uint64_t()> now_ns_, work_ns_;
  uint64_t earned_until_ns_ = 0, began_ns_ = 0;
  double saved_ns_ = kSavedNsMax / 4;
};

}  // namespace foreshard::policy
