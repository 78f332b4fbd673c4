// Fuzzes what a server makes of requests and of its durable records: whatever comes, it answers, and neither
// crashes nor hosts what nobody prepared. Input: a byte of what follows; then requests, either any bytes as (method,
// control length, data size, control), or fields of the method's struct as likely numbers, so that what lies behind the
// first checks is reached. Every second input finds a volume hosted and opened; a method of its own makes the store
// fail, or the server start anew.
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

// Fails its next calls as it is told.
class FaultyStore : public store::MemoryStore {
 public:
  using MemoryStore::MemoryStore;
  void fail_next(ErrorCode code, int calls) { code_ = code, calls_ = calls; }
  bool incomplete() const override { return came_back_short; }
  Task<Result<void>> settle_incomplete() override {
    came_back_short = false;
    co_return co_await MemoryStore::settle_incomplete();
  }
  Task<Result<store::PageMap>> read(store::ChunkKey key, uint32_t first_page, ByteSpan into) override {
    CO_TRY_VOID(fault());
    co_return co_await MemoryStore::read(key, first_page, into);
  }
  Task<Result<void>> write(store::ChunkKey key, store::Version version, uint32_t first_page, ConstByteSpan data,
                           const store::WriteGuard& guard) override {
    CO_TRY_VOID(fault());
    co_return co_await MemoryStore::write(key, version, first_page, data, guard);
  }
  Task<Result<void>> zero(store::ChunkKey key, store::Version version, uint32_t first_page, uint32_t pages,
                          const store::WriteGuard& guard) override {
    CO_TRY_VOID(fault());
    co_return co_await MemoryStore::zero(key, version, first_page, pages, guard);
  }
  Task<Result<void>> flush() override {
    CO_TRY_VOID(fault());
    co_return co_await MemoryStore::flush();
  }
  Task<Result<void>> erase(VolumeId volume, uint64_t first_chunk, uint64_t chunks) override {
    CO_TRY_VOID(fault());
    co_return co_await MemoryStore::erase(volume, first_chunk, chunks);
  }
  Task<Result<store::ScrubPart>> scrub(store::ChunkKey begin, store::ChunkKey end, uint64_t bytes_per_second,
                                       runtime::Signal* stop) override {
    if (const Result<void> planned = fault(); !planned && planned.error().code == ErrorCode::kCorrupt) {
      store::ScrubPart part;
      part.faults.push_back({begin, 3, 2});
      part.next = begin;
      co_return part;
    }
    co_return co_await MemoryStore::scrub(begin, end, bytes_per_second, stop);
  }
  bool came_back_short = false;

 private:
  Result<void> fault() {
    if (calls_ == 0) return {};
    --calls_;
    return fail(code_, "planned");
  }
  ErrorCode code_ = ErrorCode::kIo;
  int calls_ = 0;
};

struct ServerProcess : runtime::SimProcess {
  explicit ServerProcess(SimRuntime& r) : runtime(r), store(StoreUuid{1}, 1u << 22) { r.executor().spawn(run()); }
  Task<void> run() {
    auto index = std::make_unique<index::MapIndex>(runtime.executor(), index_state, index::MapIndexOptions{});
    Result<std::unique_ptr<meta::EmbeddedMeta>> opened = co_await meta::EmbeddedMeta::open(runtime, std::move(index));
    must(opened.has_value());
    meta = std::move(*opened);
    co_await start();
  }
  Task<void> start() {
    ReplicaServerOptions options;
    options.id = ServerId{1};
    options.cache_bytes = 1u << 16;
    server = std::make_unique<ReplicaServer>(runtime, store, *meta, options);
    const Result<void> started = co_await server->start();
    must(started.has_value());
    server->serve(*runtime.network().listen(kAddress));
  }
  Task<void> start_anew() {
    co_await server->stop();
    store.fail_next(ErrorCode::kIo, 0);
    co_await start();
  }
  SimRuntime& runtime;
  index::MapIndexState index_state;
  std::unique_ptr<meta::EmbeddedMeta> meta;
  FaultyStore store;
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
  if (byte >= 64) return SessionName{1, 1, 1};  // mostly the one that is open
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
  ClientProcess(SimRuntime& r, Input in, bool opened, ServerProcess& s) : runtime(r), input(in), server(s) {
    r.executor().spawn(run(opened));
  }
  Task<void> connect() {
    Result<std::shared_ptr<rpc::Channel>> connected =
        co_await rpc::Channel::connect(runtime, kAddress, runtime.now_ns() + 60'000'000'000);
    must(connected.has_value());
    channel = std::move(*connected);
  }
  Task<bool> answered(Shaped shaped) {
    rpc::Call call;
    call.method = shaped.method;
    Buffer data = Buffer::zeroed(shaped.data_bytes);
    if (data.size() != 0) data.data()[0] = std::byte{1};
    call.control = as_bytes(shaped.control);
    call.data = data.span();
    call.deadline_ns = runtime.now_ns() + 3'600'000'000'000;
    const Result<rpc::Reply> reply = co_await channel->call(call);
    must(reply.has_value() || reply.error().code != ErrorCode::kUnavailable);
    co_return reply.has_value();
  }
  // No longer a request: the store fails, or the server comes back.
  Task<void> strike() {
    const uint8_t what = input.take();
    if (what < 128) {
      // Any code but the one that would mean a lost connection.
      server.store.fail_next(static_cast<ErrorCode>(2 + what % 18), 1 + what % 2);
      co_return;
    }
    server.store.came_back_short = what % 4 == 3;
    co_await channel->close();
    co_await server.start_anew();
    co_await connect();
  }
  Task<void> run(bool opened) {
    co_await connect();
    if (opened) {
      const std::string chunks = text_of(RangeItem{0, 8, 1});
      const bool prepared = co_await answered({kMethodPrepare, text_of(PrepareRequest{1, 1, 0}) + chunks, 0});
      must(prepared);
      const bool good = co_await answered({kMethodOpen, text_of(OpenRequest{SessionName{1, 1, 1}}), 0});
      must(good);
    }
    for (int requests = 0; input.left > 0 && requests < kRequestsMax; ++requests) {
      const uint8_t choice = input.take();
      if (choice >= 240) {
        co_await strike();
        continue;
      }
      Shaped shaped = choice % 8 == 0 ? raw_of(input) : shaped_of(input);
      co_await answered(std::move(shaped));
    }
    co_await channel->close();
    done = true;
  }
  SimRuntime& runtime;
  Input input;
  ServerProcess& server;
  std::shared_ptr<rpc::Channel> channel;
  bool done = false;
};

void fuzz_requests(Input input, bool opened) {
  runtime::SimWorld world(1);
  const runtime::NodeId server = world.add_node("server");
  world.start(server, [](SimRuntime& r) { return std::make_unique<ServerProcess>(r); });
  world.run_for(1'000'000'000);
  const runtime::NodeId client = world.add_node("client");
  auto& hosting = static_cast<ServerProcess&>(*world.process(server));
  world.start(client, [&](SimRuntime& r) { return std::make_unique<ClientProcess>(r, input, opened, hosting); });
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
  const uint8_t choice = input.take();
  if (choice % 2 == 0) {
    foreshard::server::fuzz_requests(input, choice % 4 == 0);
  } else {
    foreshard::server::fuzz_notes(input);
  }
  return 0;
}
