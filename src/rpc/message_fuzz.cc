// Feeds bytes to both decoders of the protocol, the service's and the channel's, through streams in memory. The input
// is a script: pieces are raw, or get a header whose checksums are put right, so that what lies behind them is reached.
#include <cstring>

#include "base/crc32c.h"
#include "base/log.h"
#include "rpc/memory_stream.h"
#include "rpc/message.h"
#include "rpc/rpc.h"

namespace foreshard::rpc {
namespace {

using runtime::Task;

Task<Result<Reply>> echo(Peer& peer, Request& request) {
  Reply reply;
  reply.control = Buffer::copy_of(request.control);
  reply.data = Buffer::copy_of(request.data);
  co_return reply;
}

Task<void> call(std::shared_ptr<Channel> channel, ByteSpan into) {
  Call request;
  request.method = 1;
  request.control = as_bytes("control");
  request.data_into = into;
  request.deadline_ns = 3'000'000'000;
  Result<Reply> reply = co_await channel->call(request);
  if (reply && !into.empty() && reply->data_size > into.size()) std::abort();
}

// Few bytes in few pieces an input: what matters is what the decoders see, and many inputs.
constexpr size_t kBytesMax = 128u << 10;
constexpr size_t kSegmentsMax = 512;

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
    if (size >= 4) {
      header.method = data[0] % 3;
      header.call_id = uint64_t{1 + data[1] % 4u} << 16 | data[2] % 4;
      header.status = data[3] < 128 ? 0 : data[3] % 24;
      data += 4, size -= 4;
    }
    if (header.kind == static_cast<uint8_t>(MessageKind::kRequest)) header.status = 0;
    if (header.kind == static_cast<uint8_t>(MessageKind::kCancel)) header.status = 0, body.clear();
    header.control_bytes = static_cast<uint32_t>(std::min<size_t>(body.size(), kind));
    header.data_bytes = static_cast<uint32_t>(body.size() - header.control_bytes);
    header.control_crc = crc32c(as_bytes(body).first(header.control_bytes));
    header.data_crc = crc32c(as_bytes(body).subspan(header.control_bytes));
    seal_header(header);
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

void fuzz_service(const std::string& bytes, size_t segment) {
  TestRuntime runtime;
  std::unique_ptr<Service> service = Service::create(runtime);
  service->handle(1, echo);
  auto state = std::make_shared<TestListener::State>(runtime.executor());
  service->serve(std::make_unique<TestListener>(state));
  TestPair pair = make_test_pair(runtime.executor());
  pair.pipes[0]->segment_bytes_max = segment;
  pair.pipes[1]->capacity_bytes = SIZE_MAX;
  state->give(std::move(pair.second));
  runtime.executor().run_ready_only();
  feed(runtime.executor(), *pair.pipes[0], bytes);
  pair.first->shutdown();
  runtime.executor().run();
  runtime.executor().destroy_tasks();
}

void fuzz_channel(const std::string& bytes, size_t segment) {
  TestRuntime runtime;
  Buffer place = Buffer::allocate(40'000);
  TestPair pair = make_test_pair(runtime.executor());
  pair.pipes[1]->segment_bytes_max = segment;
  std::shared_ptr<Channel> channel = Channel::over(runtime, std::move(pair.first));
  for (int i = 0; i < 4; ++i) runtime.executor().spawn(call(channel, i % 2 == 0 ? place.span() : ByteSpan()));
  runtime.executor().run_ready_only();
  feed(runtime.executor(), *pair.pipes[1], bytes);
  channel = nullptr;
  runtime.executor().run();
  runtime.executor().destroy_tasks();
}

}  // namespace
}  // namespace foreshard::rpc

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace foreshard;
  set_log_level(LogLevel::kOff);
  if (size < 2) return 0;
  const std::string bytes = rpc::expand(data + 2, size - 2);
  const size_t segment =
      data[1] == 0 ? SIZE_MAX : std::max(size_t{data[1]} * data[1], bytes.size() / rpc::kSegmentsMax);
  if (data[0] % 2 == 0)
    rpc::fuzz_service(bytes, segment);
  else
    rpc::fuzz_channel(bytes, segment);
  return 0;
}
