// nbd_load: an independent NBD client (libnbd) that keeps a constant number of requests in flight on one connection
// and prints one line of JSON: IOPS, MB/s, latency, and the CPU time of client and servers per request.
//
//   nbd_load URI OP [--bs 4096] [--qd 32] [--seconds 3] [--warm 0.5] [--span BYTES] [--flush-every N]
//            [--pid A,B] [--seed N] [--once]
//   OP: randread randwrite seqread seqwrite
//   --span N         only the first N bytes of the export are used (default: all)
//   --flush-every N  a flush is sent after every N writes and counts as one of the requests in flight
//   --pid A,B        processes whose CPU time (user and system, of all threads) is reported
//   --once           until the span has been gone through once, instead of for some seconds; random writes then take
//                    every block once, in a random order
#include <libnbd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace {

struct Options {
  std::string uri, op;
  uint64_t block_bytes = 4096, span_bytes = 0, flush_every = 0, seed = 1;
  uint32_t depth = 32;
  double seconds = 3, warm_seconds = 0.5;
  std::vector<int> pids;
  bool once = false;
  bool write() const { return op == "randwrite" || op == "seqwrite"; }
  bool random() const { return op == "randread" || op == "randwrite"; }
};

struct Load;
struct Slot {
  Load* load;
  char* buffer;
  double start;
};

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double own_cpu_seconds() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Of all threads, those that ended too.
double cpu_seconds(const std::vector<int>& pids) {
  double total = 0;
  for (const int pid : pids) {
    char text[1024] = {};
    FILE* file = std::fopen(("/proc/" + std::to_string(pid) + "/stat").c_str(), "r");
    if (file == nullptr) continue;
    const size_t bytes = std::fread(text, 1, sizeof(text) - 1, file);
    std::fclose(file);
    text[bytes] = 0;
    const char* after_name = std::strrchr(text, ')');
    unsigned long user = 0, system = 0;
    if (after_name != nullptr &&
        std::sscanf(after_name + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) == 2) {
      total += static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
    }
  }
  return total;
}

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "nbd_load: %s: %s\n", what, nbd_get_error() != nullptr ? nbd_get_error() : "");
  std::exit(1);
}

// One run of a load: the connection, its requests in flight, what was measured.
struct Load {
  explicit Load(const Options& of) : options(of), random_state(of.seed * 0x9e3779b97f4a7c15ull | 1) {}

  void connect();
  void run();
  void print() const;
  void submit(Slot& slot);
  uint64_t next_offset();
  uint64_t random();
  static int completed(void* slot, int* error);

  const Options& options;
  nbd_handle* nbd = nullptr;
  uint64_t blocks = 0, position = 0, since_flush = 0, issued = 0;
  uint64_t random_state;
  std::vector<uint32_t> order;  // with --once
  std::vector<Slot> slots;
  std::vector<Slot*> free_slots;
  std::vector<float> latencies_us;
  bool measuring = false;
  uint64_t done = 0, errors = 0;
  uint64_t measured = 0;
  double elapsed = 0, client_cpu = 0, server_cpu = 0;
};

uint64_t Load::random() {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state * 0x2545f4914f6cdd1dull;
}

void Load::connect() {
  nbd = nbd_create();
  if (nbd == nullptr || nbd_connect_uri(nbd, options.uri.c_str()) < 0) die(options.uri.c_str());
  nbd_set_strict_mode(nbd, 0);
  nbd_set_pread_initialize(nbd, false);
  const int64_t size = nbd_get_size(nbd);
  if (size <= 0) die("size");
  const uint64_t span = options.span_bytes == 0 ? static_cast<uint64_t>(size)
                                                : std::min(options.span_bytes, static_cast<uint64_t>(size));
  blocks = span / options.block_bytes;
  if (blocks == 0) die("the span is smaller than a block");
  slots.resize(options.depth);
  for (Slot& slot : slots) {
    slot.load = this;
    slot.buffer = static_cast<char*>(std::aligned_alloc(4096, (options.block_bytes + 4095) & ~uint64_t{4095}));
    for (uint64_t i = 0; i + 8 <= options.block_bytes; i += 8) {
      const uint64_t word = random();
      std::memcpy(slot.buffer + i, &word, 8);
    }
    free_slots.push_back(&slot);
  }
  latencies_us.reserve(8u << 20);
  if (options.once && options.random()) {
    for (uint64_t block = 0; block < blocks; ++block) order.push_back(static_cast<uint32_t>(block));
    for (uint64_t i = blocks; i > 1; --i) std::swap(order[i - 1], order[random() % i]);
  }
}

uint64_t Load::next_offset() {
  const uint64_t place = position++;
  if (!order.empty()) return order[place] * options.block_bytes;
  if (options.random()) return random() % blocks * options.block_bytes;
  return place % blocks * options.block_bytes;
}

int Load::completed(void* context, int* error) {
  Slot& slot = *static_cast<Slot*>(context);
  Load& load = *slot.load;
  if (*error != 0) ++load.errors;
  ++load.done;
  if (load.measuring) load.latencies_us.push_back(static_cast<float>((now() - slot.start) * 1e6));
  load.free_slots.push_back(&slot);
  return 1;
}

