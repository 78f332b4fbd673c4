// libFuzzer program: any bytes from a client, cut anywhere, before a memory device that answers at once or
// later. Proves for each input that the server survives, ends when its client leaves, and that what it sends
// in the transmission phase is a sequence of well-formed replies.
//   nbd_fuzz tests/corpus/nbd
// Input: a byte of switches, a byte that says how large the pieces are, then what the client sends, or a script of it.
#include <cstdlib>

#include "base/log.h"
#include "front/nbd/server.h"
#include "runtime/pair.h"
#include "volume/memory_device.h"

namespace foreshard::front {
namespace {

using runtime::Task;

constexpr uint64_t kDiskBytes = 256u << 10;
// Of scripts, which ask for no more than a little or for too much: so that too much is still within the disk.
constexpr uint64_t kScriptDiskBytes = 2 * uint64_t{nbd::kPayloadBytesMax};

enum Switch : uint8_t {
  kHandshake = 1,   // the bytes come after a good handshake
  kStructured = 2,  // in which structured replies are agreed on
  kReadOnly = 4,
  kLate = 8,         // the device answers later
  kScript = 16,      // the bytes say which requests are sent
  kLittleRoom = 32,  // few requests and bytes may be under way
  kStopEarly = 64,   // the server stops when the client has sent all, before it has left
};

// Runs what is ready; when nothing is, time jumps to the next timer.
class LoopExecutor : public runtime::Executor {
 public:
  ~LoopExecutor() override { destroy_tasks(); }
  uint64_t now_ns() const override { return now_ns_; }
  void post_from_thread(std::coroutine_handle<>) override { std::abort(); }
  // False when nothing can happen any more.
  bool step() {
    if (has_ready()) {
      run_ready();
      return true;
    }
    if (next_deadline_ns() == UINT64_MAX) return false;
    now_ns_ = std::max(now_ns_, next_deadline_ns());
    run_timers(now_ns_);
    return true;
  }

 private:
  uint64_t now_ns_ = 1'000'000'000;
};

class FuzzRuntime : public runtime::Runtime {
 public:
  runtime::Executor& executor() override { return executor_; }
  runtime::Network& network() override { std::abort(); }
  Result<std::unique_ptr<runtime::Disk>> open_disk(const std::string&) override { std::abort(); }
  Random& random() override { return random_; }
  uint64_t wall_ns() override { return 0; }
  LoopExecutor& loop() { return executor_; }

 private:
  LoopExecutor executor_;
  Random random_{1};
};

// Gives its one connection, then waits for its end.
class OneClient : public runtime::Listener {
 public:
  OneClient(runtime::Executor& executor, std::unique_ptr<runtime::Connection> client)
      : client_(std::move(client)), end_(executor) {}
  Task<Result<std::unique_ptr<runtime::Connection>>> accept() override {
    if (!client_) co_await end_.wait();
    if (!client_) co_return fail(ErrorCode::kCancelled, "accept");
    co_return std::move(client_);
  }
  void shutdown() override { end_.set(); }
  std::string address() const override { return "fuzz"; }

 private:
  std::unique_ptr<runtime::Connection> client_;
  runtime::Signal end_;
};

// Fails as the last bits of the offset say; answers at once or later.
class PlannedDevice : public volume::BlockDevice {
 public:
  PlannedDevice(runtime::Executor& executor, bool late, uint64_t size_bytes)
      : executor_(executor), late_(late), memory_(size_bytes) {}
  uint64_t size_bytes() const override { return memory_.size_bytes(); }
  Task<Result<void>> read(uint64_t offset, ByteSpan into) override {
    CO_TRY_VOID(co_await planned(offset));
    co_return co_await memory_.read(offset, into);
  }
  Task<Result<void>> write(uint64_t offset, ConstByteSpan from, bool fua) override {
    CO_TRY_VOID(co_await planned(offset));
    co_return co_await memory_.write(offset, from, fua);
  }
  Task<Result<void>> zero(uint64_t offset, uint64_t bytes, volume::ZeroMode mode, bool fua) override {
    CO_TRY_VOID(co_await planned(offset));
    co_return co_await memory_.zero(offset, bytes, mode, fua);
  }
  Task<Result<void>> discard(uint64_t offset, uint64_t bytes, bool fua) override {
    CO_TRY_VOID(co_await planned(offset));
    co_return co_await memory_.discard(offset, bytes, fua);
  }
  Task<Result<void>> flush() override {
    CO_TRY_VOID(co_await planned(0));
    co_return co_await memory_.flush();
  }
  void prefetch(uint64_t offset, uint64_t bytes) override { memory_.prefetch(offset, bytes); }
  Task<Result<std::vector<volume::Extent>>> block_status(uint64_t offset, uint64_t bytes,
                                                         uint32_t extents_max) override {
    CO_TRY_VOID(co_await planned(offset));
    co_return co_await memory_.block_status(offset, bytes, extents_max);
  }

