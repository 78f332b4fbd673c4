// How commands reach the driver of an attached volume: its attachment record tells where it listens.
#pragma once

#include <string>

#include "app/control_client.h"
#include "base/ids.h"
#include "cli/region_session.h"
#include "meta/records.pb.h"

namespace foreshard::cli {

inline constexpr uint64_t kDriverAnswersWithinNs = 5'000'000'000;

// kNotFound when the volume is not there or not attached.
runtime::Task<Result<meta::pb::Attachment>> attachment_of(RegionSession& session, std::string name);
// A driver that died a moment ago still seems alive for some seconds: waits for that to pass when its process is surely
// dead. Whether a driver seems alive after it.
runtime::Task<Result<bool>> driver_lives(RegionSession& session, VolumeId volume);
// What to tell when the driver cannot be reached.
Error driver_out_of_reach(const meta::pb::Attachment& attachment, const std::string& volume, Error error);

template <class Answer, class Question>
runtime::Task<Result<Answer>> ask_driver(RegionSession& session, meta::pb::Attachment attachment, uint16_t method,
                                         Question question) {
  const uint64_t deadline_ns = session.runtime().now_ns() + kDriverAnswersWithinNs;
  Result<Answer> answer = co_await app::ask_control<Answer>(session.runtime(), attachment.address(), method,
                                                            std::move(question), deadline_ns);
  if (!answer) co_return fail(driver_out_of_reach(attachment, "the volume", answer.error()));
  co_return answer;
}

void add_record_command(CLI::App& volume, Invocation& invocation);
void add_predict_command(CLI::App& app, Invocation& invocation);
void add_backtest_command(CLI::App& predict, Invocation& invocation);

}  // namespace foreshard::cli
