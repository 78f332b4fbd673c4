// Sessions: who may work on which volume at this server. One driver at a time, by epoch; within an epoch the
// newest session. Holds the durable fences, the drain of superseded sessions (R-DRAIN) and the grants (R-GRANT).
//
// Lifecycle: load() once before the service starts. Owner: the replica server; one executor.
// Invariant: a request is admitted only while its (epoch, session) is the newest that opened the volume; a
// newer one is answered only when every request admitted before it has ended and no grant given to another
// epoch can still run.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "base/ids.h"
#include "base/result.h"
#include "runtime/io.h"
#include "runtime/sync.h"
#include "server/format.h"
#include "server/message.h"
#include "store/chunk_store.h"

namespace foreshard::server {

class Sessions {
 public:
  // grant_ns: how long a reply lets its driver hand out reads.
  Sessions(runtime::Runtime& runtime, store::ChunkStore& store, uint64_t grant_ns);
  ~Sessions();

  runtime::Task<Result<void>> load();

  // Makes (epoch, session) the newest of the volume. kFenced when a higher epoch has opened it; kStaleSession
  // when this epoch has a newer session, also when one comes while this call waits.
  runtime::Task<Result<void>> open(SessionName name);
  // The driver is done: its grants are given back, the next Open of any epoch need not wait.
  runtime::Task<Result<void>> close(SessionName name);

  struct Volume;
  // A request at work under a session; the drain waits for it. As a WriteGuard it says whether the session
  // is still the newest, to be asked right before a change.
  class Work : public store::WriteGuard {
   public:
    Work(Volume* volume, SessionName name);
    Work(Work&& other) noexcept : volume_(std::exchange(other.volume_, nullptr)), name_(other.name_) {}
    Work& operator=(Work&&) = delete;
    ~Work() override;
    bool admitted() const override;
    // To be called when the reply is about to leave: its driver's grant runs from here on.
    void grant();

   private:
    bool newest() const;
    Volume* volume_;
    SessionName name_;
  };
  // kFenced, kStaleSession (also when the volume has not been opened since the start).
  Result<Work> enter(SessionName name);

  // Drops what is remembered of a deleted volume.
  runtime::Task<Result<void>> forget(VolumeId volume);
  uint64_t grant_ns() const { return grant_ns_; }

 private:
  Volume& volume(VolumeId id);
  runtime::Task<Result<void>> persist(SessionName name, FenceState state);
  runtime::Task<Result<void>> hand_over(Volume& volume, SessionName name);
  Result<void> still_newest(const Volume& volume, SessionName name) const;
  runtime::Runtime& runtime_;
  store::ChunkStore& store_;
  uint64_t grant_ns_;
  uint64_t started_ns_;
  std::map<VolumeId, std::unique_ptr<Volume>> volumes_;
};

}  // namespace foreshard::server
