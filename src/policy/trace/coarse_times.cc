#include "policy/trace/coarse_times.h"

#include <algorithm>
#include <numeric>

namespace foreshard::policy {

void CoarseTimes::take(const TraceRequest& request) {
  if (!request.time_ns || request.time_ns != last_ns_) {
    if (request.time_ns && last_ns_ && *request.time_ns > *last_ns_)
      unit_ns_ = std::gcd(unit_ns_, *request.time_ns - *last_ns_);
    finish();
    last_ns_ = request.time_ns;
    spread_ns_ = 0;
  }
  held_.push_back(request);
  if (!request.time_ns) {
    pass_on(0);
  } else if (held_.size() == kHeldMax) {
    pass_on((unit_ns() - std::min(spread_ns_, unit_ns())) / 2);
  }
}

void CoarseTimes::finish() { pass_on(unit_ns() - std::min(spread_ns_, unit_ns())); }

void CoarseTimes::pass_on(uint64_t time_ns) {
  for (size_t i = 0; i < held_.size(); ++i) {
    if (std::optional<uint64_t>& time = held_[i].time_ns)
      *time += std::min(spread_ns_ + time_ns / held_.size() * i, UINT64_MAX - *time);
    sink_(held_[i]);
  }
  spread_ns_ += time_ns;
  held_.clear();
}

}  // namespace foreshard::policy
