#include "runtime/real_runtime.h"

#include <liburing.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <time.h>

#include <cerrno>

#include "runtime/file_descriptor.h"
#include "runtime/real_disk.h"

namespace foreshard::runtime {

namespace {

sigset_t termination_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

struct ReadCall final : KernelCall {
  ReadCall(Reactor& reactor, int from_fd, void* to, size_t bytes)
      : KernelCall(reactor), fd(from_fd), into(to), size(bytes) {}
  void fill(io_uring_sqe* sqe) override { io_uring_prep_read(sqe, fd, into, static_cast<unsigned>(size), 0); }
  int fd;
  void* into;
  size_t size;
};

}  // namespace

void block_termination_signals() {
  const sigset_t set = termination_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

Result<std::unique_ptr<RealRuntime>> RealRuntime::create(ReactorOptions options) {
  TRY(std::unique_ptr<Reactor> reactor, Reactor::create(options));
  uint64_t seed = 0;
  if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed)) return fail(error_from_errno(errno, "getrandom"));
  return std::unique_ptr<RealRuntime>(new RealRuntime(std::move(reactor), seed));
}

Result<std::unique_ptr<Disk>> RealRuntime::open_disk(const std::string& folder) {
  return open_real_disk(*reactor_, folder);
}

uint64_t RealRuntime::wall_ns() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

Task<int> RealRuntime::wait_signal() {
  block_termination_signals();
  const sigset_t set = termination_signals();
  const FileDescriptor fd(signalfd(-1, &set, SFD_CLOEXEC));
  if (!fd.valid()) co_return 0;
  signalfd_siginfo info = {};
  ReadCall call(*reactor_, fd.get(), &info, sizeof(info));
  const int32_t result = co_await call;
  co_return result == sizeof(info) ? static_cast<int>(info.ssi_signo) : 0;
}

}  // namespace foreshard::runtime
