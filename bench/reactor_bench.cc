// What the reactor costs: CPU time (user and system, of all threads and processes involved) and elapsed time
// per operation, for a turn through the ready queue, echoes of 4 KiB through each kind of connection, and
// reads of 4 KiB from a file. Usage: reactor_bench [FOLDER [FILTER]]: where to make the file (a folder of its
// own in /tmp), and what to run: "ready", "file" or a part of the name of an echo.
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "base/random.h"
#include "runtime/real_runtime.h"
#include "runtime/sync.h"
#include "runtime/test_folder.h"

namespace foreshard::runtime {
namespace {

constexpr size_t kMessageBytes = 4096;

uint64_t cpu_ns(int who) {
  rusage usage;
  getrusage(who, &usage);
  const auto ns = [](const timeval& t) {
    return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_usec) * 1'000;
  };
  return ns(usage.ru_utime) + ns(usage.ru_stime);
}

std::string at_depth(uint64_t depth) { return ", depth " + std::to_string(depth); }

struct Stopwatch {
  explicit Stopwatch(Runtime& r) : runtime(r), wall_ns(r.now_ns()), cpu_start_ns(cpu_ns(RUSAGE_SELF)) {}
  void report(const std::string& name, uint64_t operations, uint64_t other_cpu_ns = 0) const {
    const double cpu = static_cast<double>(cpu_ns(RUSAGE_SELF) - cpu_start_ns + other_cpu_ns);
    const double wall = static_cast<double>(runtime.now_ns() - wall_ns);
    const double count = static_cast<double>(operations);
    printf("%-44s %10.0f %13.0f %12.0f\n", name.c_str(), cpu / count, wall / count, count / wall * 1e9);
    fflush(stdout);
  }
  Runtime& runtime;
  uint64_t wall_ns;
  uint64_t cpu_start_ns;
};

// ---- the ready queue

Task<void> yield_many(Executor& executor, uint64_t count, Gate::Pass) {
  for (uint64_t i = 0; i < count; ++i) co_await executor.yield();
}

Task<void> yield_all(Executor& executor, uint64_t tasks, uint64_t count) {
  Gate gate(executor);
  for (uint64_t i = 0; i < tasks; ++i) executor.spawn(yield_many(executor, count / tasks, std::move(*gate.enter())));
  co_await gate.close();
}

// ---- echoes

Task<void> echo(std::unique_ptr<Connection> connection) {
  Buffer buffer = Buffer::allocate(256 << 10);
  for (;;) {
    const Result<size_t> count = co_await connection->read(buffer.span());
    if (!count || *count == 0) co_return;
    const iovec piece = {buffer.data(), *count};
    const Result<void> written = co_await connection->write({&piece, 1});
    if (!written) co_return;
  }
}

Task<void> serve(Executor& executor, Listener& listener) {
  for (;;) {
    Result<std::unique_ptr<Connection>> connection = co_await listener.accept();
    if (!connection) co_return;
    executor.spawn(echo(std::move(*connection)));
  }
}

// Keeps `depth` messages on their way: for every one that has come back whole, the next is sent.
Task<void> ask(Connection& connection, uint64_t depth, uint64_t count) {
  Buffer out = Buffer::zeroed(kMessageBytes);
  Buffer in = Buffer::allocate(256 << 10);
  std::vector<iovec> pieces(depth, iovec{out.data(), out.size()});
  uint64_t sent = depth;
  uint64_t received_bytes = 0;
  uint64_t answered = 0;
  Result<void> written = co_await connection.write(pieces);
  while (written && answered < count) {
    const Result<size_t> got = co_await connection.read(in.span());
    if (!got || *got == 0) co_return;
    received_bytes += *got;
    const uint64_t next = received_bytes / kMessageBytes - answered;
    answered += next;
    if (next == 0 || sent >= count) continue;
    sent += next;
    written = co_await connection.write(std::span(pieces).first(next));
  }
}

Task<void> connect_and_ask(RealRuntime& runtime, std::string address, uint64_t depth, uint64_t count) {
  Result<std::unique_ptr<Connection>> connection = co_await runtime.network().connect(address, UINT64_MAX);
  if (!connection) {
    fprintf(stderr, "%s\n", connection.error().message().c_str());
    exit(1);
  }
  co_await ask(**connection, depth, count);
}

void bench_echo_one_reactor(RealRuntime& runtime, const std::string& address, const std::string& name, uint64_t depth,
                            uint64_t count) {
  const std::unique_ptr<Listener> listener = std::move(runtime.network().listen(address).value());
  runtime.executor().spawn(serve(runtime.executor(), *listener));
  runtime.run(connect_and_ask(runtime, listener->address(), depth, count / 10));
  const Stopwatch watch(runtime);
  runtime.run(connect_and_ask(runtime, listener->address(), depth, count));
  watch.report(name, count);
  listener->shutdown();
}

void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  sched_setaffinity(0, sizeof(set), &set);
}

Task<void> serve_until_signal(RealRuntime& runtime, Listener& listener) {
  runtime.executor().spawn(serve(runtime.executor(), listener));
  [[maybe_unused]] const int signal_number = co_await runtime.wait_signal();
  listener.shutdown();
}

