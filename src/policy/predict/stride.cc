#include "policy/predict/stride.h"

#include <algorithm>
#include <cstdlib>

namespace foreshard::policy {
namespace {

uint32_t recent_slot(uint64_t page) { return static_cast<uint32_t>(page * 0x9e3779b97f4a7c15ull >> 57); }

}  // namespace

void StridePredictor::observe(const Observation& observation, std::vector<Candidate>& candidates) {
  if (!is_read(observation)) return;
  ++clock_;
  if (continue_stream(observation, candidates)) return;
  start_stream(observation);
  remember(observation.first_page);
}

bool StridePredictor::continue_stream(const Observation& observation, std::vector<Candidate>& candidates) {
  for (Stream& stream : streams_) {
    if (stream.stride == 0) continue;
    // One step may have been skipped or overtaken: two at once keep the stream alive.
    const int64_t moved = static_cast<int64_t>(observation.first_page - stream.last);
    uint32_t steps = 0;
    if (moved == stream.stride) steps = 1;
    if (moved == 2 * stream.stride && stream.steps >= kStepsAhead) steps = 2;
    if (steps == 0) continue;
    stream.last = observation.first_page;
    stream.pages = observation.pages;
    stream.steps += steps;
    stream.proposed -= std::min(stream.proposed, steps);
    stream.last_used = clock_;
    propose(stream, candidates);
    return true;
  }
  return false;
}

// Proposes in batches: again when half of what lies ahead is used up.
void StridePredictor::propose(Stream& stream, std::vector<Candidate>& candidates) {
  const uint32_t ahead = std::clamp(stream.steps, kStepsAhead, kStepsAheadMax);
  if (stream.proposed > ahead / 2) return;
  for (uint32_t step = stream.proposed + 1; step <= ahead; ++step) {
    const int64_t distance = stream.stride * static_cast<int64_t>(step);
    if (distance < 0 && stream.last < static_cast<uint64_t>(-distance)) break;
    Candidate candidate;
    candidate.first_page = stream.last + static_cast<uint64_t>(distance);
    candidate.pages = stream.pages;
    candidate.context = static_cast<uint16_t>(std::min(stream.steps, 31u) * 32 + step);
    candidate.detail = static_cast<uint16_t>(std::clamp<int64_t>(stream.stride, -512, 511) + 512);
    candidates.push_back(candidate);
  }
  stream.proposed = ahead;
}

bool StridePredictor::was_recent(uint64_t page) const {
  if (recent_counts_[recent_slot(page)] == 0) return false;
  return std::find(recent_.begin(), recent_.end(), page) != recent_.end();
}

void StridePredictor::remember(uint64_t page) {
  uint64_t& place = recent_[recent_next_ % kRecent];
  if (recent_next_ >= kRecent) --recent_counts_[recent_slot(place)];
  place = page;
  ++recent_counts_[recent_slot(page)];
  ++recent_next_;
}

void StridePredictor::start_stream(const Observation& observation) {
  const uint64_t known = std::min<uint64_t>(recent_next_, kRecent);
  for (uint64_t back = 1; back <= known; ++back) {
    const uint64_t page = recent_[(recent_next_ - back) % kRecent];
    const int64_t stride = static_cast<int64_t>(observation.first_page - page);
    if (stride == 0 || std::abs(stride) > kStridePagesMax || stride == observation.pages) continue;
    if (stride > 0 && page < static_cast<uint64_t>(stride)) continue;
    if (!was_recent(page - static_cast<uint64_t>(stride))) continue;
    Stream* place = &streams_[0];
    for (Stream& stream : streams_) {
      if (stream.last_used < place->last_used) place = &stream;
    }
    *place = {.last = observation.first_page,
              .stride = stride,
              .pages = observation.pages,
              .steps = 1,
              .proposed = 0,
              .last_used = clock_};
    return;
  }
}

}  // namespace foreshard::policy
