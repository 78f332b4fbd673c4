// nbd_memory: serves a thin disk in memory by NBD, for tests with real clients and for measurements of the
// front end by itself. Ends in good order on SIGTERM or SIGINT.
//   nbd_memory ADDRESS SIZE [NAME...]     ADDRESS is unix:PATH or tcp:HOST:PORT, SIZE such as 1G; one disk per
//                                         NAME, by default one named "disk". "ready" is printed when it serves.
//   NBD_MEMORY_SPIN_NS sets the cap of the reactor's spin time.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/units.h"
#include "front/nbd/server.h"
#include "runtime/real_runtime.h"
#include "volume/memory_device.h"

namespace foreshard {
namespace {

runtime::Task<Result<void>> serve(runtime::RealRuntime& world, front::NbdServer& server, std::string address) {
  Result<std::unique_ptr<runtime::Listener>> listener = world.network().listen(address);
  if (!listener) co_return fail(std::move(listener.error()));
  server.serve(std::move(*listener));
  std::puts("ready");
  std::fflush(stdout);
  co_await world.wait_signal();
  co_await server.stop();
  co_return Result<void>();
}

int complain(const Error& error) {
  std::fprintf(stderr, "nbd_memory: %s\n", error.message().c_str());
  return 1;
}

int run(const std::string& address, const std::string& size, std::vector<std::string> names) {
  const Result<uint64_t> bytes = parse_size(size);
  if (!bytes) return complain(bytes.error());
  runtime::ReactorOptions options;
  if (const char* spin_ns = std::getenv("NBD_MEMORY_SPIN_NS"))
    options.spin_ns_max = std::strtoull(spin_ns, nullptr, 10);
  Result<std::unique_ptr<runtime::RealRuntime>> world = runtime::RealRuntime::create(options);
  if (!world) return complain(world.error());
  std::vector<std::unique_ptr<volume::MemoryDevice>> devices;
  front::NbdServer server(**world, front::NbdServerOptions());
  for (const std::string& name : names) {
    devices.push_back(std::make_unique<volume::MemoryDevice>(*bytes));
    const Result<void> added = server.add_export(name, *devices.back(), front::ExportOptions());
    if (!added) return complain(added.error());
  }
  const Result<void> served = (*world)->run(serve(**world, server, address));
  (*world)->reactor().close();
  return served ? 0 : complain(served.error());
}

}  // namespace
}  // namespace foreshard

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: nbd_memory ADDRESS SIZE [NAME...]\n");
    return 2;
  }
  foreshard::runtime::block_termination_signals();
  foreshard::set_log_level(foreshard::LogLevel::kWarn);
  std::vector<std::string> names(argv + 3, argv + argc);
  if (names.empty()) names.push_back("disk");
  return foreshard::run(argv[1], argv[2], std::move(names));
}
