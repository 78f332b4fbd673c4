// CoarseTimes: spreads the requests of a trace whose clock is too coarse to tell them apart. Some recorders count whole
// seconds; then hundreds of requests carry one time, and a model of latency would see them all at once, with nothing
// ever arriving in between. What the clock counts in is the greatest common divisor of the distances between its times;
// where that is 10 ms or more, the requests of one time are spread evenly over it. Finer ties stay: they may be true.
//
// The first times are spread before the unit is known: by the smallest one so far.
//
// Owner: who reads the trace; stands between the reader and what takes its requests. Memory: kHeldMax requests. Where
// more carry one time, each kHeldMax of them get half of what is left of it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "policy/trace/trace_reader.h"

namespace foreshard::policy {

class CoarseTimes {
 public:
  static constexpr uint64_t kCoarseNs = 10'000'000;
  static constexpr size_t kHeldMax = 65'536;

  explicit CoarseTimes(TraceReader::Sink sink) : sink_(std::move(sink)) {}
  void take(const TraceRequest& request);
  // After the last one.
  void finish();
  // What the clock counts in, when that is coarse; else 0.
  uint64_t unit_ns() const { return unit_ns_ >= kCoarseNs ? unit_ns_ : 0; }

 private:
  // Those held, over so much time from spread_ns_ on.
  void pass_on(uint64_t time_ns);

  TraceReader::Sink sink_;
  std::vector<TraceRequest> held_;  // all of one time
  std::optional<uint64_t> last_ns_;
  uint64_t unit_ns_ = 0;    // 0: there was one time only so far
  uint64_t spread_ns_ = 0;  // of the present time, given away already
};

}  // namespace foreshard::policy
