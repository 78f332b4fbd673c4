// The real Network: unix and TCP sockets of the kernel's, and pairs inside the process. One reactor's.
//
// Owner: RealRuntime. Listeners end before it; connections before the reactor.
#pragma once

#include <memory>
#include <string>

#include "runtime/io.h"
#include "runtime/local_endpoints.h"
#include "runtime/reactor.h"
#include "runtime/worker_thread.h"

namespace foreshard::runtime {

class RealNetwork final : public Network {
 public:
  explicit RealNetwork(Reactor& reactor) : reactor_(reactor), local_(reactor) {}
  Task<Result<std::unique_ptr<Connection>>> connect(const std::string& address, uint64_t deadline_ns) override;
  // A host's name is looked up at once, blocking: listeners are made at the start of a process.
  Result<std::unique_ptr<Listener>> listen(const std::string& address) override;

 private:
  Task<Result<std::unique_ptr<Connection>>> connect_to(std::string address, uint64_t deadline_ns);
  Reactor& reactor_;
  LocalEndpoints local_;
  std::unique_ptr<WorkerThread> resolver_;  // made when the first name is looked up
};

}  // namespace foreshard::runtime
