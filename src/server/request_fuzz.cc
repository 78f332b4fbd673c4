// Fuzzes what a server makes of requests and of its durable records: whatever comes, it answers, and neither
// crashes nor hosts what nobody prepared. Input: a byte of what follows; then requests, either any bytes as (method,
// control length, data size, control), or fields of the method's struct as likely numbers, so that what lies behind the
// first checks is reached.
#include <array>
#include <cstdlib>

#include "base/crc32c.h"
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

constexpr int kRequestsMax = 64;
constexpr char kAddress[] = "tcp:server:1";

struct Input {
  const uint8_t* data;
  size_t left;
  uint8_t take() { return left == 0 ? 0 : (--left, *data++); }
  // Mostly a small number, sometimes one at which something may overflow.
  uint64_t number() {
    constexpr std::array<uint64_t, 8> kOdd = {255,        256,        1u << 16,  UINT32_MAX,
                                              1ull << 44, 1ull << 56, INT64_MAX, UINT64_MAX};
    const uint8_t byte = take();
    return byte < 240 ? byte : kOdd[byte % kOdd.size()];
  }
  uint32_t number32() { return static_cast<uint32_t>(number()); }
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

// A request as its method has it.
struct Shaped {
  uint16_t method = 0;
  std::string control;
  uint64_t data_bytes = 0;
};

template <class T>
std::string text_of(T object) {
  return std::string(as_text(object_bytes(object)));
}

SessionName session_of(Input& in) {
  const uint8_t byte = in.take();
  return SessionName{uint64_t{1} + byte % 2, uint64_t{1} + byte / 2 % 4, uint64_t{1} + byte / 8 % 4};
}

std::string prepare_of(Input& in) {
  PrepareRequest request{};
  request.volume = in.number() % 4;
  const uint32_t items = in.take() % 4;
  request.ranges = in.take() % 8 == 0 ? in.number32() : items;
  std::string control = text_of(request);
  for (uint32_t i = 0; i < items; ++i) control += text_of(RangeItem{in.number(), in.number(), in.number()});
  return control;
}

std::string control_of(uint16_t method, Input& in) {
  const SessionName name = session_of(in);
  switch (method) {
    case kMethodOpen: return text_of(OpenRequest{name});
    case kMethodClose: return text_of(CloseRequest{name});
    case kMethodHeartbeat: return text_of(HeartbeatRequest{name});
    case kMethodRead:
      return text_of(ReadRequest{name, in.number(), in.take() % 16 == 0, in.number32(), in.number32(), in.number32()});
    case kMethodWrite: return text_of(WriteRequest{name, in.number(), in.number(), in.take() % 16 == 0, in.number32()});
    case kMethodZero:
      return text_of(ZeroRequest{name, in.number(), in.number(), in.number(), in.take() % 16 == 0, in.number32()});
    case kMethodFlush: return text_of(FlushRequest{name, in.number()});
    case kMethodStates: return text_of(StatesRequest{name, in.number(), in.number32(), in.take() % 16 == 0});
    case kMethodPrepare: return prepare_of(in);
    case kMethodLook: return text_of(LookRequest{in.number()});
    case kMethodScrub: {
      const uint64_t volume = in.number();
      return text_of(ScrubRequest{volume, in.number(), {in.take() % 4 != 0 ? volume : in.number(), in.number(), 0, 0}});
    }
    case kMethodUsage: return text_of(UsageRequest{in.number()});
    default: return "";
  }
}

Shaped shaped_of(Input& in) {
  Shaped shaped;
  const uint8_t choice = in.take();
  shaped.method = static_cast<uint16_t>(kMethodOpen + choice % 16);
  shaped.control = control_of(shaped.method, in);
  if (shaped.method == kMethodWrite) shaped.data_bytes = uint64_t{in.take() % 64u} * kPageBytes;
  return shaped;
}

Shaped raw_of(Input& in) {
  Shaped shaped;
  shaped.method = static_cast<uint16_t>(kMethodOpen + in.take() % 16);
  const uint8_t control_bytes = in.take();
  shaped.data_bytes = uint64_t{in.take()} * 1024;
  for (uint8_t i = 0; i < control_bytes; ++i) shaped.control.push_back(static_cast<char>(in.take()));
  return shaped;
}

struct ClientProcess : runtime::SimProcess {
  ClientProcess(SimRuntime& r, Input in) : runtime(r), input(in) { r.executor().spawn(run()); }
  Task<void> run() {
    Result<std::shared_ptr<rpc::Channel>> channel =
        co_await rpc::Channel::connect(runtime, kAddress, runtime.now_ns() + 60'000'000'000);
    must(channel.has_value());
    for (int requests = 0; input.left > 0 && requests < kRequestsMax; ++requests) {
      const Shaped shaped = input.take() % 8 == 0 ? raw_of(input) : shaped_of(input);
      rpc::Call call;
      call.method = shaped.method;
      const Buffer data = Buffer::zeroed(shaped.data_bytes);
      call.control = as_bytes(shaped.control);
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
  const bool done =
      world.run_until([&] { return static_cast<ClientProcess*>(world.process(client))->done; }, uint64_t{1} << 60);
  must(done);
}

template <class Note>
std::string with_checksum(const std::string& key, const std::string& value) {
  if (value.size() != sizeof(Note)) return value;
  auto note = load_object<Note>(as_bytes(value));
  note.checksum = 0;
  note.checksum = crc32c(object_bytes(note), crc32c(as_bytes(key)));
  return text_of(note);
}

// A note with likely numbers, so that it is one in most things.
void fuzz_likely_notes(Input input) {
  RangeNote range{};
  range.format_version = input.take() % 8 == 0 ? input.number32() : 1;
  range.chunks = input.number();
  range.replica = input.number();
  range.complete = input.number32() % 3;
  range.reserved = input.take() % 8 == 0;
  const std::string range_key = range_note_key(VolumeId{input.number()}, input.number());
  const std::string range_text = with_checksum<RangeNote>(range_key, text_of(range));
  const Result<ParsedRange> parsed = decode_range_note(range_key, range_text);
  if (parsed) must(encode_range_note(*parsed).key == range_key && encode_range_note(*parsed).value == range_text);
  FenceNote fence{};
  fence.format_version = input.take() % 8 == 0 ? input.number32() : 1;
  fence.epoch = input.number();
  fence.state = input.number32() % 5;
  fence.reserved = input.take() % 8 == 0;
  const std::string fence_key = fence_note_key(VolumeId{input.number()});
  const std::string fence_text = with_checksum<FenceNote>(fence_key, text_of(fence));
  const Result<ParsedFence> told = decode_fence_note(fence_key, fence_text);
  if (told) must(encode_fence_note(told->volume, told->epoch, told->state).value == fence_text);
}

void fuzz_notes(Input input) {
  fuzz_likely_notes(input);
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
