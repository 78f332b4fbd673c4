// RealRuntime: the world as it is, for one core: a reactor with its network, disks, clock and randomness.
//
// Owner: main, or the thread of the core; it belongs to the thread that made it. What uses it ends before it.
#pragma once

#include <memory>
#include <string>

#include "runtime/io.h"
#include "runtime/reactor.h"
#include "runtime/real_network.h"

namespace foreshard::runtime {

// Blocks SIGTERM and SIGINT in this thread and those it starts later, so that only wait_signal() sees them.
// To be called by main before any thread is made.
void block_termination_signals();

class RealRuntime final : public Runtime {
 public:
  // kUnsupported and the like when the kernel is too old or forbids io_uring.
  static Result<std::unique_ptr<RealRuntime>> create(ReactorOptions options = {});
  // Root tasks that are left are destroyed where they stand.
  ~RealRuntime() override { reactor_->close(); }

  Executor& executor() override { return *reactor_; }
  Network& network() override { return network_; }
  Result<std::unique_ptr<Disk>> open_disk(const std::string& folder) override;
  Random& random() override { return random_; }
  uint64_t wall_ns() override;

  Reactor& reactor() { return *reactor_; }
  // Runs the reactor until the task has ended.
  template <class T>
  T run(Task<T> task) {
    return reactor_->block_on(std::move(task));
  }
  // The next SIGTERM or SIGINT, or 0 when the reactor ends first.
  Task<int> wait_signal();

 private:
  RealRuntime(std::unique_ptr<Reactor> reactor, uint64_t seed)
      : reactor_(std::move(reactor)), network_(*reactor_), random_(seed) {}
  std::unique_ptr<Reactor> reactor_;
  RealNetwork network_;
  Random random_;
};

}  // namespace foreshard::runtime
