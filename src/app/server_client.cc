#include "app/server_client.h"

#include "rpc/rpc.h"

namespace foreshard::app {

using runtime::Task;

namespace {

constexpr uint64_t kConnectNs = 3'000'000'000;
// A part is 8 MiB; the slowest pace that anybody asks for must fit.
constexpr uint64_t kScrubPartNs = 300'000'000'000;

template <class Question>
Task<Result<rpc::Reply>> ask(rpc::Channel& channel, uint16_t method, Question question, uint64_t deadline_ns) {
  rpc::Call call;
  call.method = method;
  call.control = object_bytes(question);
  call.deadline_ns = deadline_ns;
  co_return co_await channel.call(call);
}

template <class Item>
Result<std::vector<Item>> items_of(const rpc::Reply& reply) {
  if (reply.data.size() % sizeof(Item) != 0) return fail(ErrorCode::kInvalid, "a server's answer", reply.data.size());
  std::vector<Item> items;
  for (size_t at = 0; at < reply.data.size(); at += sizeof(Item))
    items.push_back(load_object<Item>(reply.data.span().subspan(at, sizeof(Item))));
  return items;
}

Task<Result<std::vector<server::UsageItem>>> all_usage(rpc::Channel& channel, uint64_t deadline_ns) {
  std::vector<server::UsageItem> all;
  for (uint64_t first = 0;;) {
    const server::UsageRequest request{first};
    CO_TRY(const rpc::Reply reply, co_await ask(channel, server::kMethodUsage, request, deadline_ns));
    CO_TRY(const std::vector<server::UsageItem> items, items_of<server::UsageItem>(reply));
    all.insert(all.end(), items.begin(), items.end());
    if (items.size() < server::kUsageItemsMax) co_return all;
    first = items.back().volume + 1;
  }
}

Task<Result<void>> scrub_parts(runtime::Runtime& runtime, rpc::Channel& channel, server::ScrubRequest request,
                               ScrubProgress& progress, const std::function<bool()>& on_progress) {
  for (;;) {
    const uint64_t deadline_ns = runtime.now_ns() + kScrubPartNs;
    CO_TRY(const rpc::Reply reply, co_await ask(channel, server::kMethodScrub, request, deadline_ns));
    if (reply.control.size() < sizeof(server::ScrubReply)) co_return fail(ErrorCode::kInvalid, "scrub: short answer");
    const auto part = load_object<server::ScrubReply>(reply.control.span());
    CO_TRY(const std::vector<server::ScrubFault> faults, items_of<server::ScrubFault>(reply));
    progress.faults.insert(progress.faults.end(), faults.begin(), faults.end());
    progress.bytes += part.bytes;
    progress.slots += part.slots;
    progress.done = part.done != 0;
    if (!on_progress() || progress.done) co_return Result<void>();
    request.begin = part.next;
  }
}

}  // namespace

Task<Result<server::StatsReply>> server_stats(runtime::Runtime& runtime, std::string address, uint64_t deadline_ns) {
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

Task<Result<std::vector<server::UsageItem>>> server_usage(runtime::Runtime& runtime, std::string address,
                                                          uint64_t deadline_ns) {
  CO_TRY(std::shared_ptr<rpc::Channel> channel, co_await rpc::Channel::connect(runtime, address, deadline_ns));
  Result<std::vector<server::UsageItem>> usage = co_await all_usage(*channel, deadline_ns);
  co_await channel->close();
  co_return usage;
}

Task<Result<void>> scrub_server(runtime::Runtime& runtime, std::string address, uint64_t volume,
                                uint64_t bytes_per_second, ScrubProgress& progress,
                                const std::function<bool()>& on_progress) {
  CO_TRY(std::shared_ptr<rpc::Channel> channel,
         co_await rpc::Channel::connect(runtime, address, runtime.now_ns() + kConnectNs));
  server::ScrubRequest request{};
  request.volume = request.begin.volume = volume;
  request.bytes_per_second = bytes_per_second;
  const Result<void> scrubbed = co_await scrub_parts(runtime, *channel, request, progress, on_progress);
  co_await channel->close();
  co_return scrubbed;
}

}  // namespace foreshard::app
