#include "app/server_client.h"

#include "rpc/rpc.h"

namespace foreshard::app {

runtime::Task<Result<server::StatsReply>> server_stats(runtime::Runtime& runtime, std::string address,
                                                       uint64_t deadline_ns) {
  CO_TRY(std::shared_ptr<rpc::Channel> channel, co_await rpc::Channel::connect(runtime, address, deadline_ns));
  rpc::Call call;
  call.method = server::kMethodStats;
  call.deadline_ns = deadline_ns;
  const Result<rpc::Reply> reply = co_await channel->call(call);
  co_await channel->close();
  if (!reply) co_return fail(reply.error());
  if (reply->control.size() < sizeof(server::StatsReply)) co_return fail(ErrorCode::kInvalid, "server stats");
  co_return load_object<server::StatsReply>(reply->control.span());
}

}  // namespace foreshard::app
