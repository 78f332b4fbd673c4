#include "policy/predict/sequential.h"

#include <algorithm>
#include <bit>

namespace foreshard::policy {
namespace {

constexpr uint32_t kLargePages = 8;
constexpr uint32_t kCodeBehind = 7;

uint32_t log2_bucket(uint64_t value) { return static_cast<uint32_t>(std::bit_width(value)); }

}  // namespace

bool SequentialPredictor::may_fit(uint64_t first) const {
  const uint64_t low = first - std::min(first, kGapPagesMax), high = first + kGapPagesMax + kLargePages;
  return areas_[area(low)] != 0 || areas_[area(high)] != 0;
}

void SequentialPredictor::set_next(uint32_t place, uint64_t next) {
  if (next_[place] != kUnused) --areas_[area(next_[place])];
  next_[place] = next;
  ++areas_[area(next)];
}

SequentialPredictor::Fit SequentialPredictor::find(uint64_t first, uint64_t end, uint32_t& place) const {
  if (!may_fit(first)) return Fit::kNew;
  uint64_t best = kGapPagesMax + 1;
  Fit fit = Fit::kNew;
  for (uint32_t i = 0; i < kStreams; ++i) {
    const uint64_t skipped = first - next_[i];  // wraps around for what lies behind
    if (skipped == 0) {
      place = i;
      return Fit::kExact;
    }
    if (skipped < best) {
      best = skipped;
      place = i;
      fit = Fit::kSkipped;
    }
  }
  if (fit != Fit::kNew) return fit;
  for (uint32_t i = 0; i < kStreams; ++i) {
    const uint64_t behind = next_[i] - first;
    if (next_[i] == kUnused || behind > kGapPagesMax + kLargePages || behind > streams_[i].pages) continue;
    place = i;
    return end > next_[i] ? Fit::kSkipped : Fit::kBehind;
  }
  return Fit::kNew;
}

void SequentialPredictor::observe(const Observation& observation, std::vector<Candidate>& candidates) {
  if (!is_read(observation)) return;
  ++clock_;
  const uint64_t first = observation.first_page, end = first + observation.pages;
  uint32_t place = 0;
  const Fit fit = find(first, end, place);
  uint32_t gap_code = 0;
  if (fit == Fit::kNew) {
    for (uint32_t i = 1; i < kStreams; ++i) {
      if (last_used_[i] < last_used_[place]) place = i;
    }
    streams_[place] = Stream{};
  } else {
    ++streams_[place].run;
    if (fit == Fit::kSkipped) gap_code = std::min(log2_bucket(first > next_[place] ? first - next_[place] : 0), 6u);
    if (fit == Fit::kBehind) gap_code = kCodeBehind;
  }
  current_ = place;
  Stream& stream = streams_[place];
  advance(stream, observation);
  last_used_[place] = clock_;
  if (fit == Fit::kNew || end > next_[place]) set_next(place, end);
  propose(stream, next_[place], gap_code, observation, candidates);
}

void SequentialPredictor::advance(Stream& stream, const Observation& observation) {
  stream.previous_pages = stream.request_pages;
  stream.request_pages = observation.pages;
  stream.pages += observation.pages;
  if (stream.time_ns != 0 && observation.time_ns > stream.time_ns) {
    const uint64_t passed = observation.time_ns - stream.time_ns;
    stream.interval_ns = stream.interval_ns == 0 ? passed : (stream.interval_ns * 7 + passed) / 8;
  }
  stream.time_ns = observation.time_ns;
}

// What the stream reads while a fetch is on its way, twice over; at least its next two requests, or one that is large.
uint64_t SequentialPredictor::ahead_pages(const Stream& stream, const Observation& observation) const {
  uint64_t steps = steps_always(stream.request_pages);
  if (stream.run >= kProvenRequests) {
    steps += std::min<uint64_t>(stream.run / 2, kPiecePagesMax);
    // Beyond the bound it makes no difference how far away the data is.
    if (stream.interval_ns != 0)
      steps += 2 * std::min<uint64_t>(observation.fetch_latency_ns / stream.interval_ns, ahead_pages_max_);
  }
  const uint64_t pages_max = stream.run >= kProvenRequests ? std::max(stream.pages, uint64_t{kPiecePagesMax}) : kUnused;
  return std::min({steps * stream.request_pages, pages_max, uint64_t{ahead_pages_max_}});
}

uint64_t SequentialPredictor::window_pages(const Stream& stream) const {
  if (stream.run < kWindowRequests) return 0;
  const uint64_t pages = uint64_t{kWindowPagesFirst} << std::min(stream.run - kWindowRequests, 8u);
  return std::min<uint64_t>({pages, window_pages_max_, ahead_pages_max_});
}

void SequentialPredictor::propose(Stream& stream, uint64_t next, uint32_t gap_code, const Observation& observation,
                                  std::vector<Candidate>& candidates) {
  const uint32_t run = std::min(stream.run, 31u);
  const auto push = [&](uint64_t first, uint64_t pages, uint32_t distance_code) {
    Candidate candidate;
    candidate.first_page = first;
    candidate.pages = static_cast<uint32_t>(pages);
    candidate.request_pages = observation.pages;
    candidate.context = static_cast<uint16_t>((run * 8 + distance_code) * 8 + gap_code);
    candidate.detail =
        static_cast<uint16_t>(std::min(stream.previous_pages, 63u) * 64 + std::min(stream.request_pages, 63u));
    candidates.push_back(candidate);
  };
  const uint64_t pages = observation.pages;
  const uint64_t near_end = next + std::min<uint64_t>(pages * steps_always(pages), ahead_pages_max_);
  uint32_t step = 0;
  for (uint64_t page = next; page < near_end; page += pages) push(page, std::min(pages, near_end - page), step++);
  // A client that reads further ahead than there is room for would only be given in pieces what it asks for anyway.
  if (observation.outstanding_pages > ahead_pages_max_) return;
  uint64_t window_end = next + window_pages(stream);
  if (stream.proposed_end >= window_end) window_end = 0;  // what lies there was proposed in pieces
  uint64_t piece = std::max<uint64_t>(pages, 2);
  uint32_t code = kStepsAlways;
  for (uint64_t page = near_end; page < window_end; page += piece, piece *= 2) {
    push(page, std::min(piece, window_end - page), std::min(code++, 7u));
  }
  // Further ahead, again when half of it is used up.
  const uint64_t ahead = ahead_pages(stream, observation);
  if (next + ahead <= near_end) return;
  const uint64_t from = std::max(stream.proposed_end, near_end);
  if (from > next + ahead / 2 && stream.proposed_end != 0) return;
  for (uint64_t page = from; page < next + ahead; page += kPiecePagesMax) {
    const uint64_t distance = (page - next) / pages;
    push(page, std::min<uint64_t>(kPiecePagesMax, next + ahead - page), 2 + std::min(log2_bucket(distance) / 2, 5u));
  }
  stream.proposed_end = next + ahead;
}

}  // namespace foreshard::policy
