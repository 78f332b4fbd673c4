#include "cli/usage.h"

#include "app/server_client.h"
#include "volume/join.h"

namespace foreshard::cli {
namespace {

using runtime::Task;

constexpr uint64_t kAnswerWithinNs = 2'000'000'000;

Task<Result<void>> add_usage(runtime::Runtime& runtime, std::string address, Usage& usage) {
  const uint64_t deadline_ns = runtime.now_ns() + kAnswerWithinNs;
  const Result<std::vector<server::UsageItem>> items = co_await app::server_usage(runtime, address, deadline_ns);
  if (!items) {
    usage.complete = false;
    co_return Result<void>();
  }
  for (const server::UsageItem& item : *items) usage.bytes[item.volume] += item.bytes;
  co_return Result<void>();
}

}  // namespace

Task<Usage> usage_of_region(runtime::Runtime& runtime, std::vector<meta::pb::Server> servers) {
  Usage usage;
  volume::Join join(runtime.executor());
  for (const meta::pb::Server& server : servers) join.add(add_usage(runtime, server.address(), usage));
  const Result<void> asked = co_await join.wait();
  if (!asked) usage.complete = false;
  co_return usage;
}

}  // namespace foreshard::cli
