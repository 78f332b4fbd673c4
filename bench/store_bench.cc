// What the chunk store costs on a real disk: operations per second, and CPU time of all threads per operation,
// for filling a new store, random writes of 4 KiB with a flush after every 32, and random reads; 1 and 32 at
// a time. Usage: store_bench [FOLDER [MIB [SECONDS]]]: where (a folder of its own in /tmp), how much, how long each.
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "base/random.h"
#include "index/rocks_index.h"
#include "runtime/real_runtime.h"
#include "runtime/test_folder.h"
#include "store/disk_store.h"

namespace foreshard::store {
namespace {

using runtime::Task;

constexpr uint32_t kWritesPerFlush = 32;

uint64_t cpu_ns() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  const auto ns = [](const timeval& t) {
    return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_usec) * 1'000;
  };
  return ns(usage.ru_utime) + ns(usage.ru_stime);
}

struct Admit : WriteGuard {
  bool admitted() const override { return true; }
};

struct Load {
  runtime::RealRuntime& runtime;
  ChunkStore& store;
  uint64_t chunks;
  uint64_t deadline_ns = 0;
  uint64_t operations = 0;
  uint64_t unflushed = 0;
  uint64_t errors = 0;
  uint64_t next_chunk = 0;
  Random random{1};
  Admit guard;
  std::vector<uint64_t> latencies_ns;
};

Buffer noise(Random& random, size_t bytes) {
  Buffer buffer = Buffer::allocate(bytes);
  for (size_t at = 0; at < bytes; at += 8) {
    const uint64_t word = random.next();
    std::memcpy(buffer.data() + at, &word, 8);
  }
  return buffer;
}

Task<void> fill(Load* load) {
  const Buffer data = noise(load->random, 128u << 10);
  const auto pages = static_cast<uint32_t>(data.size() / kPageBytes);
  while (load->next_chunk < load->chunks) {
    const ChunkKey key{VolumeId{1}, 0, load->next_chunk++};
    for (uint32_t page = 0; page < kPagesPerChunk; page += pages) {
      const Result<void> wrote =
          co_await load->store.write(key, {1, ++load->operations}, page, data.span(), load->guard);
      if (!wrote) ++load->errors;
    }
  }
}

Task<void> write_randomly(Load* load) {
  const Buffer data = noise(load->random, kPageBytes);
  while (load->runtime.now_ns() < load->deadline_ns) {
    const ChunkKey key{VolumeId{1}, 0, load->random.below(load->chunks)};
    const auto page = static_cast<uint32_t>(load->random.below(kPagesPerChunk));
    const uint64_t started_ns = load->runtime.now_ns();
    const Result<void> wrote = co_await load->store.write(key, {2, ++load->operations}, page, data.span(), load->guard);
    if (!wrote) ++load->errors;
    load->latencies_ns.push_back(load->runtime.now_ns() - started_ns);
    if (++load->unflushed < kWritesPerFlush) continue;
    load->unflushed = 0;
    const Result<void> flushed = co_await load->store.flush();
    if (!flushed) ++load->errors;
  }
}

Task<void> read_randomly(Load* load) {
  Buffer into = Buffer::allocate(kPageBytes);
  while (load->runtime.now_ns() < load->deadline_ns) {
    const ChunkKey key{VolumeId{1}, 0, load->random.below(load->chunks)};
    const auto page = static_cast<uint32_t>(load->random.below(kPagesPerChunk));
    const uint64_t started_ns = load->runtime.now_ns();
    const Result<PageMap> read = co_await load->store.read(key, page, into.span());
    if (!read) ++load->errors;
    ++load->operations;
    load->latencies_ns.push_back(load->runtime.now_ns() - started_ns);
  }
}

Task<void> note_end(Task<void> task, uint64_t* left) {
  co_await task;
  --*left;
}

