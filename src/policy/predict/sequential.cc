#include "policy/predict/sequential.h"

#include <algorithm>

namespace foreshard::policy {
namespace {

constexpr uint32_t kProvenRequests = 3;   // from here on a stream may run out of order
constexpr uint64_t kProvenPages = 256;    // from here on it may look further ahead
constexpr uint64_t kLargePages = 8;
constexpr uint32_t kFirstPagesMax = 8;

// What is believed of a stream by how long it has run; each level's real worth is measured elsewhere.
float confidence_after(uint32_t requests, uint64_t pages) {
  if (requests == 0) return 0.1f;
  if (pages >= kProvenPages) return 0.95f;
  if (requests == 1) return 0.45f;
  if (requests <= 3) return 0.55f;
  if (requests <= 8) return 0.7f;
  return 0.8f;
}

}  // namespace

SequentialPredictor::Stream* SequentialPredictor::find(uint64_t first, uint64_t end) {
  Stream* nearest = nullptr;
  for (Stream& stream : streams_) {
    // Large requests that do not start on a page share one with what went before.
    if (stream.next == first || (stream.next == first + 1 && end - first >= kLargePages)) return &stream;
    if (stream.requests < kProvenRequests || stream.next == kUnused) continue;
    // A little behind its front, or skipping forward within what was proposed.
    const bool behind = end <= stream.next && stream.next - first <= stream.window_pages;
    const bool ahead = first > stream.next && first <= stream.proposed_end;
    const bool overlaps = first < stream.next && end > stream.next;
    if (behind || ahead || overlaps) nearest = &stream;
  }
  return nearest;
}

SequentialPredictor::Stream& SequentialPredictor::oldest() {
  Stream* oldest = &streams_[0];
  for (Stream& stream : streams_) {
    if (stream.last_used < oldest->last_used) oldest = &stream;
  }
  return *oldest;
}

void SequentialPredictor::observe(const Observation& observation, std::vector<Candidate>& candidates) {
  if (observation.write || observation.pages == 0) return;
  ++clock_;
  const uint64_t end = observation.first_page + observation.pages;
  if (Stream* stream = find(observation.first_page, end)) {
    advance(*stream, observation, candidates);
  } else {
    start(observation, candidates);
  }
}

void SequentialPredictor::start(const Observation& observation, std::vector<Candidate>& candidates) {
  Stream& stream = oldest();
  stream = Stream{};
  stream.next = observation.first_page + observation.pages;
  stream.proposed_end = stream.next;
  stream.marker = stream.next;
  stream.last_used = clock_;
  stream.pages = observation.pages;
  awaited_[slot_of(stream.next)] = stream.next;
  // A guess that is worth something only on some volumes: there it will earn its opening in shadow.
  const uint32_t pages = std::min(observation.pages * 2, kFirstPagesMax);
  candidates.push_back({stream.next, pages, confidence_after(0, 0), 0});
}

void SequentialPredictor::advance(Stream& stream, const Observation& observation, std::vector<Candidate>& candidates) {
  const uint64_t end = observation.first_page + observation.pages;
  stream.last_used = clock_;
  if (end <= stream.next) return;  // one that was overtaken
  stream.pages += end - stream.next;
  stream.next = end;
  ++stream.requests;
  awaited_[slot_of(end)] = end;
  if (stream.requests > 1 && end <= stream.marker && end + observation.pages <= stream.proposed_end) return;

  const uint32_t usual_max = stream.pages >= kProvenPages ? kWindowPagesProvenMax : kWindowPagesMax;
  const uint32_t pages_max =
      std::min({std::max(usual_max, observation.pages * 4), kWindowPagesEver, window_pages_max_});
  const uint32_t wanted = stream.window_pages == 0 ? observation.pages * 4 : stream.window_pages * 2;
  stream.window_pages = std::clamp(wanted, std::min(4u, pages_max), pages_max);

  // A client that reads further ahead than the cache has room for would only be given in pieces what it asks for
  // anyway.
  if (observation.outstanding_pages > window_pages_max_) return;

  const uint64_t from = std::max(stream.proposed_end, stream.next);
  const uint64_t to = std::max(from, stream.next) + stream.window_pages;
  stream.marker = from;
  stream.proposed_end = to;
  const float confidence = confidence_after(stream.requests, stream.pages);
  candidates.push_back({from, static_cast<uint32_t>(to - from), confidence, 0});
}

}  // namespace foreshard::policy
