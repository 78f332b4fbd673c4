#include "policy/predict/fingerprint.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <utility>

#include "base/linear_probing.h"
#include "base/random.h"

namespace foreshard::policy {
namespace {

constexpr uint32_t kNearRequests = 256;   // a recognised session goes on within so many of where it was
constexpr uint32_t kLevelOfWindow = 16;   // requests that the level is counted over
constexpr uint32_t kRecognised = 8;       // of those
constexpr uint32_t kRecognisedFirst = 4;  // while a session is younger than that
constexpr uint32_t kSure = 13;
constexpr uint32_t kLikeShare = 5;  // a session is like a recording that lacks at most a fifth of it

uint32_t level_of(uint32_t window) {
  return static_cast<uint32_t>(std::popcount(window & ((1u << kLevelOfWindow) - 1)));
}

uint32_t log2_bucket(uint64_t value) { return static_cast<uint32_t>(std::bit_width(value)); }

bool mostly(size_t part, size_t whole) { return part * kLikeShare >= whole * (kLikeShare - 1); }

}  // namespace

FingerprintPredictor::FingerprintPredictor() { current_.at_attach = true; }

uint64_t FingerprintPredictor::memory_bytes_max() const {
  constexpr uint64_t requests = uint64_t{kRecordingsMax + 1} * kRequestsMax;
  return requests * sizeof(RecordedRequest) + uint64_t{kRecordingsMax} * kRequestsMax * 4 * sizeof(Place);
}

bool FingerprintPredictor::is_recognised(const Match& match) const {
  const uint32_t level = level_of(match.window);
  return level >= kRecognised || (level >= kRecognisedFirst && level * 2 >= session_requests_);
}

uint32_t FingerprintPredictor::recognised() const {
  return static_cast<uint32_t>(
      std::count_if(matches_.begin(), matches_.end(), [this](const Match& match) { return is_recognised(match); }));
}

void FingerprintPredictor::begin_session(bool at_attach) {
  std::fill(matches_.begin(), matches_.end(), Match{});
  current_ = Recording{at_attach, {}};
  recording_ = true;
  session_requests_ = 0;
}

// A session that was like a recording takes its place, if it tells as much; one that was not is a new one.
FingerprintPredictor::Keeping FingerprintPredictor::keeping() const {
  if (!recording_ || current_.requests.size() < kRequestsMin) return {};
  const auto most = std::max_element(matches_.begin(), matches_.end(),
                                     [](const Match& a, const Match& b) { return a.found < b.found; });
  if (most != matches_.end() && mostly(most->found, current_.requests.size())) {
    const auto like = static_cast<size_t>(most - matches_.begin());
    if (!mostly(current_.requests.size(), recordings_[like].requests.size())) return {};
    return {.kept = true, .replaced = like};
  }
  return {.kept = true, .replaced = recordings_.size() == kRecordingsMax ? 0 : SIZE_MAX};
}

void FingerprintPredictor::end_recording() {
  const Keeping keeping = this->keeping();
  recording_ = false;
  Recording ended = std::exchange(current_, {});
  if (!keeping.kept) return;
  auto slot = static_cast<uint16_t>(recordings_.size());
  if (keeping.replaced != SIZE_MAX) {
    const auto at = static_cast<std::ptrdiff_t>(keeping.replaced);
    slot = slots_[keeping.replaced];
    remove_from_index(keeping.replaced);
    recordings_.erase(recordings_.begin() + at);
    slots_.erase(slots_.begin() + at);
  }
  recordings_.push_back(std::move(ended));
  slots_.push_back(slot);
  matches_.assign(recordings_.size(), Match{});
  if ((indexed_ + recordings_.back().requests.size()) * 2 > index_.size()) {
    build_index();
  } else {
    add_to_index(recordings_.size() - 1);
  }
}

std::vector<Recording> FingerprintPredictor::recordings() const {
  std::vector<Recording> all = recordings_;
  const Keeping keeping = this->keeping();
  if (!keeping.kept) return all;
  if (keeping.replaced != SIZE_MAX) all.erase(all.begin() + static_cast<std::ptrdiff_t>(keeping.replaced));
  all.push_back(current_);
  return all;
}

void FingerprintPredictor::restore(std::vector<Recording> recordings) {
  if (recordings.size() > kRecordingsMax)
    recordings.erase(recordings.begin(), recordings.end() - static_cast<std::ptrdiff_t>(kRecordingsMax));
  for (Recording& recording : recordings) {
    if (recording.requests.size() > kRequestsMax) recording.requests.resize(kRequestsMax);
    std::erase_if(recording.requests, [](const RecordedRequest& request) {
      return request.pages == 0 || !pages_are_possible(request.first_page, request.pages);
    });
  }
  recordings_ = std::move(recordings);
  matches_.assign(recordings_.size(), Match{});
  slots_.resize(recordings_.size());
  std::iota(slots_.begin(), slots_.end(), uint16_t{0});
  build_index();
}

void FingerprintPredictor::build_index() {
  size_t requests = 0;
  for (const Recording& recording : recordings_) requests += recording.requests.size();
  index_.assign(std::bit_ceil(std::max<size_t>(requests * 2, 64)), Place{});
  indexed_ = 0;
  for (size_t position = 0; position < recordings_.size(); ++position) add_to_index(position);
}

// What a recording reads twice is found where it came first.
void FingerprintPredictor::add_to_index(size_t position) {
  const std::vector<RecordedRequest>& requests = recordings_[position].requests;
  const uint16_t slot = slots_[position];
  const size_t mask = index_.size() - 1;
  for (size_t number = 0; number < requests.size(); ++number) {
    const uint64_t page = requests[number].first_page;
    size_t at = home(page);
    bool known = false;
    for (; index_[at].page != UINT64_MAX && !known; at = (at + 1) & mask) {
      known = index_[at].page == page && index_[at].slot == slot;
    }
    if (!known) index_[at] = {page, slot, static_cast<uint16_t>(number)};
  }
  indexed_ += requests.size();
}

void FingerprintPredictor::remove_from_index(size_t position) {
  const uint16_t slot = slots_[position];
  const size_t mask = index_.size() - 1;
  for (const RecordedRequest& request : recordings_[position].requests) {
    size_t at = home(request.first_page);
    while (index_[at].page != UINT64_MAX && (index_[at].page != request.first_page || index_[at].slot != slot)) {
      at = (at + 1) & mask;
    }
    if (index_[at].page == UINT64_MAX) continue;  // read twice
    take_out(
        index_, at, [this](const Place& place) { return home(place.page); },
        [](const Place& place) { return place.page == UINT64_MAX; });
  }
  indexed_ -= recordings_[position].requests.size();
}

void FingerprintPredictor::recognise(uint64_t first_page) {
  for (Match& match : matches_) match.window <<= 1;
  if (index_.empty()) return;
  const size_t mask = index_.size() - 1;
  for (size_t at = home(first_page); index_[at].page != UINT64_MAX; at = (at + 1) & mask) {
    if (index_[at].page != first_page) continue;
    const auto slot = std::find(slots_.begin(), slots_.end(), index_[at].slot);
    Match& match = matches_[static_cast<size_t>(slot - slots_.begin())];
    const uint32_t position = index_[at].position;
    ++match.found;
    const bool near = position + kNearRequests >= match.cursor && position <= match.cursor + kNearRequests;
    if (!near && is_recognised(match)) continue;
    match.window |= 1;
    match.cursor = near ? std::max(match.cursor, position + 1) : position + 1;
    if (!near) match.proposed = match.cursor;
  }
}

void FingerprintPredictor::push(const Recording& recording, uint32_t position, uint32_t context, uint32_t detail,
                                std::vector<Candidate>& candidates) const {
  Candidate candidate;
  candidate.first_page = recording.requests[position].first_page;
  candidate.pages = recording.requests[position].pages;
  candidate.context = static_cast<uint16_t>(context);
  candidate.detail = static_cast<uint16_t>(detail);
  candidates.push_back(candidate);
}

void FingerprintPredictor::propose_opening(std::vector<Candidate>& candidates) const {
  for (size_t i = recordings_.size(); i-- > 0;) {
    const Recording& recording = recordings_[i];
    if (recording.at_attach != current_.at_attach) continue;
    const auto end = static_cast<uint32_t>(std::min<size_t>(recording.requests.size(), kOpening));
    for (uint32_t position = 0; position < end; ++position) {
      push(recording, position, (kLevelOfWindow + 1) * 16 + log2_bucket(position), recording.at_attach, candidates);
    }
    return;
  }
}

void FingerprintPredictor::propose(const Observation& observation, std::vector<Candidate>& candidates) {
  Match* best = nullptr;
  for (Match& match : matches_) {
    if (!is_recognised(match)) continue;
    if (best == nullptr || level_of(match.window) >= level_of(best->window)) best = &match;
  }
  if (best == nullptr) return;
  const Recording& recording = recordings_[static_cast<size_t>(best - matches_.data())];
  const uint32_t level = level_of(best->window);
  // What was refused while the session was hardly recognised may be taken now.
  if (level >= kSure && !std::exchange(best->sure, true)) best->proposed = best->cursor;
  best->proposed = std::max(best->proposed, best->cursor);
  const uint64_t here_us = best->cursor == 0 ? 0 : recording.requests[best->cursor - 1].time_us;
  const uint64_t until_us = here_us + 2 * observation.fetch_latency_ns / 1000;
  const auto size = static_cast<uint32_t>(recording.requests.size());
  const uint32_t end = std::min({size, best->cursor + kAheadMax, best->proposed + kProposedMax});
  for (; best->proposed < end; ++best->proposed) {
    const uint32_t ahead = best->proposed - best->cursor;
    if (ahead >= kAheadMin && recording.requests[best->proposed].time_us > until_us) return;
    push(recording, best->proposed, level * 16 + log2_bucket(ahead), std::min(log2_bucket(best->found), 13u),
         candidates);
  }
}

void FingerprintPredictor::observe(const Observation& observation, std::vector<Candidate>& candidates) {
  if (!is_read(observation)) return;
  if (session_requests_ != 0 && observation.time_ns > last_ns_ && observation.time_ns - last_ns_ >= kPauseNs) {
    if (recording_) end_recording();
    begin_session(false);
  }
  last_ns_ = observation.time_ns;
  if (session_requests_ == 0) {
    session_began_ns_ = observation.time_ns;
    propose_opening(candidates);
  }
  ++session_requests_;
  if (recording_) {
    const uint64_t passed_us =
        observation.time_ns < session_began_ns_ ? 0 : (observation.time_ns - session_began_ns_) / 1000;
    current_.requests.push_back(
        {observation.first_page, observation.pages, static_cast<uint32_t>(std::min<uint64_t>(passed_us, UINT32_MAX))});
  }
  recognise(observation.first_page);
  propose(observation, candidates);
  if (recording_ && current_.requests.size() == kRequestsMax) end_recording();
}

}  // namespace foreshard::policy
