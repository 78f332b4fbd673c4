#include "volume/learned_store.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "meta/records.h"
#include "meta/settle.h"

namespace foreshard::volume {
namespace {

using runtime::Task;

constexpr uint32_t kFormatVersion = 1;
constexpr double kValueScale = 1024, kSquaresScale = 16, kBiasScale = 65536, kSizedSamplesScale = 16;

void pack_requests(const std::vector<policy::RecordedRequest>& requests, size_t from, bool timed,
                   meta::pb::LearnedState::Requests& to) {
  uint64_t page = 0, time_us = 0;
  for (size_t i = from; i < requests.size(); ++i) {
    to.add_first_page(static_cast<int64_t>(requests[i].first_page - std::exchange(page, requests[i].first_page)));
    to.add_pages(requests[i].pages);
    if (!timed) continue;
    to.add_time_us(static_cast<int64_t>(requests[i].time_us) -
                   static_cast<int64_t>(std::exchange(time_us, requests[i].time_us)));
  }
}

Result<std::vector<policy::RecordedRequest>> unpack_requests(const meta::pb::LearnedState::Requests& from, bool timed,
                                                             size_t requests_max) {
  const auto count = static_cast<size_t>(from.first_page_size());
  if (static_cast<size_t>(from.pages_size()) != count || (timed && static_cast<size_t>(from.time_us_size()) != count) ||
      count > requests_max) {
    return fail(ErrorCode::kCorrupt, "what prefetching has learned", std::string("its lists do not fit each other"));
  }
  std::vector<policy::RecordedRequest> requests(count);
  uint64_t page = 0, time_us = 0;
  for (size_t i = 0; i < count; ++i) {
    page += static_cast<uint64_t>(from.first_page(static_cast<int>(i)));
    requests[i].first_page = page;
    requests[i].pages = from.pages(static_cast<int>(i));
    if (timed) time_us += static_cast<uint64_t>(from.time_us(static_cast<int>(i)));
    requests[i].time_us = static_cast<uint32_t>(std::min<uint64_t>(time_us, UINT32_MAX));
    if (requests[i].pages == 0 || !policy::pages_are_possible(page, requests[i].pages))
      return fail(ErrorCode::kCorrupt, "what prefetching has learned", std::string("a request that cannot be"));
  }
  return requests;
}

void pack_filter(const policy::LearnedState& state, meta::pb::LearnedState& message) {
  message.set_experts(state.experts);
  message.set_filter_examples(state.filter_examples);
  uint32_t place = 0;
  for (const policy::FilterWeight& weight : state.filter) {
    message.add_filter_place(weight.place - std::exchange(place, weight.place));
    message.add_filter_value(static_cast<int32_t>(std::lround(weight.value * kValueScale)));
    message.add_filter_squares(static_cast<uint32_t>(std::lround(std::log2(weight.squares) * kSquaresScale)));
  }
  for (const policy::Recalibration::Bin& bin : state.recalibration.common) {
    message.add_recalibration(static_cast<int32_t>(std::lround(bin.bias * kBiasScale)));
    message.add_recalibration_samples(static_cast<uint32_t>(bin.samples));
  }
  for (const policy::Recalibration::Bins& bins : state.recalibration.sized) {
    for (const policy::Recalibration::Bin& bin : bins) {
      message.add_sized_recalibration(static_cast<int32_t>(std::lround(bin.bias * kBiasScale)));
      message.add_sized_recalibration_samples(static_cast<uint32_t>(std::lround(bin.samples * kSizedSamplesScale)));
    }
  }
  message.set_budget(state.budget);
  message.set_threshold(state.threshold);
  message.set_precision(state.precision);
  message.set_outcomes(state.outcomes);
}

Result<void> unpack_filter(const meta::pb::LearnedState& message, policy::LearnedState& state) {
  constexpr int kBins = policy::Recalibration::kBins, kSized = kBins * static_cast<int>(policy::Recalibration::kSizes);
  const int weights = message.filter_place_size(), sized = message.sized_recalibration_size();
  if (message.filter_value_size() != weights || message.filter_squares_size() != weights ||
      message.recalibration_size() != kBins || message.recalibration_samples_size() != kBins ||
      (sized != 0 && sized != kSized) || message.sized_recalibration_samples_size() != sized) {
    return fail(ErrorCode::kCorrupt, "what prefetching has learned", std::string("its lists do not fit each other"));
  }
  state.experts = message.experts();
  state.filter_examples = message.filter_examples();
  uint64_t place = 0;
  for (int i = 0; i < weights; ++i) {
    place += message.filter_place(i);
    if (place > UINT16_MAX)
      return fail(ErrorCode::kCorrupt, "what prefetching has learned", std::string("a weight without a place"));
    state.filter.push_back({static_cast<uint16_t>(place), static_cast<float>(message.filter_value(i) / kValueScale),
                            static_cast<float>(std::exp2(message.filter_squares(i) / kSquaresScale))});
  }
  for (int i = 0; i < kBins; ++i) {
    state.recalibration.common[static_cast<size_t>(i)] = {static_cast<double>(message.recalibration_samples(i)),
                                                          message.recalibration(i) / kBiasScale};
  }
  for (int i = 0; i < sized; ++i) {
    state.recalibration.sized[static_cast<size_t>(i / kBins)][static_cast<size_t>(i % kBins)] = {
        message.sized_recalibration_samples(i) / kSizedSamplesScale, message.sized_recalibration(i) / kBiasScale};
  }
  state.budget = message.budget();
  state.threshold = message.threshold();
  state.precision = message.precision();
  state.outcomes = message.outcomes();
  return {};
}

std::string packed_without(const policy::LearnedState& state, size_t recordings_left_out, size_t requests_left_out) {
  meta::pb::LearnedState message;
  message.set_format_version(kFormatVersion);
  pack_filter(state, message);
  std::vector<policy::RecordedRequest> log;
  for (const policy::LoggedRequest& request : state.log) log.push_back({request.first_page, request.pages, 0});
  pack_requests(log, requests_left_out, false, *message.mutable_log());
  for (size_t i = recordings_left_out; i < state.recordings.size(); ++i) {
    meta::pb::LearnedState::Requests& recording = *message.add_recordings();
    recording.set_at_attach(state.recordings[i].at_attach);
    pack_requests(state.recordings[i].requests, 0, true, recording);
  }
  return message.SerializeAsString();
}

struct Subject {
  std::string subject;  // as in its key
  uint64_t bytes = 0;
  uint64_t saved_wall_ns = 0;
};

// When it was saved; a time ahead of ours, from a clock that was wrong, says nothing.
uint64_t age_base(uint64_t saved_wall_ns, uint64_t now_ns) {
  constexpr uint64_t kClocksApartNs = 60'000'000'000;
  if (saved_wall_ns > now_ns + kClocksApartNs) return 0;
  return std::min(saved_wall_ns, now_ns);
}

void erase(const std::string& subject, meta::Transaction& transaction) {
  transaction.operations.push_back({meta::Operation::Kind::kErase, meta::learned_key(subject), {}, 0});
  transaction.operations.push_back({meta::Operation::Kind::kErase, meta::learned_state_key(subject), {}, 0});
}

// The others that have to go so that `bytes` more have room, the oldest first. Volumes, whose states are saved often,
// do not push out images, nor the other way around.
void make_room(std::vector<Subject> others, uint64_t bytes, meta::Transaction& transaction) {
  std::sort(others.begin(), others.end(),
            [](const Subject& a, const Subject& b) { return a.saved_wall_ns < b.saved_wall_ns; });
  uint64_t all = bytes;
  for (const Subject& other : others) all += other.bytes;
  for (const Subject& other : others) {
    if (all <= kLearnedBytesMax) return;
    all -= other.bytes;
    erase(other.subject, transaction);
  }
}

}  // namespace

std::string pack_learned(const policy::LearnedState& state) {
  size_t recordings_left_out = 0, requests_left_out = 0;
  for (;;) {
    std::string packed = packed_without(state, recordings_left_out, requests_left_out);
    if (packed.size() <= kLearnedStateBytesMax) return packed;
    if (recordings_left_out + 2 < state.recordings.size()) {
      recordings_left_out += (state.recordings.size() - recordings_left_out) / 2;
    } else if (requests_left_out < state.log.size()) {
      requests_left_out += (state.log.size() - requests_left_out + 1) / 2;
    } else {
      recordings_left_out = state.recordings.size();  // the filter alone is never too large
    }
  }
}

Result<policy::LearnedState> unpack_learned(const std::string& bytes) {
  meta::pb::LearnedState message;
  if (bytes.size() > kLearnedStateBytesMax || !message.ParseFromString(bytes) || message.format_version() == 0)
    return fail(ErrorCode::kCorrupt, "what prefetching has learned", std::string("it is damaged"));
  if (message.format_version() > kFormatVersion) {
    return fail(ErrorCode::kUnsupported, "what prefetching has learned",
                "it is of format " + std::to_string(message.format_version()) + ", this program knows up to " +
                    std::to_string(kFormatVersion));
  }
  policy::LearnedState state;
  TRY_VOID(unpack_filter(message, state));
  TRY(const std::vector<policy::RecordedRequest> log,
      unpack_requests(message.log(), false, policy::LearnedState::kLoggedMax));
  for (const policy::RecordedRequest& request : log) state.log.push_back({request.first_page, request.pages});
  if (message.recordings_size() > static_cast<int>(policy::FingerprintPredictor::kRecordingsMax))
    return fail(ErrorCode::kCorrupt, "what prefetching has learned", std::string("too many recordings"));
  for (const meta::pb::LearnedState::Requests& from : message.recordings()) {
    policy::Recording recording;
    recording.at_attach = from.at_attach();
    TRY(recording.requests, unpack_requests(from, true, policy::FingerprintPredictor::kRequestsMax));
    state.recordings.push_back(std::move(recording));
  }
  return state;
}

std::string learned_subject(VolumeId volume) { return "v-" + meta::hex_id(volume.value); }
std::string learned_subject_of_image(const std::string& image) { return "i-" + image; }

Task<Result<std::optional<SavedLearned>>> load_learned(meta::Meta& meta, VolumeId volume, std::string image) {
  std::vector<std::string> subjects = {learned_subject(volume)};
  if (!image.empty()) subjects.push_back(learned_subject_of_image(image));
  std::optional<Error> fault;
  for (const std::string& subject : subjects) {
    CO_TRY(const std::optional<meta::Entry> entry, co_await meta.get(meta::learned_state_key(subject)));
    if (!entry) continue;
    Result<policy::LearnedState> state = unpack_learned(entry->value);
    if (state) co_return SavedLearned{std::move(*state), subject};
    fault = state.error();
  }
  if (fault) co_return fail(std::move(*fault));
  co_return std::optional<SavedLearned>();
}

Task<Result<void>> save_learned(runtime::Runtime& runtime, meta::Meta& meta, LearnedToSave learned, meta::Compare guard,
                                uint64_t deadline_ns) {
  const std::string prefix = meta::learned_prefix();
  CO_TRY(const meta::RangeResult range, co_await meta.range(prefix, meta::prefix_end(prefix), 0));
  const uint64_t now_ns = runtime.wall_ns();
  const std::string key = meta::learned_key(learned.subject);
  meta::Revision before = 0;
  std::vector<Subject> others;
  for (const meta::Entry& entry : range.entries) {
    const std::string subject = entry.key.substr(prefix.size());
    const Result<meta::pb::LearnedRecord> record = meta::decode<meta::pb::LearnedRecord>(entry);
    if (entry.key != key) {
      // What cannot be read counts as the oldest and largest.
      if (subject[0] != learned.subject[0]) continue;
      others.push_back({subject, record ? record->bytes() : kLearnedStateBytesMax,
                        record ? age_base(record->saved_wall_ns(), now_ns) : 0});
      continue;
    }
    before = entry.modified;
    const bool young = record && now_ns - age_base(record->saved_wall_ns(), now_ns) < learned.keep_others_ns;
    if (young && record->volume() != learned.volume.value) co_return Result<void>();
  }
  meta::pb::LearnedRecord record;
  record.set_subject(learned.subject);
  record.set_volume(learned.volume.value);
  record.set_bytes(learned.packed.size());
  record.set_saved_wall_ns(now_ns);
  *record.mutable_nonce() = meta::make_nonce(runtime.random().next(), 1);
  meta::Transaction transaction;
  transaction.compares.push_back({meta::Compare::Target::kModified, key, before, {}});
  transaction.compares.push_back(std::move(guard));
  transaction.operations.push_back({meta::Operation::Kind::kPut, key, record.SerializeAsString(), 0});
  make_room(std::move(others), learned.packed.size(), transaction);
  transaction.operations.push_back(
      {meta::Operation::Kind::kPut, meta::learned_state_key(learned.subject), std::move(learned.packed), 0});
  CO_TRY(const meta::TransactionResult result,
         co_await meta::commit_settled(runtime, meta, std::move(transaction), deadline_ns));
  if (!result.succeeded) co_return fail(ErrorCode::kConflict, "another driver saved what it has learned, too");
  co_return Result<void>();
}

void append_learned_removal(VolumeId volume, meta::Transaction& transaction) {
  erase(learned_subject(volume), transaction);
}

}  // namespace foreshard::volume
