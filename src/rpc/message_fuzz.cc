// Feeds bytes to both decoders of the protocol, the service's and the channel's, through streams in memory. The input
// is a script: pieces are raw, or get a header whose checksums are put right, so that what lies behind them is reached,
// and may have one thing wrong with it. Or it is a script of calls between a channel and a service.
#include <cstring>

#include "base/crc32c.h"
#include "base/log.h"
#include "rpc/memory_stream.h"
#include "rpc/message.h"
#include "rpc/rpc.h"

namespace foreshard::rpc {
namespace {

using runtime::Task;

constexpr uint16_t kMethods = 4;

Task<Result<Reply>> echo(Peer& peer, Request& request) {
  Reply reply;
  reply.control = Buffer::copy_of(request.control);
  reply.data = Buffer::copy_of(request.data);
  co_return reply;
}

Task<Result<Reply>> refuse(Peer& peer, Request& request) {
  co_return fail(ErrorCode::kNotHere, "fuzz", std::string(5000, 'x'));
}

// More than a reply may bring, where the caller asks with nothing: such answers are slow to make.
Task<Result<Reply>> answer_too_much(Peer& peer, Request& request) {
  Reply reply;
  reply.control = Buffer::allocate(request.data.empty() ? kControlBytesMax + 1 : 1);
  co_return reply;
}

// Answers when the caller has long given up, or gone.
struct LateHandler {
  Task<Result<Reply>> operator()(Peer& peer, Request& request) { return answer(executor); }
  static Task<Result<Reply>> answer(runtime::Executor& executor) {
    co_await executor.sleep_for(5'000'000'000);
    co_return Reply();
  }
  runtime::Executor& executor;
};

void add_handlers(TestRuntime& runtime, Service& service) {
  service.handle(0, LateHandler{runtime.executor()});
  service.handle(1, echo);
  service.handle(2, refuse);
  service.handle(3, answer_too_much);
}

Task<void> stop(Service& service) { co_await service.stop(); }
Task<void> close(std::shared_ptr<Channel> channel) { co_await channel->close(); }

Task<void> call(std::shared_ptr<Channel> channel, ByteSpan into, uint64_t deadline_ns) {
  Call request;
  request.method = 1;
  request.control = as_bytes("control");
  request.data_into = into;
  request.deadline_ns = deadline_ns;
  Result<Reply> reply = co_await channel->call(request);
  if (reply && !into.empty() && reply->data_size > into.size()) std::abort();
}

// Few bytes in few pieces an input: what matters is what the decoders see, and many inputs.
constexpr size_t kBytesMax = 128u << 10;
constexpr size_t kSegmentsMax = 512;

// What is wrong with a message that a peer otherwise knows how to make. The header's checksum is right in all but one.
enum class Flaw : uint8_t {
  kNone,
  kVersion,
  kHeaderChecksum,
  kKind,
  kFlags,
  kStatus,
  kControlLength,
  kDataLength,
  kNoCall,
  kControlChecksum,
  kDataChecksum,
  kCancelWithBody,
  kCount
};

void spoil(MessageHeader& header, Flaw flaw) {
  switch (flaw) {
    case Flaw::kVersion: header.version += 1; break;
    case Flaw::kKind: header.kind += 4; break;
    case Flaw::kFlags: header.flags |= kFlagDataUnchecked; break;
    case Flaw::kStatus: header.status = 300; break;
    case Flaw::kControlLength: header.control_bytes = kControlBytesMax + 1; break;
    case Flaw::kDataLength: header.data_bytes = kDataBytesMax + 1; break;
    case Flaw::kNoCall: header.call_id = 0; break;
    case Flaw::kControlChecksum: header.control_crc ^= 1; break;
    case Flaw::kDataChecksum: header.data_crc ^= 1; break;
    case Flaw::kCancelWithBody: header.kind = static_cast<uint8_t>(MessageKind::kCancel); break;
    default: break;
  }
}

// Pieces of the script as the bytes to send.
std::string expand(const uint8_t* data, size_t size) {
  std::string bytes;
  while (size >= 2 && bytes.size() < kBytesMax) {
    const uint8_t kind = data[0];
    size_t length = data[1];
    data += 2, size -= 2;
    if (kind % 4 == 0) {
      length = std::min(length, size);
      bytes.append(reinterpret_cast<const char*>(data), length);
      data += length, size -= length;
      continue;
    }
    MessageHeader header;
    header.kind = 1 + kind % 3;
    header.remaining_ns = UINT64_MAX;
    // Now and then one that is too long for the receiving buffer.
    std::string body(kind < 224 ? length : length * 300, static_cast<char>(kind));
    Flaw flaw = Flaw::kNone;
    if (size >= 6) {
      header.method = data[0] % (kMethods + 1);
      header.endpoint = data[0] / 16 % 4;
      header.call_id = uint64_t{1 + data[1] % 4u} << 16 | data[2] % 4;
      header.status = data[3] < 128 ? 0 : data[3] % 24;
      // Most have no flaw.
      if (data[4] >= 128) flaw = static_cast<Flaw>(data[4] % static_cast<uint8_t>(Flaw::kCount));
      if (data[5] < 64) header.remaining_ns = data[5] * 100'000'000ull;
      header.reply_data_bytes_max = data[5] % 3 * 4096;
      data += 6, size -= 6;
    }
    if (header.kind == static_cast<uint8_t>(MessageKind::kRequest) && flaw != Flaw::kStatus) header.status = 0;
    if (header.kind == static_cast<uint8_t>(MessageKind::kCancel)) header.status = 0, body.clear();
    header.control_bytes = static_cast<uint32_t>(std::min<size_t>(body.size(), kind));
    header.data_bytes = static_cast<uint32_t>(body.size() - header.control_bytes);
    header.control_crc = crc32c(as_bytes(body).first(header.control_bytes));
    header.data_crc = crc32c(as_bytes(body).subspan(header.control_bytes));
    spoil(header, flaw);
    seal_header(header);
    if (flaw == Flaw::kHeaderChecksum) header.header_crc ^= 1;
    bytes.append(as_text(object_bytes(header)));
    bytes += body;
  }
  return bytes;
}

void feed(TestExecutor& executor, TestPipe& pipe, const std::string& bytes) {
  pipe.bytes.append(as_bytes(bytes));
  TestConnection::move(executor, pipe);
  executor.run_ready_only();
}

std::unique_ptr<Service> service_with_handlers(TestRuntime& runtime) {
  ServiceOptions options;
  options.connections_max = 1;
  options.calls_per_connection_max = 4;
  std::unique_ptr<Service> service = Service::create(runtime, options);
  add_handlers(runtime, *service);
  return service;
}

// A service that is one connection's and two endpoints': what it reads is all that is tried here.
void fuzz_service(const std::string& bytes, size_t segment) {
  TestRuntime runtime;
  const std::unique_ptr<Service> service = service_with_handlers(runtime);
  const std::unique_ptr<Service> endpoint = service_with_handlers(runtime);
  service->add_endpoint(1, *endpoint);
  service->add_endpoint(2, *endpoint);
  service->remove_endpoint(2);
  int gone = 0;
  service->on_gone([&gone](Peer&) { ++gone; });
  auto state = std::make_shared<TestListener::State>(runtime.executor());
  service->serve(std::make_unique<TestListener>(state));
  TestPair pair = make_test_pair(runtime.executor());
  TestPair turned_away = make_test_pair(runtime.executor());
  pair.pipes[0]->segment_bytes_max = segment;
  pair.pipes[1]->capacity_bytes = SIZE_MAX;
  state->give(std::move(pair.second));
  state->give(std::move(turned_away.second));
  runtime.executor().run_ready_only();
  feed(runtime.executor(), *pair.pipes[0], bytes);
  pair.first->shutdown();
  runtime.executor().run();
  if (gone != 1) std::abort();
  runtime.executor().spawn(stop(*endpoint));
  runtime.executor().spawn(stop(*service));
  runtime.executor().run();
  runtime.executor().destroy_tasks();
}

void fuzz_channel(const std::string& bytes, size_t segment) {
  TestRuntime runtime;
  Buffer place = Buffer::allocate(40'000);
  TestPair pair = make_test_pair(runtime.executor());
  pair.pipes[1]->segment_bytes_max = segment;
  ChannelOptions options;
  options.calls_max = 5;
  std::shared_ptr<Channel> channel = Channel::over(runtime, std::move(pair.first), options);
  // The last one waits for a place, and the one before it has no time.
  for (uint64_t i = 0; i < 6; ++i)
    runtime.executor().spawn(call(channel, i % 2 == 0 ? place.span() : ByteSpan(), i == 4 ? 1 : 3'000'000'000));
  runtime.executor().run_ready_only();
  feed(runtime.executor(), *pair.pipes[1], bytes);
  runtime.executor().spawn(close(channel));
  channel = nullptr;
  runtime.executor().run();
  runtime.executor().destroy_tasks();
}

// Calls of the script, a byte each for method, sizes and deadline, between a channel and a service that both hold to
// the protocol, in one process or in two: every answer is the right one.
struct Caller {
  // Mostly little; now and then more than what is received by way of a buffer.
  static size_t bytes_of(uint8_t byte) { return byte < 250 ? byte * 16u : (byte - 249) * 6000u; }
  Caller(TestRuntime& r, std::shared_ptr<Channel> c) : runtime(r), channel(std::move(c)) {}
  Task<void> make_call(uint8_t method, uint8_t control, uint8_t data, uint8_t into, uint8_t deadline) {
    static const std::string too_long(kControlBytesMax + 1, 'c');
    const std::string_view control_text = std::string_view(too_long).substr(0, control == 255 ? SIZE_MAX : control);
    const std::string data_text(bytes_of(data), static_cast<char>(data));
    Buffer place = Buffer::allocate(bytes_of(into));
    Call call;
    call.method = method % (kMethods + 1);
    call.endpoint = method / 16 % 3;
    call.control = as_bytes(control_text);
    call.data = as_bytes(data_text);
    call.data_into = place.span();
    if (deadline < 128) call.deadline_ns = runtime.executor().now_ns() + deadline * 100'000'000ull;
    call.owner = method % 2 == 0 ? this : nullptr;
    const Result<Reply> reply = co_await channel->call(call);
    ++answers;
    if (!reply || call.method != 1) co_return;
    if (as_text(reply->control.span()) != control_text || reply->data_size != data_text.size()) std::abort();
    const ConstByteSpan got = into == 0 ? ConstByteSpan(reply->data.span()) : place.span().first(reply->data_size);
    if (as_text(got) != data_text) std::abort();
  }
  TestRuntime& runtime;
  std::shared_ptr<Channel> channel;
  int answers = 0;
};

Task<void> connect(TestRuntime& runtime, std::shared_ptr<Channel>* channel) {
  Result<std::shared_ptr<Channel>> connected = co_await Channel::connect(runtime, "server", UINT64_MAX);
  if (!connected) std::abort();
  *channel = std::move(*connected);
}

void fuzz_both(const uint8_t* data, size_t size, bool in_process, size_t segment) {
  TestRuntime runtime;
  runtime.network().in_process = in_process;
  const std::unique_ptr<Service> service = service_with_handlers(runtime);
  const std::unique_ptr<Service> endpoint = service_with_handlers(runtime);
  service->add_endpoint(1, *endpoint);
  service->serve(std::move(*runtime.network().listen("server")));
  std::shared_ptr<Channel> channel;
  runtime.executor().spawn(connect(runtime, &channel));
  runtime.executor().run_ready_only();
  for (const auto& pipe : runtime.network().pipes.at(0)) pipe->segment_bytes_max = std::max<size_t>(segment, 256);
  Caller caller(runtime, channel);
  int calls = 0;
  for (; size >= 5 && calls < 32; data += 5, size -= 5, ++calls) {
    runtime.executor().spawn(caller.make_call(data[0], data[1], data[2], data[3], data[4]));
    if (data[4] % 8 == 1) runtime.executor().run_ready_only();
    if (data[4] % 32 == 2) channel->end_calls(&caller);
  }
  if (size == 4) runtime.executor().spawn(stop(*service));
  if (size == 3) runtime.executor().spawn(close(channel));
  if (size == 2) runtime.network().pipes[0][0]->stalled = true;
  runtime.executor().run();
  runtime.executor().spawn(close(channel));
  runtime.executor().run();
  if (caller.answers != calls) std::abort();
  caller.channel = channel = nullptr;
  runtime.executor().spawn(stop(*service));
  runtime.executor().run();
  runtime.executor().destroy_tasks();
}

}  // namespace
}  // namespace foreshard::rpc

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace foreshard;
  set_log_level(LogLevel::kOff);
  if (size < 2) return 0;
  const uint8_t mode = data[0] % 4;
  if (mode >= 2) {
    rpc::fuzz_both(data + 2, size - 2, mode == 3, data[1] == 0 ? SIZE_MAX : size_t{data[1]} * data[1]);
    return 0;
  }
  const std::string bytes = rpc::expand(data + 2, size - 2);
  const size_t segment =
      data[1] == 0 ? SIZE_MAX : std::max(size_t{data[1]} * data[1], bytes.size() / rpc::kSegmentsMax);
  if (mode == 0)
    rpc::fuzz_service(bytes, segment);
  else
    rpc::fuzz_channel(bytes, segment);
  return 0;
}
