#include "cli/access_recording.h"

#include <memory>

#include "cli/interrupt.h"

namespace foreshard::cli {
namespace {

using runtime::Task;

constexpr uint64_t kTakeWithinNs = 5'000'000'000;

Task<Result<bool>> take_batch(runtime::Runtime& runtime, rpc::Channel& channel, const AccessRecording& recording,
                              RecordingEnd& end) {
  const uint64_t deadline_ns = runtime.now_ns() + kTakeWithinNs;
  CO_TRY(app::pb::RecordBatch batch, co_await app::call_control<app::pb::RecordBatch>(
                                         channel, app::kMethodDriverRecordTake, app::pb::Empty(), deadline_ns));
  const int accesses = batch.time_ns_size();
  if (batch.offset_size() != accesses || batch.bytes_size() != accesses || batch.write_size() != accesses)
    co_return fail(ErrorCode::kCorrupt, "what the driver has recorded", std::string("its lists do not fit each other"));
  end.accesses += static_cast<uint64_t>(accesses);
  end.dropped += batch.dropped();
  co_return recording.take(batch);
}

Task<Result<void>> take_all(runtime::Runtime& runtime, rpc::Channel& channel, const AccessRecording& recording,
                            RecordingEnd& end, const bool& interrupted) {
  CO_TRY_VOID(co_await app::call_control<app::pb::Empty>(channel, app::kMethodDriverRecordStart, app::pb::Empty(),
                                                         runtime.now_ns() + kTakeWithinNs));
  const uint64_t end_ns = recording.duration_ns == 0 ? UINT64_MAX : runtime.now_ns() + recording.duration_ns;
  while (!interrupted && runtime.now_ns() < end_ns) {
    CO_TRY(const bool more, co_await take_batch(runtime, channel, recording, end));
    if (!more) co_return Result<void>();
  }
  // What came while the signal or the end of the time did.
  CO_TRY_VOID(co_await take_batch(runtime, channel, recording, end));
  co_return Result<void>();
}

}  // namespace

Task<Result<RecordingEnd>> record_accesses(RegionSession& session, meta::pb::Attachment attachment,
                                           AccessRecording recording) {
  const uint64_t deadline_ns = session.runtime().now_ns() + kDriverAnswersWithinNs;
  Result<std::shared_ptr<rpc::Channel>> channel =
      co_await rpc::Channel::connect(session.runtime(), attachment.address(), deadline_ns);
  if (!channel) co_return fail(driver_out_of_reach(attachment, recording.volume, channel.error()));
  CO_TRY_VOID(recording.begin());
  bool interrupted = false;
  session.interrupt().on_request([&interrupted] { interrupted = true; });
  RecordingEnd end;
  const Result<void> taken = co_await take_all(session.runtime(), **channel, recording, end, interrupted);
  session.interrupt().on_request({});
  co_await (*channel)->close();
  // The driver's end is the end of the recording, not a failure.
  const bool driver_gone = !taken && taken.error().code == ErrorCode::kUnavailable && end.accesses > 0;
  if (!taken && !driver_gone) co_return fail(taken.error());
  co_return end;
}

}  // namespace foreshard::cli