// A server and a client process, on one CPU (so that CPU time is all there is to measure) or wherever.
void bench_echo_two_processes(const std::string& address, const std::string& name, uint64_t depth, uint64_t count,
                              bool pinned) {
  int ready[2];
  if (pipe(ready) != 0) exit(1);
  block_termination_signals();
  const pid_t server = fork();
  if (server == 0) {
    if (pinned) pin(0);
    const std::unique_ptr<RealRuntime> runtime = std::move(RealRuntime::create().value());
    const std::unique_ptr<Listener> listener = std::move(runtime->network().listen(address).value());
    if (write(ready[1], "x", 1) != 1) _exit(1);
    runtime->run(serve_until_signal(*runtime, *listener));
    runtime->reactor().close();
    _exit(0);
  }
  const pid_t client = fork();
  if (client == 0) {
    char byte;
    if (read(ready[0], &byte, 1) != 1) _exit(1);
    if (pinned) pin(0);
    const std::unique_ptr<RealRuntime> runtime = std::move(RealRuntime::create().value());
    runtime->run(connect_and_ask(*runtime, address, depth, count));
    _exit(0);
  }
  const std::unique_ptr<RealRuntime> clock = std::move(RealRuntime::create().value());
  const uint64_t children_before_ns = cpu_ns(RUSAGE_CHILDREN);
  const Stopwatch watch(*clock);
  waitpid(client, nullptr, 0);
  kill(server, SIGTERM);
  waitpid(server, nullptr, 0);
  watch.report(name, count, cpu_ns(RUSAGE_CHILDREN) - children_before_ns);
  close(ready[0]);
  close(ready[1]);
}

// ---- files

Task<void> fill(File& file, uint64_t bytes) {
  const Buffer zeros = Buffer::zeroed(1 << 20);
  for (uint64_t at = 0; at < bytes; at += zeros.size()) {
    const Result<void> written = co_await file.write(at, zeros.span());
    if (!written) {
      fprintf(stderr, "%s\n", written.error().message().c_str());
      exit(1);
    }
  }
  [[maybe_unused]] const Result<void> synced = co_await file.sync();
}

Task<void> read_pages(File& file, uint64_t pages, uint64_t seed, uint64_t count, Gate::Pass) {
  Random random(seed);
  Buffer buffer = Buffer::allocate(kPageBytes);
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t offset = random.below(pages) * kPageBytes;
    const Result<void> result = co_await file.read(offset, buffer.span());
    if (!result) exit(1);
  }
}

Task<void> read_at_depth(Executor& executor, File& file, uint64_t pages, uint64_t depth, uint64_t count) {
  Gate gate(executor);
  for (uint64_t i = 0; i < depth; ++i) {
    executor.spawn(read_pages(file, pages, i + 1, count / depth, std::move(*gate.enter())));
  }
  co_await gate.close();
}

void bench_file(RealRuntime& runtime, const std::string& folder) {
  constexpr uint64_t kFileBytes = 256u << 20;
  const std::unique_ptr<Disk> disk = std::move(runtime.open_disk(folder).value());
  const std::unique_ptr<File> file = std::move(disk->open("data", Disk::Open::kCreate).value());
  runtime.run(fill(*file, kFileBytes));
  for (const uint64_t depth : {1, 32}) {
    const uint64_t count = depth == 1 ? 10'000 : 100'000;
    const Stopwatch watch(runtime);
    runtime.run(read_at_depth(runtime.executor(), *file, kFileBytes / kPageBytes, depth, count));
    watch.report("file read 4 KiB" + at_depth(depth), count);
  }
}

void bench_ready_queue(RealRuntime& runtime, uint64_t tasks) {
  constexpr uint64_t kCount = 10'000'000;
  const Stopwatch watch(runtime);
  runtime.run(yield_all(runtime.executor(), tasks, kCount));
  watch.report("ready queue, tasks " + std::to_string(tasks), kCount);
}

struct Case {
  std::string name;
  std::string address;
  uint64_t depth;
  uint64_t count() const { return depth == 1 ? 100'000 : 500'000; }
};

std::vector<Case> cases(const std::string& how, const std::vector<std::pair<std::string, std::string>>& addresses,
                        const std::string& filter) {
  std::vector<Case> cases;
  for (const uint64_t depth : {1, 32}) {
    for (const auto& [scheme, address] : addresses) {
      const std::string name = "echo " + scheme + ", " + how + at_depth(depth);
      if (name.find(filter) != std::string::npos) cases.push_back({name, address, depth});
    }
  }
  return cases;
}

int run(const std::string& folder, const std::string& filter) {
  const TestFolder sockets;
  const std::string unix_socket = "unix:" + (sockets / "socket");
  printf("%-44s %10s %13s %12s\n", "", "CPU ns/op", "elapsed ns/op", "op/s");
  // First what forks, before any ring is made.
  for (const Case& c : cases("2 processes on 1 CPU", {{"unix", unix_socket}, {"tcp", "tcp:127.0.0.1:29871"}}, filter)) {
    bench_echo_two_processes(c.address, c.name, c.depth, c.count(), true);
  }
  for (const Case& c : cases("2 processes on any CPU", {{"unix", unix_socket}}, filter)) {
    bench_echo_two_processes(c.address, c.name, c.depth, c.count(), false);
  }
  const std::unique_ptr<RealRuntime> runtime = std::move(RealRuntime::create().value());
  for (const Case& c :
       cases("1 reactor", {{"unix", unix_socket}, {"tcp", "tcp:127.0.0.1:0"}, {"local", "local:here"}}, filter)) {
    bench_echo_one_reactor(*runtime, c.address, c.name, c.depth, c.count());
  }
  if (filter.empty() || filter == "ready") {
    for (const uint64_t tasks : {1, 1000}) bench_ready_queue(*runtime, tasks);
  }
  if (filter.empty() || filter == "file") bench_file(*runtime, folder + "/data");
  runtime->reactor().close();
  return 0;
}

}  // namespace
}  // namespace foreshard::runtime

int main(int argc, char** argv) {
  const foreshard::runtime::TestFolder scratch;
  return foreshard::runtime::run(argc > 1 ? argv[1] : scratch.path(), argc > 2 ? argv[2] : "");
}
