#include "runtime/sim_timeline.h"

#include <algorithm>

#include "base/assert.h"

namespace foreshard::runtime {

void SimTimeline::advance_to(uint64_t now_ns) {
  ASSERT(now_ns >= now_ns_, now_ns, now_ns_);
  now_ns_ = now_ns;
}

void SimTimeline::at(uint64_t time_ns, std::function<void()> action) {
  events_.push_back({std::max(time_ns, now_ns_), event_order_++, std::move(action)});
  std::push_heap(events_.begin(), events_.end(), later);
}

void SimTimeline::run_event() {
  ASSERT(!events_.empty());
  std::pop_heap(events_.begin(), events_.end(), later);
  Event event = std::move(events_.back());
  events_.pop_back();
  if (event.time_ns > now_ns_) advance_to(event.time_ns);
  record(event.time_ns ^ event.order << 40);
  event.action();
}

void SimTimeline::fault(std::string_view name, std::string_view where) {
  ++fault_count_;
  add(name);
  note(fmt::format("fault: {} at {}", name, where));
}

void SimTimeline::count(std::string_view name, std::string_view what) {
  add(name);
  note(fmt::format("{}: {}", name, what));
}

void SimTimeline::add(std::string_view name) {
  auto found = counters_.find(name);
  if (found == counters_.end()) found = counters_.emplace(std::string(name), 0).first;
  ++found->second;
}

void SimTimeline::note(std::string line) {
  std::string stamped = fmt::format("{:>12.6f}  {}", static_cast<double>(now_ns_) / 1e9, line);
  if (trace_) trace_(stamped);
  recent_.push_back(std::move(stamped));
  if (recent_.size() > kRecentLinesMax) recent_.pop_front();
}

}  // namespace foreshard::runtime