void Load::submit(Slot& slot) {
  nbd_completion_callback callback{};
  callback.callback = &Load::completed;
  callback.user_data = &slot;
  slot.start = now();
  ++issued;
  int64_t cookie = 0;
  if (options.flush_every != 0 && since_flush == options.flush_every) {
    since_flush = 0;
    cookie = nbd_aio_flush(nbd, callback, 0);
  } else if (options.write()) {
    ++since_flush;
    cookie = nbd_aio_pwrite(nbd, slot.buffer, options.block_bytes, next_offset(), callback, 0);
  } else {
    cookie = nbd_aio_pread(nbd, slot.buffer, options.block_bytes, next_offset(), callback, 0);
  }
  if (cookie < 0) die("submit");
}

void Load::run() {
  const double begin = now();
  double start = 0, client_start = 0, server_start = 0;
  uint64_t done_start = 0;
  const auto start_measuring = [&] {
    measuring = true;
    start = now();
    client_start = own_cpu_seconds();
    server_start = cpu_seconds(options.pids);
    done_start = done;
  };
  if (options.once || options.warm_seconds <= 0) start_measuring();
  bool stopping = false;
  for (;;) {
    while (!stopping && !free_slots.empty()) {
      if (options.once && position == blocks) {
        stopping = true;
        break;
      }
      Slot* slot = free_slots.back();
      free_slots.pop_back();
      submit(*slot);
    }
    if (stopping && free_slots.size() == slots.size()) break;
    if (nbd_poll(nbd, -1) < 0) die("poll");
    const double time = now();
    if (!measuring && !stopping && time - begin > options.warm_seconds) start_measuring();
    if (measuring && !options.once && time - start > options.seconds) {
      stopping = true;
      measuring = false;
      elapsed = time - start;
      measured = done - done_start;
      client_cpu = own_cpu_seconds() - client_start;
      server_cpu = cpu_seconds(options.pids) - server_start;
    }
  }
  if (options.once) {
    elapsed = now() - start;
    measured = done - done_start;
    client_cpu = own_cpu_seconds() - client_start;
    server_cpu = cpu_seconds(options.pids) - server_start;
  }
  if (options.write() && nbd_flush(nbd, 0) < 0) die("flush");
  nbd_shutdown(nbd, 0);
  nbd_close(nbd);
}

void Load::print() const {
  std::vector<float> sorted = latencies_us;
  std::sort(sorted.begin(), sorted.end());
  const auto at = [&](double share) {
    if (sorted.empty()) return 0.0;
    return static_cast<double>(sorted[static_cast<size_t>(static_cast<double>(sorted.size() - 1) * share)]);
  };
  const double count = static_cast<double>(std::max<uint64_t>(measured, 1));
  std::printf("{\"op\":\"%s\",\"bs\":%llu,\"qd\":%u,\"ios\":%.0f,\"iops\":%.0f,\"mb_s\":%.1f,\"p50_us\":%.1f,"
              "\"p99_us\":%.1f,\"p999_us\":%.1f,\"client_cpu_us\":%.3f,\"server_cpu_us\":%.3f,\"errors\":%llu}\n",
              options.op.c_str(), static_cast<unsigned long long>(options.block_bytes), options.depth, count,
              count / elapsed, count * static_cast<double>(options.block_bytes) / elapsed / 1e6, at(0.5), at(0.99),
              at(0.999), client_cpu / count * 1e6, server_cpu / count * 1e6, static_cast<unsigned long long>(errors));
}

bool parse(int argc, char** argv, Options& options) {
  if (argc < 3) return false;
  options.uri = argv[1];
  options.op = argv[2];
  for (int i = 3; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (flag == "--once") {
      options.once = true;
      continue;
    }
    if (i + 1 >= argc) return false;
    const char* value = argv[++i];
    if (flag == "--bs") {
      options.block_bytes = std::strtoull(value, nullptr, 10);
    } else if (flag == "--qd") {
      options.depth = static_cast<uint32_t>(std::strtoul(value, nullptr, 10));
    } else if (flag == "--seconds") {
      options.seconds = std::atof(value);
    } else if (flag == "--warm") {
      options.warm_seconds = std::atof(value);
    } else if (flag == "--span") {
      options.span_bytes = std::strtoull(value, nullptr, 10);
    } else if (flag == "--flush-every") {
      options.flush_every = std::strtoull(value, nullptr, 10);
    } else if (flag == "--seed") {
      options.seed = std::strtoull(value, nullptr, 10);
    } else if (flag == "--pid") {
      for (char* rest = const_cast<char*>(value); *rest != 0;) {
        options.pids.push_back(static_cast<int>(std::strtol(rest, &rest, 10)));
        if (*rest == ',') ++rest;
      }
    } else {
      return false;
    }
  }
  return (options.random() || options.op == "seqread" || options.op == "seqwrite") && options.depth > 0 &&
         options.block_bytes > 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!parse(argc, argv, options)) {
    std::fprintf(stderr, "usage: nbd_load URI randread|randwrite|seqread|seqwrite [--bs N] [--qd N] [--seconds S]\n"
                         "       [--warm S] [--span BYTES] [--flush-every N] [--pid A,B] [--seed N] [--once]\n");
    return 2;
  }
  Load load(options);
  load.connect();
  load.run();
  load.print();
  return load.errors == 0 ? 0 : 3;
}
