// What one remote call costs: calls per second and CPU per call, for calls that bring or take 4 KiB (or another size),
// at depth 1 and more, over a pair in this process, a unix socket within one process, or between two processes.
//
//   rpc_bench [--transport pair|local|unix|unix2] [--depth N] [--bytes N] [--write] [--seconds S]
//
// Without arguments it prints the table of all. CPU is that of all processes that take part.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>

#include "rpc/rpc.h"
#include "runtime/real_runtime.h"
#include "runtime/test_folder.h"

namespace foreshard {
namespace {

using runtime::Task;

constexpr uint16_t kRead = 1;
constexpr uint16_t kWrite = 2;

struct Setting {
  std::string transport = "unix";
  int depth = 1;
  size_t bytes = 4096;
  bool write = false;
  double seconds = 1.0;
};

// Answers reads from memory: what a cached read costs.
struct Server {
  Server(runtime::Runtime& runtime, const std::string& address) : service(rpc::Service::create(runtime)) {
    service->handle(kRead, [](rpc::Peer&, rpc::Request& request) { return read(request); });
    service->handle(kWrite, [](rpc::Peer&, rpc::Request& request) { return write(request); });
    service->serve(std::move(*runtime.network().listen(address)));
  }
  static Task<Result<rpc::Reply>> read(rpc::Request& request) {
    rpc::Reply reply;
    reply.data = Buffer::allocate(load_object<uint64_t>(request.control));
    co_return reply;
  }
  static Task<Result<rpc::Reply>> write(rpc::Request&) { co_return rpc::Reply(); }
  std::unique_ptr<rpc::Service> service;
};

Task<void> ask(runtime::Runtime& runtime, rpc::Channel& channel, const Setting& setting, uint64_t until_ns,
               uint64_t& calls) {
  Buffer place = Buffer::zeroed(setting.bytes);
  const uint64_t wanted[4] = {setting.write ? 0 : setting.bytes, 1, 2, 3};
  for (;;) {
    const uint64_t now_ns = runtime.now_ns();
    if (now_ns >= until_ns) co_return;
    rpc::Call call;
    call.method = setting.write ? kWrite : kRead;
    call.control = {reinterpret_cast<const std::byte*>(wanted), sizeof(wanted)};
    if (setting.write) call.data = place.span();
    else call.data_into = place.span();
    call.deadline_ns = now_ns + 5'000'000'000;
    Result<rpc::Reply> reply = co_await channel.call(call);
    if (!reply) {
      std::fprintf(stderr, "call failed: %s\n", reply.error().message().c_str());
      co_return;
    }
    ++calls;
  }
}

Task<void> run_asker(Task<void> task, int& running, runtime::WaitQueue& ended) {
  co_await task;
  --running;
  ended.wake_all();
}

Task<int> measure(runtime::Runtime& runtime, std::string address, const Setting& setting, uint64_t& calls) {
  Result<std::shared_ptr<rpc::Channel>> channel =
      co_await rpc::Channel::connect(runtime, address, runtime.now_ns() + 1'000'000'000);
  if (!channel) {
    std::fprintf(stderr, "%s\n", channel.error().message().c_str());
    co_return 1;
  }
  runtime::WaitQueue ended(runtime.executor());
  int running = setting.depth;
  const uint64_t until_ns = runtime.now_ns() + static_cast<uint64_t>(setting.seconds * 1e9);
  for (int i = 0; i < setting.depth; ++i)
    runtime.executor().spawn(run_asker(ask(runtime, **channel, setting, until_ns, calls), running, ended));
  while (running > 0) co_await ended.wait();
  co_await (*channel)->close();
  co_return 0;
}

double cpu_seconds(int who) {
  rusage usage{};
  getrusage(who, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

[[noreturn]] void serve_until_closed(const std::string& address, int ready_fd, int stop_fd) {
  auto runtime = std::move(*runtime::RealRuntime::create());
  Server server(*runtime, address);
  (void)!write(ready_fd, "r", 1);
  struct Stop {
    static Task<int> wait(runtime::Runtime& runtime, int fd, rpc::Service& service) {
      char byte;
      while (read(fd, &byte, 1) != 0) co_await runtime.executor().sleep_for(20'000'000);
      co_await service.stop();
      co_return 0;
    }
  };
  runtime->run(Stop::wait(*runtime, stop_fd, *server.service));
  _exit(0);
}

Task<int> stop(rpc::Service& service) {
  co_await service.stop();
  co_return 0;
}

void run(const Setting& setting) {
  const runtime::TestFolder folder;
  const bool two = setting.transport == "unix2";
  const std::string address = setting.transport == "local" ? "local:bench" : "unix:" + (folder / "s");
  int ready[2] = {-1, -1}, stopper[2] = {-1, -1};
  pid_t child = 0;
  if (two) {
    if (pipe(ready) != 0 || pipe2(stopper, O_NONBLOCK) != 0) return;
    child = fork();
    if (child == 0) {
      close(stopper[1]);
      serve_until_closed(address, ready[1], stopper[0]);
    }
    close(stopper[0]);
    char byte;
    (void)!read(ready[0], &byte, 1);
  }
  uint64_t calls = 0;
  const double before = cpu_seconds(RUSAGE_SELF) + cpu_seconds(RUSAGE_CHILDREN);
  const auto start_ns = [] {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
  };
  double elapsed = 0;
  {
    auto runtime = std::move(*runtime::RealRuntime::create());
    std::unique_ptr<Server> server;
    if (!two) server = std::make_unique<Server>(*runtime, address);
    const double start = start_ns();
    runtime->run(measure(*runtime, address, setting, calls));
    elapsed = start_ns() - start;
    if (server) runtime->run(stop(*server->service));
  }
  if (two) {
    close(stopper[1]);
    waitpid(child, nullptr, 0);
    close(ready[0]), close(ready[1]);
  }
  const double cpu = cpu_seconds(RUSAGE_SELF) + cpu_seconds(RUSAGE_CHILDREN) - before;
  std::printf("%-6s %-5s %7zu B  depth %3d  %9.0f calls/s  %6.2f us CPU/call\n", setting.transport.c_str(),
              setting.write ? "write" : "read", setting.bytes, setting.depth, static_cast<double>(calls) / elapsed,
              cpu * 1e6 / static_cast<double>(calls));
  std::fflush(stdout);
}

}  // namespace
}  // namespace foreshard

int main(int argc, char** argv) {
  using namespace foreshard;
  Setting setting;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    if (name == "--transport") setting.transport = value, ++i;
    else if (name == "--depth") setting.depth = std::atoi(value), ++i;
    else if (name == "--bytes") setting.bytes = std::strtoull(value, nullptr, 10), ++i;
    else if (name == "--seconds") setting.seconds = std::atof(value), ++i;
    else if (name == "--write") setting.write = true;
    else return std::fprintf(stderr, "unknown: %s\n", argv[i]), 2;
  }
  if (argc > 1) return run(setting), 0;
  for (const char* transport : {"local", "unix", "unix2"})
    for (const bool write : {false, true})
      for (const int depth : {1, 32}) run({transport, depth, 4096, write, 1.0});
  for (const char* transport : {"local", "unix", "unix2"}) run({transport, 8, 128 << 10, false, 1.0});
}
