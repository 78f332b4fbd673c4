#include "cli/region_session.h"

#include <fmt/format.h>

#include "app/region_folder.h"
#include "meta/remote_meta.h"
#include "runtime/real_runtime.h"

namespace foreshard::cli {
namespace {

using runtime::Task;

constexpr uint64_t kConnectNs = 3'000'000'000;

Error region_out_of_reach(const std::string& address, const Error& error) {
  return {
      ErrorCode::kUnavailable, "no region", 0,
      fmt::format("nobody answers at {} ({}); start one with: foreshard up, or say where it is with --region unix:PATH",
                  address, error.detail.empty() ? error_code_name(error.code) : error.detail)};
}

Task<Result<void>> connect_and_work(const Invocation& invocation, std::string address, runtime::Runtime& runtime,
                                    const RegionWork& work, const RegionWork& without, Interrupt* interrupt) {
  const Result<void> answers = co_await check_region_answers(runtime, address);
  if (!answers && !without) co_return answers;
  const std::unique_ptr<meta::RemoteMeta> meta = meta::RemoteMeta::create(runtime, address);
  RegionSession session(invocation, address, runtime, *meta, interrupt);
  const RegionWork& chosen = answers ? work : without;
  Result<void> result = co_await chosen(session);
  if (!answers && !result) result = answers;  // what is out of reach is the region, first of all
  co_await meta->close();
  co_return result;
}

}  // namespace

Task<Result<void>> check_region_answers(runtime::Runtime& runtime, std::string address) {
  Result<std::unique_ptr<runtime::Connection>> reached =
      co_await runtime.network().connect(address, runtime.now_ns() + kConnectNs);
  if (!reached) co_return fail(region_out_of_reach(address, reached.error()));
  co_return Result<void>();
}

Result<void> with_region(const Invocation& invocation, RegionWork work, Signals signals, RegionWork without) {
  TRY(std::string address, app::region_address(invocation.region));
  if (signals == Signals::kHandled) Interrupt::prepare();
  TRY(std::unique_ptr<runtime::RealRuntime> runtime, runtime::RealRuntime::create());
  if (signals == Signals::kDefault)
    return runtime->run(connect_and_work(invocation, address, *runtime, work, without, nullptr));
  Interrupt interrupt(*runtime);
  return runtime->run(connect_and_work(invocation, address, *runtime, work, without, &interrupt));
}

}  // namespace foreshard::cli