 private:
  Task<Result<void>> planned(uint64_t offset) {
    if (late_) co_await executor_.yield();
    const uint64_t code = offset % kPageBytes;
    if (code == 0 || code > static_cast<uint64_t>(ErrorCode::kPermission)) co_return Result<void>();
    co_return fail(static_cast<ErrorCode>(code), "planned");
  }
  runtime::Executor& executor_;
  const bool late_;
  volume::MemoryDevice memory_;
};

Task<void> send_all(runtime::Connection& connection, std::string bytes, size_t piece_bytes, bool* sent) {
  for (size_t at = 0; at < bytes.size(); at += piece_bytes) {
    const iovec piece{bytes.data() + at, std::min(piece_bytes, bytes.size() - at)};
    const Result<void> written = co_await connection.write({&piece, 1});
    if (!written) break;
  }
  *sent = true;
}

Task<void> receive_all(runtime::Connection& connection, std::string* got) {
  std::vector<std::byte> buffer(65536);
  for (;;) {
    const Result<size_t> n = co_await connection.read(buffer);
    if (!n || *n == 0) co_return;
    got->append(as_text(ConstByteSpan(buffer).first(*n)));
  }
}

Task<void> stop(NbdServer& server) { co_await server.stop(); }

template <class T>
std::string wire(T object) {
  return std::string(as_text(object_bytes(object)));
}

std::string option(uint32_t number, const std::string& data) {
  return wire(nbd::Be64(nbd::kOptionMagic)) + wire(nbd::Be32(number)) +
         wire(nbd::Be32(static_cast<uint32_t>(data.size()))) + data;
}

std::string good_handshake(bool structured) {
  const std::string name = wire(nbd::Be32(4)) + "disk";
  std::string bytes = wire(nbd::Be32(3));
  if (structured) {
    bytes += option(nbd::kOptStructuredReply, "");
    bytes += option(nbd::kOptSetMetaContext, name + wire(nbd::Be32(1)) + wire(nbd::Be32(15)) + "base:allocation");
  }
  return bytes + option(nbd::kOptGo, name + wire(nbd::Be16(0)));
}

// Requests with the right magic and likely fields, six bytes of script each: what lies behind the first checks.
std::string requests(std::string_view script) {
  std::string bytes;
  for (uint64_t cookie = 1; script.size() >= 6 && bytes.size() < (4u << 20); ++cookie) {
    const auto at = [&](size_t i) { return static_cast<uint8_t>(script[i]); };
    nbd::RequestHeader header{};
    header.magic = nbd::kRequestMagic;
    header.command = static_cast<uint16_t>(at(0) < 240 ? at(0) % 8 : at(0));
    header.flags = static_cast<uint16_t>(at(1) < 240 ? at(1) % 16 : at(1) << 8);
    header.cookie = cookie;
    uint32_t length = at(4) * 512u + at(5) % 2;
    if (at(4) == 255) length = at(5) % 2 == 0 ? nbd::kPayloadBytesMax + 1 : UINT32_MAX;
    const bool empty = header.command == nbd::kCmdFlush && at(4) % 2 == 0;
    if (!empty) {
      header.offset = at(2) * uint64_t{4096} + at(3);
      header.length = length;
    }
    bytes += wire(header);
    if (header.command == nbd::kCmdWrite && length < (1u << 20)) bytes.append(length, static_cast<char>(at(5)));
    script.remove_prefix(6);
  }
  return bytes;
}

void require(bool condition) {
  if (!condition) std::abort();
}

// The greeting and option replies, up to the acknowledgement of GO; then replies of the transmission phase,
// the last of which may be cut short.
void check_replies(ConstByteSpan bytes) {
  bytes = bytes.subspan(sizeof(nbd::Greeting));
  for (bool entered = false; !entered;) {
    require(bytes.size() >= sizeof(nbd::OptionReplyHeader));
    const auto header = load_object<nbd::OptionReplyHeader>(bytes);
    require(header.magic == nbd::kOptionReplyMagic);
    bytes = bytes.subspan(sizeof(header) + header.length);
    entered = header.option == nbd::kOptGo && header.type == nbd::kRepAck;
  }
  while (bytes.size() >= sizeof(nbd::ChunkHeader)) {
    const uint32_t magic = load_object<nbd::Be32>(bytes);
    size_t size = sizeof(nbd::SimpleReply);
    if (magic == nbd::kStructuredReplyMagic) {
      const auto chunk = load_object<nbd::ChunkHeader>(bytes);
      require(chunk.flags == nbd::kChunkDone);
      size = sizeof(chunk) + chunk.length;
    } else {
      require(magic == nbd::kSimpleReplyMagic);
    }
    if (size > bytes.size()) return;
    bytes = bytes.subspan(size);
  }
}

NbdServerOptions server_options(uint8_t switches) {
  NbdServerOptions options;
  if ((switches & kLittleRoom) == 0) return options;
  options.session.requests_in_flight_max = 3;
  options.session.bytes_reserved = 4u << 10;
  options.session.bytes_in_flight_max = 33u << 20;
  options.bytes_shared_max = 96u << 10;
  options.session.receive_bytes = 8u << 10;
  return options;
}

void run(uint8_t switches, size_t piece_bytes, std::string bytes) {
  FuzzRuntime world;
  const bool script = (switches & kScript) != 0;
  PlannedDevice device(world.executor(), (switches & kLate) != 0, script ? kScriptDiskBytes : kDiskBytes);
  NbdServer server(world, server_options(switches));
  ExportOptions options;
  options.read_only = (switches & kReadOnly) != 0;
  require(server.add_export("disk", device, options).has_value());
  const bool structured = (switches & kStructured) != 0;
  if (script) bytes = requests(bytes);
  if ((switches & kHandshake) != 0) bytes = good_handshake(structured) + bytes;

  auto [ours, theirs] = runtime::make_pair(world.executor());
  server.serve(std::make_unique<OneClient>(world.executor(), std::move(theirs)));
  std::string got;
  bool sent = false;
  const bool stop_early = (switches & kStopEarly) != 0;
  world.executor().spawn(send_all(*ours, std::move(bytes), piece_bytes, &sent));
  world.executor().spawn(receive_all(*ours, &got));
  for (int i = 0; i < 10'000'000 && !sent; ++i) require(world.loop().step());
  if (stop_early) world.executor().spawn(stop(server));
  for (int i = 0; i < 100; ++i) world.loop().step();
  ours->shutdown();
  if (!stop_early) world.executor().spawn(stop(server));
  for (int i = 0; i < 10'000'000 && world.executor().root_count() > 0; ++i) require(world.loop().step());
  require(world.executor().root_count() == 0);
  if ((switches & kHandshake) != 0 && structured && !stop_early) check_replies(as_bytes(got));
}

}  // namespace
}  // namespace foreshard::front

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  foreshard::set_log_level(foreshard::LogLevel::kOff);
  if (size < 2 || size > 65536) return 0;
  const size_t piece_bytes = data[1] == 0 ? SIZE_MAX : data[1] * size_t{7};
  foreshard::front::run(data[0], piece_bytes, std::string(reinterpret_cast<const char*>(data + 2), size - 2));
  return 0;
}
