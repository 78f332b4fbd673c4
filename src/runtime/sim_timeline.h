// SimTimeline: what all parts of a simulated world share: virtual time, the queue of coming events, the seeded
// choices, and the record of what happened (counters of faults by name, the last notable lines, a running
// hash over every decision). Owned by SimWorld; one thread.
//
// Invariant: nothing that happens depends on anything but the seed and the calls made from outside, so the
// fingerprint of two runs with one seed is equal.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "base/random.h"

namespace foreshard::runtime {

class SimTimeline {
 public:
  explicit SimTimeline(uint64_t seed) : random_(seed), fingerprint_(mix64(seed)) {}

  uint64_t now_ns() const { return now_ns_; }
  // Moves time forward; never back.
  void advance_to(uint64_t now_ns);

  // Calls `action` at that time (now, if it is past), outside of every simulated process.
  void at(uint64_t time_ns, std::function<void()> action);
  void after(uint64_t delay_ns, std::function<void()> action) { at(now_ns_ + delay_ns, std::move(action)); }
  uint64_t next_event_ns() const { return events_.empty() ? UINT64_MAX : events_.front().time_ns; }
  // Runs the earliest event; there is one.
  void run_event();

  Random& random() { return random_; }

  // A decision or a happening enters the hash.
  void record(uint64_t what) {
    fingerprint_ = mix64(fingerprint_ ^ what);
    ++recorded_;
  }
  uint64_t fingerprint() const { return fingerprint_; }
  uint64_t recorded() const { return recorded_; }

  // A fault fired: counted by name, one line in the trace.
  void fault(std::string_view name, std::string_view where);
  // Something else worth counting happened.
  void count(std::string_view name, std::string_view what);
  // A notable event: one line in the trace.
  void note(std::string line);
  const std::map<std::string, uint64_t, std::less<>>& counters() const { return counters_; }
  uint64_t fault_count() const { return fault_count_; }
  // The last lines, oldest first.
  const std::deque<std::string>& recent() const { return recent_; }
  // Gets every line as it comes, for a verbose run.
  void set_trace(std::function<void(const std::string&)> sink) { trace_ = std::move(sink); }

 private:
  struct Event {
    uint64_t time_ns;
    uint64_t order;
    std::function<void()> action;
  };
  static bool later(const Event& a, const Event& b) {
    return a.time_ns != b.time_ns ? a.time_ns > b.time_ns : a.order > b.order;
  }
  void add(std::string_view name);
  static constexpr size_t kRecentLinesMax = 80;

  uint64_t now_ns_ = 1'000'000'000;  // not zero, so that a forgotten initial 0 stands out
  std::vector<Event> events_;        // a heap, the earliest first
  uint64_t event_order_ = 0;
  Random random_;
  uint64_t fingerprint_;
  uint64_t recorded_ = 0;
  std::map<std::string, uint64_t, std::less<>> counters_;
  uint64_t fault_count_ = 0;
  std::deque<std::string> recent_;
  std::function<void(const std::string&)> trace_;
};

}  // namespace foreshard::runtime
