// Records what the clients of an attached volume ask for, as its driver tells it batch by batch over its control
// socket. Behind `volume record` and `predict backtest`.
#pragma once

#include <functional>

#include "app/control_messages.h"
#include "cli/driver_session.h"

namespace foreshard::cli {

struct AccessRecording {
  std::string volume;
  uint64_t duration_ns = 0;  // 0: until the driver ends or a signal comes
  // Once the driver is reached, before anything is recorded.
  std::function<Result<void>()> begin;
  // At least once a second, with nothing in it too; false ends the recording.
  std::function<Result<bool>(const app::pb::RecordBatch&)> take;
};

struct RecordingEnd {
  uint64_t accesses = 0;
  uint64_t dropped = 0;  // not recorded, because this side was too slow for them
};

// Ends with the time, a signal (the session handles them) or the driver: what had come until then counts. kBusy while
// another recording is under way.
runtime::Task<Result<RecordingEnd>> record_accesses(RegionSession& session, meta::pb::Attachment attachment,
                                                    AccessRecording recording);

}  // namespace foreshard::cli
