#include "server/sessions.h"

#include <algorithm>

#include "base/planted.h"
#include "server/format.h"

namespace foreshard::server {

struct Sessions::Volume {
  Volume(runtime::Runtime& r, uint64_t grant)
      : runtime(r), grant_ns(grant), idle(r.executor()), opening(r.executor()) {}
  runtime::Runtime& runtime;
  uint64_t grant_ns;
  Epoch fence;                              // durable
  FenceState state = FenceState::kClosed;   // durable
  uint64_t epoch = 0;          // the newest (epoch, session) asked for; requests of others are refused
  uint64_t session = 0;
  bool ready = false;          // that Open has been answered
  uint64_t working = 0;        // requests at work, of whatever session
  uint64_t granted_until_ns = 0;
  runtime::WaitQueue idle;
  runtime::Mutex opening;      // one Open at a time persists and drains
};

Sessions::Sessions(runtime::Runtime& runtime, store::ChunkStore& store, uint64_t grant_ns)
    : runtime_(runtime), store_(store), grant_ns_(grant_ns), started_ns_(runtime.now_ns()) {}

Sessions::~Sessions() = default;

Sessions::Volume& Sessions::volume(VolumeId id) {
  std::unique_ptr<Volume>& slot = volumes_[id];
  if (!slot) slot = std::make_unique<Volume>(runtime_, grant_ns_);
  return *slot;
}

runtime::Task<Result<void>> Sessions::load() {
  CO_TRY(std::vector<store::ChunkStore::Note> notes, co_await store_.notes(std::string(kFenceNotePrefix)));
  for (const store::ChunkStore::Note& note : notes) {
    const auto fence = decode_fence_note(note.key, note.value ? *note.value : std::string());
    if (!fence) co_return fail(fence.error());
    Volume& v = volume(fence->volume);
    v.fence = fence->epoch;
    v.state = fence->state;
    v.epoch = fence->epoch.value;
    // What was granted before the restart is not remembered: as if given just before it.
    if (fence->state != FenceState::kClosed) v.granted_until_ns = started_ns_ + grant_ns_;
  }
  co_return Result<void>();
}

runtime::Task<Result<void>> Sessions::persist(SessionName name, FenceState state) {
  Volume& v = volume(VolumeId{name.volume});
  std::vector<store::ChunkStore::Note> notes;
  notes.push_back(encode_fence_note(VolumeId{name.volume}, Epoch{name.epoch}, state));
  CO_TRY_VOID(co_await store_.put_notes(std::move(notes)));
  v.fence = Epoch{name.epoch};
  v.state = state;
  co_return Result<void>();
}

Result<void> Sessions::still_newest(const Volume& v, SessionName name) const {
  if (v.epoch > name.epoch) return fail(ErrorCode::kFenced, "a newer epoch has the volume", v.epoch);
  if (v.epoch != name.epoch || v.session != name.session)
    return fail(ErrorCode::kStaleSession, "a newer session has the volume", v.session);
  return {};
}

runtime::Task<Result<void>> Sessions::open(SessionName name) {
  Volume& v = volume(VolumeId{name.volume});
  if (name.epoch < v.epoch) co_return fail(ErrorCode::kFenced, "open: a newer epoch has the volume", v.epoch);
  if (name.epoch == v.epoch && name.session <= v.session)
    co_return fail(ErrorCode::kStaleSession, "open: a newer session has the volume", v.session);
  // From here on every other session is refused, also while this call waits.
  v.epoch = name.epoch;
  v.session = name.session;
  v.ready = false;
  runtime::Mutex::Guard guard = co_await v.opening.lock();
  CO_TRY_VOID(still_newest(v, name));
  // Same epoch, same driver: it may go on where its earlier session was. Otherwise it takes over.
  const bool same_driver = v.fence.value == name.epoch && v.state == FenceState::kOpen;
  const bool was_closed = v.state == FenceState::kClosed;
  if (!same_driver) {
    const FenceState state = was_closed ? FenceState::kOpen : FenceState::kOpening;
    CO_TRY_VOID(co_await persist(name, state));
  }
  // Each planted bug leaves out one of the two cases, and the check at apply with it: either half of the rule alone
  // covers for the other.
  const bool drained = same_driver ? !PLANTED("no session check at apply") : !PLANTED("no drain at open");
  while (v.working > 0 && drained) co_await v.idle.wait();
  if (!same_driver && !was_closed) {
    CO_TRY_VOID(co_await hand_over(v, name));
  }
  CO_TRY_VOID(still_newest(v, name));
  v.ready = true;
  v.granted_until_ns = runtime_.now_ns() + grant_ns_;
  co_return Result<void>();
}

runtime::Task<Result<void>> Sessions::hand_over(Volume& v, SessionName name) {
  // What the new driver reads but did not write must not be lost under it (R-RECON).
  CO_TRY_VOID(co_await store_.flush());
  // The last grant of the driver before must have run out; one percent for clocks of different speed.
  const uint64_t until = v.granted_until_ns + grant_ns_ / 100;
  if (runtime_.now_ns() < until) co_await runtime_.executor().sleep_until(until);
  co_return co_await persist(name, FenceState::kOpen);
}

runtime::Task<Result<void>> Sessions::close(SessionName name) {
  Volume& v = volume(VolumeId{name.volume});
  CO_TRY_VOID(still_newest(v, name));
  if (!v.ready) co_return fail(ErrorCode::kStaleSession, "close: the session is not open", v.session);
  v.ready = false;
  runtime::Mutex::Guard guard = co_await v.opening.lock();
  while (v.working > 0) co_await v.idle.wait();
  CO_TRY_VOID(still_newest(v, name));
  co_return co_await persist(name, FenceState::kClosed);
}

Result<Sessions::Work> Sessions::enter(SessionName name) {
  const auto found = volumes_.find(VolumeId{name.volume});
  if (found == volumes_.end()) return fail(ErrorCode::kStaleSession, "volume not opened here", name.volume);
  Volume& v = *found->second;
  TRY_VOID(still_newest(v, name));
  if (!v.ready) return fail(ErrorCode::kStaleSession, "the session is not open", v.session);
  return Work(&v, name);
}

runtime::Task<Result<void>> Sessions::forget(VolumeId id) {
  const auto found = volumes_.find(id);
  if (found == volumes_.end()) co_return Result<void>();
  Volume& v = *found->second;
  // No driver gets in any more; those at work have ended.
  v.epoch = UINT64_MAX;
  v.ready = false;
  while (v.working > 0) co_await v.idle.wait();
  std::vector<store::ChunkStore::Note> notes;
  notes.push_back({fence_note_key(id), std::nullopt});
  CO_TRY_VOID(co_await store_.put_notes(std::move(notes)));
  co_return Result<void>();
}

Sessions::Work::Work(Volume* volume, SessionName name) : volume_(volume), name_(name) { ++volume_->working; }

Sessions::Work::~Work() {
  if (volume_ != nullptr && --volume_->working == 0) volume_->idle.wake_all();
}

bool Sessions::Work::newest() const { return volume_->epoch == name_.epoch && volume_->session == name_.session; }

bool Sessions::Work::admitted() const {
  return newest() || PLANTED("no drain at open") || PLANTED("no session check at apply");
}

void Sessions::Work::grant() {
  if (!newest()) return;
  volume_->granted_until_ns = volume_->runtime.now_ns() + volume_->grant_ns;
}

}  // namespace foreshard::server