Task<void> at_depth(Load* load, const char* name, uint64_t depth, Task<void> (*client)(Load*)) {
  load->operations = load->errors = 0;
  load->latencies_ns.clear();
  const uint64_t started_ns = load->runtime.now_ns();
  const uint64_t cpu_started_ns = cpu_ns();
  uint64_t left = depth;
  for (uint64_t i = 0; i < depth; ++i) load->runtime.executor().spawn(note_end(client(load), &left));
  while (left > 0) co_await load->runtime.executor().sleep_for(1'000'000);
  const Result<void> flushed = co_await load->store.flush();
  if (!flushed) ++load->errors;
  const auto wall = static_cast<double>(load->runtime.now_ns() - started_ns);
  const auto operations = static_cast<double>(load->operations);
  std::sort(load->latencies_ns.begin(), load->latencies_ns.end());
  const auto percentile = [load](double p) {
    const auto at = static_cast<size_t>(p * static_cast<double>(load->latencies_ns.size()));
    return load->latencies_ns.empty() ? 0.0 : static_cast<double>(load->latencies_ns[at]) / 1e3;
  };
  printf("%-34s %10.0f /s %8.1f us CPU each   p50 %7.0f us  p99 %7.0f us   %llu errors\n", name,
         operations / wall * 1e9, static_cast<double>(cpu_ns() - cpu_started_ns) / operations / 1e3, percentile(0.5),
         percentile(0.99), static_cast<unsigned long long>(load->errors));
  fflush(stdout);
}

Task<bool> run_all(runtime::RealRuntime* runtime, runtime::Disk* disk, uint64_t chunks, uint64_t seconds) {
  DiskStoreOptions options;
  options.capacity_bytes = (chunks + 64) * kChunkBytes;
  Result<std::unique_ptr<ChunkStore>> store =
      co_await DiskStore::open(*runtime, *disk, index::rocks_index_opener(), options);
  if (!store) {
    fprintf(stderr, "%s\n", store.error().message().c_str());
    co_return false;
  }
  Load load{*runtime, **store, chunks};
  co_await at_depth(&load, "fill, 128 KiB, depth 8", 8, fill);
  const auto timed = [&load, runtime, seconds] { load.deadline_ns = runtime->now_ns() + seconds * 1'000'000'000; };
  for (int round = 1; round <= 2; ++round) {
    timed();
    co_await at_depth(&load, "write 4 KiB, flush/32, depth 32", 32, write_randomly);
    timed();
    co_await at_depth(&load, "write 4 KiB, flush/32, depth 1", 1, write_randomly);
  }
  timed();
  co_await at_depth(&load, "read 4 KiB, depth 32", 32, read_randomly);
  timed();
  co_await at_depth(&load, "read 4 KiB, depth 1", 1, read_randomly);
  const Result<void> closed = co_await (*store)->close();
  if (!closed) fprintf(stderr, "%s\n", closed.error().message().c_str());
  co_return closed.has_value();
}

}  // namespace
}  // namespace foreshard::store

int main(int argc, char** argv) {
  using namespace foreshard;
  runtime::TestFolder own;
  const std::string folder = argc > 1 ? argv[1] : own.path();
  const uint64_t mib = argc > 2 ? strtoull(argv[2], nullptr, 10) : 1024;
  const uint64_t seconds = argc > 3 ? strtoull(argv[3], nullptr, 10) : 5;
  Result<std::unique_ptr<runtime::RealRuntime>> runtime = runtime::RealRuntime::create();
  if (!runtime) {
    fprintf(stderr, "%s\n", runtime.error().message().c_str());
    return 1;
  }
  Result<std::unique_ptr<runtime::Disk>> disk = (*runtime)->open_disk(folder);
  if (!disk) {
    fprintf(stderr, "%s\n", disk.error().message().c_str());
    return 1;
  }
  return (*runtime)->run(store::run_all(runtime->get(), disk->get(), mib, seconds)) ? 0 : 1;
}
