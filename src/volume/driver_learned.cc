// What the driver's prefetching learns outlives it: taken over at attach, saved now and then and at detach.
#include <algorithm>
#include <span>

#include "base/log.h"
#include "volume/driver_core.h"
#include "volume/learned_store.h"

namespace foreshard::volume {
namespace {

using runtime::Task;

constexpr uint64_t kLateRequests = 1000;           // after so many, what was learned before comes too late
constexpr size_t kTaughtAtOnce = 256;              // requests of the past: half a millisecond
constexpr uint64_t kFirstSaveNs = 30'000'000'000;  // a boot is over by then, and the next VM can use it
constexpr uint64_t kSaveEveryNsMax = 600'000'000'000;
constexpr uint64_t kSaveSlower = 4;           // each pause is so many times the one before
constexpr uint64_t kAsMuchRequests = 20'000;  // after so many a driver may know as much as the one before
constexpr uint64_t kNewRequestsMin = 64;      // that make it worth saving
constexpr uint64_t kSaveTimeoutNs = 3'000'000'000;
constexpr uint64_t kImageKeptNs = 3'600'000'000'000;  // what another volume's driver has saved of the image

}  // namespace

// What cannot be taken over is not lost: it stays until this driver has learned as much.
Task<void> DriverCore::take_over_learned() {
  const std::optional<runtime::Gate::Pass> pass = background_.enter();
  if (pass && keeps_learned()) {
    Result<std::optional<SavedLearned>> saved = co_await load_learned(meta_, volume_id(), claim_.volume.image());
    const bool late = prefetcher_.observed() >= kLateRequests;
    if (saved && *saved && !late) {
      const policy::LearnedState& state = (*saved)->state;
      prefetcher_.restore(state);
      // In turns with everything else that runs on this thread.
      for (size_t done = 0; done < state.log.size(); done += kTaughtAtOnce) {
        prefetcher_.teach(std::span(state.log).subspan(done, std::min(kTaughtAtOnce, state.log.size() - done)));
        co_await runtime_.executor().yield();
      }
      learned_.from = (*saved)->subject;
      learned_.requests = state.log.size();
      learned_.recordings = state.recordings.size();
    }
    const bool replaceable = saved ? !*saved || !late : saved.error().code == ErrorCode::kCorrupt;
    if (!replaceable) learned_seen_min_ = kAsMuchRequests;
    if (!saved)
      LOG_WARN("volume {}: prefetching begins without what it has learned: {}", options_.volume,
               saved.error().message());
  }
  learned_loaded_.set();
}

// A driver that is told to use some experts only knows less than others do.
bool DriverCore::keeps_learned() const {
  return options_.cache_bytes != 0 && !options_.importing && options_.prefetch_experts.empty();
}

Task<void> DriverCore::save_learned_state() {
  while (saving_learned_) co_await learned_saved_.wait();
  const uint64_t seen = prefetcher_.observed();
  if (!keeps_learned() || !learned_loaded_.is_set()) co_return;
  if (seen - learned_seen_ < kNewRequestsMin || seen < learned_seen_min_) co_return;
  saving_learned_ = true;
  const std::string packed = pack_learned(prefetcher_.learned());
  const uint64_t deadline_ns = runtime_.now_ns() + kSaveTimeoutNs;
  LearnedToSave own{learned_subject(volume_id()), volume_id(), packed, 0};
  Result<void> saved = co_await save_learned(runtime_, meta_, std::move(own), claim_guard(claim_), deadline_ns);
  if (saved) {
    learned_seen_ = seen;
    learned_.saved_ns = runtime_.now_ns();
  }
  if (saved && !claim_.volume.image().empty()) {
    LearnedToSave shared{learned_subject_of_image(claim_.volume.image()), volume_id(), packed, kImageKeptNs};
    saved = co_await save_learned(runtime_, meta_, std::move(shared), claim_guard(claim_), deadline_ns);
  }
  // That another VM of the image was faster is as good.
  if (!saved && saved.error().code != ErrorCode::kConflict)
    LOG_WARN("volume {}: what prefetching has learned is not saved: {}", options_.volume, saved.error().message());
  saving_learned_ = false;
  learned_saved_.wake_all();
}

// While the sessions are being closed; the claim is given back only when it has ended.
Task<void> DriverCore::save_learned_at_the_end() {
  const std::optional<runtime::Gate::Pass> pass = background_.enter();
  if (pass) co_await save_learned_state();
}

Task<void> DriverCore::keep_learned() {
  const std::optional<runtime::Gate::Pass> pass = background_.enter();
  // VMs that start together do not save together.
  uint64_t pause_ns = kFirstSaveNs / 2 + runtime_.random().below(kFirstSaveNs / 2);
  while (pass && !stopping_.is_set() && !ended_.is_set()) {
    const bool stopped = co_await stopping_.wait_until(runtime_.now_ns() + pause_ns);
    if (stopped || ended_.is_set()) co_return;
    co_await save_learned_state();
    pause_ns = std::min(pause_ns * kSaveSlower, kSaveEveryNsMax);
  }
}

}  // namespace foreshard::volume
