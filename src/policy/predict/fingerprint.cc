#include "policy/predict/fingerprint.h"

#include <algorithm>
#include <bit>
#include <utility>

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
void FingerprintPredictor::keep(std::vector<Recording>& recordings, Recording fresh, uint32_t most_found,
                                size_t most_like) {
  if (fresh.requests.size() < kRequestsMin) return;
  if (most_like < recordings.size() && mostly(most_found, fresh.requests.size())) {
    const auto like = recordings.begin() + static_cast<std::ptrdiff_t>(most_like);
    if (mostly(fresh.requests.size(), like->requests.size())) {
      *like = std::move(fresh);
      std::rotate(like, like + 1, recordings.end());
    }
    return;
  }
  if (recordings.size() == kRecordingsMax) recordings.erase(recordings.begin());
  recordings.push_back(std::move(fresh));
}

void FingerprintPredictor::end_recording() {
  recording_ = false;
  const auto most = std::max_element(matches_.begin(), matches_.end(),
                                     [](const Match& a, const Match& b) { return a.found < b.found; });
  const uint32_t found = most == matches_.end() ? 0 : most->found;
  std::vector<Recording> before = recordings_;
  keep(recordings_, std::exchange(current_, {}), found, static_cast<size_t>(most - matches_.begin()));
  if (recordings_ == before) return;
  matches_.assign(recordings_.size(), Match{});
  build_index();
}

std::vector<Recording> FingerprintPredictor::recordings() const {
  std::vector<Recording> all = recordings_;
  if (!recording_) return all;
  const auto most = std::max_element(matches_.begin(), matches_.end(),
                                     [](const Match& a, const Match& b) { return a.found < b.found; });
  keep(all, current_, most == matches_.end() ? 0 : most->found, static_cast<size_t>(most - matches_.begin()));
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
  build_index();
}

void FingerprintPredictor::build_index() {
  size_t requests = 0;
  for (const Recording& recording : recordings_) requests += recording.requests.size();
  index_.assign(std::bit_ceil(std::max<size_t>(requests * 2, 64)), Place{});
  const size_t mask = index_.size() - 1;
  for (size_t recording = 0; recording < recordings_.size(); ++recording) {
    const std::vector<RecordedRequest>& list = recordings_[recording].requests;
    for (size_t position = 0; position < list.size(); ++position) {
      size_t at = mix64(list[position].first_page) & mask;
      bool known = false;  // what a recording reads twice is found where it came first
      for (; index_[at].page != UINT64_MAX && !known; at = (at + 1) & mask) {
        known = index_[at].page == list[position].first_page && index_[at].recording == recording;
      }
      if (!known) {
        index_[at] = {list[position].first_page, static_cast<uint16_t>(recording), static_cast<uint16_t>(position)};
      }
    }
  }
}

void FingerprintPredictor::recognise(uint64_t first_page) {
  for (Match& match : matches_) match.window <<= 1;
  if (index_.empty()) return;
  const size_t mask = index_.size() - 1;
  for (size_t at = mix64(first_page) & mask; index_[at].page != UINT64_MAX; at = (at + 1) & mask) {
    if (index_[at].page != first_page) continue;
    Match& match = matches_[index_[at].recording];
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
