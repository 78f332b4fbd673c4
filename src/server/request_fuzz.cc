// Fuzzes what a server makes of requests and of its durable records: whatever comes, it answers, and neither
// crashes nor hosts what nobody prepared. Input: a byte of what follows, then requests of
// (method, control length, data pages) each with its control bytes.
#include <cstdlib>

#include "base/log.h"
#include "index/map_index.h"
#include "meta/embedded_meta.h"
#include "runtime/sim_world.h"
#include "server/format.h"
#include "server/replica_server.h"
#include "store/memory_store.h"

namespace foreshard::server {
namespace {

using runtime::SimRuntime;
using runtime::Task;

constexpr char kAddress[] = "tcp:server:1";

struct Input {
  const uint8_t* data;
  size_t left;
  uint8_t take() { return left == 0 ? 0 : (--left, *data++); }
};

void must(bool good) {
  if (!good) std::abort();
}

struct ServerProcess : runtime::SimProcess {
  explicit ServerProcess(SimRuntime& r) : runtime(r), store(StoreUuid{1}, 1u << 22) { r.executor().spawn(run()); }
  Task<void> run() {
    auto index = std::make_unique<index::MapIndex>(runtime.executor(), index_state, index::MapIndexOptions{});
    Result<std::unique_ptr<meta::EmbeddedMeta>> opened = co_await meta::EmbeddedMeta::open(runtime, std::move(index));
    must(opened.has_value());
    meta = std::move(*opened);
    ReplicaServerOptions options;
    options.id = ServerId{1};
    options.cache_bytes = 1u << 16;
    server = std::make_unique<ReplicaServer>(runtime, store, *meta, options);
    const Result<void> started = co_await server->start();
    must(started.has_value());
    server->serve(*runtime.network().listen(kAddress));
  }
  SimRuntime& runtime;
  index::MapIndexState index_state;
  std::unique_ptr<meta::EmbeddedMeta> meta;
  store::MemoryStore store;
  std::unique_ptr<ReplicaServer> server;
};

struct ClientProcess : runtime::SimProcess {
  ClientProcess(SimRuntime& r, Input in) : runtime(r), input(in) { r.executor().spawn(run()); }
  Task<void> run() {
    Result<std::shared_ptr<rpc::Channel>> channel =
        co_await rpc::Channel::connect(runtime, kAddress, runtime.now_ns() + 60'000'000'000);
    must(channel.has_value());
    while (input.left > 0) {
      rpc::Call call;
      call.method = static_cast<uint16_t>(0x200 + input.take() % 16);
      Buffer control = Buffer::zeroed(input.take());
      for (std::byte& b : control.span()) b = static_cast<std::byte>(input.take());
      const Buffer data = Buffer::zeroed(uint64_t{input.take()} * 1024);
      call.control = control.span();
      call.data = data.span();
      call.deadline_ns = runtime.now_ns() + 3'600'000'000'000;
      const Result<rpc::Reply> reply = co_await (*channel)->call(call);
      must(reply.has_value() || reply.error().code != ErrorCode::kUnavailable);
    }
    co_await (*channel)->close();
    done = true;
  }
  SimRuntime& runtime;
  Input input;
  bool done = false;
};

void fuzz_requests(Input input) {
  runtime::SimWorld world(1);
  const runtime::NodeId server = world.add_node("server");
  world.start(server, [](SimRuntime& r) { return std::make_unique<ServerProcess>(r); });
  world.run_for(1'000'000'000);
  const runtime::NodeId client = world.add_node("client");
  world.start(client, [input](SimRuntime& r) { return std::make_unique<ClientProcess>(r, input); });
  const bool done = world.run_until([&] { return static_cast<ClientProcess*>(world.process(client))->done; },
                                    uint64_t{1} << 60);
  must(done);
}

void fuzz_notes(Input input) {
  std::string key, value;
  for (uint8_t n = input.take(); n > 0; --n) key.push_back(static_cast<char>(input.take()));
  while (input.left > 0) value.push_back(static_cast<char>(input.take()));
  for (const std::string& k : {key, std::string(kRangeNotePrefix) + key}) {
    const Result<ParsedRange> range = decode_range_note(k, value);
    if (range) must(encode_range_note(*range).value == value);
  }
  for (const std::string& k : {key, std::string(kFenceNotePrefix) + key}) {
    const Result<ParsedFence> fence = decode_fence_note(k, value);
    if (fence) must(encode_fence_note(fence->volume, fence->epoch, fence->state).value == value);
  }
}

}  // namespace
}  // namespace foreshard::server

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bool quiet = (foreshard::set_log_level(foreshard::LogLevel::kOff), true);
  (void)quiet;
  foreshard::server::Input input{data, size};
  if (input.take() % 2 == 0) {
    foreshard::server::fuzz_requests(input);
  } else {
    foreshard::server::fuzz_notes(input);
  }
  return 0;
}
