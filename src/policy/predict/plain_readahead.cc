#include "policy/predict/plain_readahead.h"

#include <algorithm>

namespace foreshard::policy {
namespace {

constexpr float kConfidence = 0.5f;

}  // namespace

PlainReadahead::Stream* PlainReadahead::find(uint64_t first) {
  for (Stream& stream : streams_) {
    if (stream.next == kUnused) continue;
    const uint64_t gap = std::max(kGapPages, stream.window_pages / 2);
    // A request that does not begin on a page shares one with the request before.
    if (first + 1 >= stream.next && first <= stream.next + gap) return &stream;
  }
  return nullptr;
}

PlainReadahead::Stream& PlainReadahead::oldest() {
  return *std::min_element(streams_.begin(), streams_.end(),
                           [](const Stream& a, const Stream& b) { return a.last_used < b.last_used; });
}

void PlainReadahead::observe(const Observation& observation, std::vector<Candidate>& candidates) {
  if (observation.write || observation.pages == 0) return;
  ++clock_;
  const uint64_t end = observation.first_page + observation.pages;
  Stream* stream = find(observation.first_page);
  if (stream == nullptr) {
    oldest() = {.next = end, .window_end = end, .window_pages = 0, .last_used = clock_};
    return;
  }
  stream->last_used = clock_;
  if (end <= stream->next) return;  // its last page again
  stream->next = end;
  const bool starts = stream->window_pages == 0;
  if (!starts && end + stream->window_pages / 2 < stream->window_end) return;
  const uint64_t wanted = starts ? std::max<uint64_t>(kWindowPagesMin, uint64_t{2} * observation.pages)
                                 : uint64_t{2} * stream->window_pages;
  stream->window_pages = static_cast<uint32_t>(std::min<uint64_t>(wanted, window_pages_max_));
  const uint64_t from = std::max(stream->window_end, end);
  candidates.push_back({from, stream->window_pages, kConfidence, 0});
  stream->window_end = from + stream->window_pages;
}

}  // namespace foreshard::policy
