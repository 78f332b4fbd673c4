#include "policy/predict/log_replay.h"

#include <bit>
#include <utility>

#include "base/assert.h"
#include "base/random.h"

namespace foreshard::policy {
namespace {

constexpr uint64_t kBucketsFirst = 256;
constexpr uint32_t kMatchMax = 1000;
constexpr uint32_t kStepCodes = 31;
constexpr uint64_t kPauseNs = 1'000'000'000;  // so long a silence says nothing of the pace
constexpr uint64_t kPaceShare = 16;
constexpr uint32_t kMatchSkips = 4;  // entries of the past that may have been left out since

uint32_t log2_bucket(uint64_t value) { return static_cast<uint32_t>(std::bit_width(value)); }

}  // namespace

LogReplayPredictor::LogReplayPredictor(uint32_t entries_max)
    : entries_max_(entries_max), buckets_(kBucketsFirst), index_(kBucketsFirst), last_(kVolumes) {
  ASSERT(std::has_single_bit(entries_max) && entries_max < 1u << kSlotBits, entries_max);
  ring_.reserve(entries_max);  // is never moved; the memory is taken as it is used
  index_.reserve(std::max<uint64_t>(entries_max, kBucketsFirst));
}

uint64_t LogReplayPredictor::memory_bytes_max() const {
  return uint64_t{entries_max_} * sizeof(Entry) + std::max<uint64_t>(entries_max_, kBucketsFirst) * sizeof(Bucket) +
         last_.size() * sizeof(Last);
}

uint64_t LogReplayPredictor::memory_bytes() const {
  return ring_.size() * sizeof(Entry) + index_.size() * sizeof(Bucket) + last_.size() * sizeof(Last);
}

// The last entry that lies in the slot.
uint64_t LogReplayPredictor::position_of(uint32_t slot) const {
  const uint64_t turn = (next_ - 1) & ~uint64_t{entries_max_ - 1};
  return turn + slot < next_ ? turn + slot : turn + slot - entries_max_;
}

// The bucket is chosen by the lower bits of the hash.
uint32_t LogReplayPredictor::place_of(uint64_t page, uint32_t slot) {
  return static_cast<uint32_t>(mix64(page) >> 32) << kSlotBits | (slot + 1);
}

void LogReplayPredictor::expect_more(const Observation& observation) const {
  const uint64_t hash = mix64(observation.first_page);
  const auto tag = static_cast<uint32_t>(hash >> 32) << kSlotBits;
  for (const uint32_t place : index_[buckets_.of(hash)]) {
    if (place != 0 && (place ^ tag) >> kSlotBits == 0) __builtin_prefetch(&ring_[slot_of(place)]);
  }
}

uint32_t& LogReplayPredictor::locate(uint64_t page) {
  const uint64_t hash = mix64(page);
  Bucket& bucket = index_[buckets_.of(hash)];
  const auto tag = static_cast<uint32_t>(hash >> 32) << kSlotBits;
  for (uint32_t& place : bucket) {
    const bool maybe = place != 0 && (place ^ tag) >> kSlotBits == 0;
    if (maybe && ring_[slot_of(place)].first_page == page) return place;
  }
  uint32_t* oldest = &bucket[0];
  uint64_t oldest_position = UINT64_MAX;
  for (uint32_t& place : bucket) {
    if (place == 0) return place;
    const uint64_t position = position_of(slot_of(place));
    if (position >= oldest_position) continue;
    oldest = &place;
    oldest_position = position;
  }
  *oldest = 0;
  return *oldest;
}

void LogReplayPredictor::grow() {
  const uint64_t number = buckets_.grow();
  Bucket& added = index_.emplace_back();
  Bucket& split = index_[number];
  for (uint32_t way = 0; way < kWays; ++way) {
    if (split[way] == 0) continue;
    const uint64_t page = ring_[slot_of(split[way])].first_page;
    if (&index_[buckets_.of(mix64(page))] == &added) added[way] = std::exchange(split[way], 0);
  }
}

void LogReplayPredictor::forget(uint32_t slot) {
  for (uint32_t& place : index_[buckets_.of(mix64(ring_[slot].first_page))]) {
    if (place != 0 && slot_of(place) == slot) place = 0;
  }
}

// One more than the match of the entry before it, if that one's past led to this one's.
uint16_t LogReplayPredictor::match_of(uint64_t before, uint64_t occurrence) {
  if (!alive(before)) return 0;
  const Entry& previous = at(before);
  if (previous.back == 0 || !alive(before - previous.back)) return 0;
  uint64_t past = before - previous.back;
  for (uint32_t skip = 0; skip < kMatchSkips; ++skip) {
    const uint32_t forward = at(past).forward;
    if (forward == 0) return 0;
    past += forward;
    if (past == occurrence) return static_cast<uint16_t>(std::min<uint32_t>(previous.match + 1, kMatchMax));
    if (past > occurrence) return 0;
  }
  return 0;
}

uint64_t LogReplayPredictor::remember(const Observation& observation) {
  // Never more than one entry on average in a bucket that is still to be split, so that buckets overflow rarely.
  for (uint32_t i = 0; i < 2 && index_.size() < std::min<uint64_t>(ring_.size() * 2, entries_max_); ++i) grow();
  const uint64_t position = next_++;
  const auto slot = static_cast<uint32_t>(position & (entries_max_ - 1));
  if (ring_.size() < entries_max_) {
    ring_.emplace_back();
  } else {
    forget(slot);
  }
  Entry& entry = ring_[slot];
  entry = Entry{};
  uint32_t& place = locate(observation.first_page);
  const uint64_t occurrence = place == 0 ? UINT64_MAX : position_of(slot_of(place));
  place = place_of(observation.first_page, slot);
  entry.first_page = observation.first_page;
  entry.pages = observation.pages;

  Last& last = last_[mix64(stream_of(observation)) & (kVolumes - 1)];
  const bool follows = last.volume == stream_of(observation) && alive(last.position);
  if (follows) at(last.position).forward = static_cast<uint32_t>(position - last.position);
  if (occurrence != UINT64_MAX && alive(occurrence)) {
    entry.back = static_cast<uint32_t>(position - occurrence);
    entry.occurrences = static_cast<uint16_t>(std::min<uint32_t>(at(occurrence).occurrences + 1u, UINT16_MAX));
    if (follows) entry.match = match_of(last.position, occurrence);
  }
  last = {stream_of(observation), position};
  // The next one writes over the oldest entry, which the index must forget.
  if (ring_.size() == entries_max_) __builtin_prefetch(&index_[buckets_.of(mix64(at(position + 1).first_page))]);
  return position;
}

void LogReplayPredictor::teach(const Observation& observation) {
  if (is_read(observation)) remember(observation);
}

std::vector<LoggedRequest> LogReplayPredictor::recent(size_t requests_max) const {
  std::vector<LoggedRequest> requests;
  const uint64_t count = std::min<uint64_t>({requests_max, next_, entries_max_});
  requests.reserve(count);
  for (uint64_t position = next_ - count; position < next_; ++position) {
    const Entry& entry = ring_[position & (entries_max_ - 1)];
    requests.push_back({entry.first_page, entry.pages});
  }
  return requests;
}

void LogReplayPredictor::observe(const Observation& observation, std::vector<Candidate>& candidates) {
  if (!is_read(observation)) return;
  measure_pace(observation);
  const uint64_t position = remember(observation);
  const Entry& entry = at(position);
  uint64_t past = position;
  for (uint8_t rank = 0; rank < kOccurrences; ++rank) {
    const uint32_t back = at(past).back;
    if (back == 0 || back > past || !alive(past - back)) return;
    past -= back;
    const bool trusted = rank == 0 && entry.match >= kMatchTrusted;
    propose(past, rank, rank == 0 ? entry.match : 0, entry.occurrences, trusted ? steps_trusted(observation) : kSteps,
            candidates);
  }
}

void LogReplayPredictor::measure_pace(const Observation& observation) {
  const uint64_t passed = observation.time_ns - std::min(last_ns_, observation.time_ns);
  if (last_ns_ != 0 && passed < kPauseNs)
    interval_ns_ = interval_ns_ == 0 ? passed : (interval_ns_ * (kPaceShare - 1) + passed) / kPaceShare;
  last_ns_ = observation.time_ns;
}

uint32_t LogReplayPredictor::steps_trusted(const Observation& observation) const {
  const uint64_t requests = 2 * observation.fetch_latency_ns / std::max<uint64_t>(interval_ns_, 1);
  return static_cast<uint32_t>(std::clamp<uint64_t>(interval_ns_ == 0 ? 0 : requests, kStepsTrusted, kStepsFar));
}

// Where nothing was followed up to now, or not as far, all of the steps are new. Of what lies far ahead, only what was
// not proposed before: the request before this one reached one step less far.
bool LogReplayPredictor::proposed_at(uint32_t step, uint8_t rank, uint32_t match, uint32_t steps) {
  if (step > kStepsTrusted) return step + 1 >= steps || match <= kMatchTrusted;
  if (rank == 0 && (match == 0 || (match == kMatchTrusted && step > kSteps))) return true;
  return (kStepsAgain >> step & 1) != 0;
}

void LogReplayPredictor::propose(uint64_t occurrence, uint8_t rank, uint32_t match, uint32_t occurrences,
                                 uint32_t steps, std::vector<Candidate>& candidates) {
  const uint32_t age = log2_bucket(next_ - occurrence);
  uint64_t past = occurrence;
  for (uint32_t step = 1; step <= steps; ++step) {
    const uint32_t forward = at(past).forward;
    if (forward == 0) return;
    past += forward;
    if (past + 1 >= next_) return;
    if (!proposed_at(step, rank, match, steps)) continue;
    const Entry& entry = at(past);
    Candidate candidate;
    candidate.first_page = entry.first_page;
    candidate.pages = entry.pages;
    candidate.rank = rank;
    candidate.context = static_cast<uint16_t>((std::min(log2_bucket(match), 6u) * 32 + std::min(step, kStepCodes)) * 4 +
                                              std::min(occurrences, 3u));
    candidate.detail = static_cast<uint16_t>(std::min(age, 20u) * 32 + std::min(step, kStepCodes));
    candidates.push_back(candidate);
  }
}

}  // namespace foreshard::policy
