// DriverControl: the control socket of one driver: its counters, heat, prefetch mode, recording, and the wish to
// detach. Owner: Attachment. start(), then stop() before the driver goes. One executor.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "app/control_messages.h"
#include "app/driver_models.h"
#include "rpc/rpc.h"
#include "runtime/io.h"
#include "volume/driver.h"

namespace foreshard::app {

class AccessRecorder;

// What the driver itself does not know of what is around it.
struct FrontStatus {
  std::vector<std::string> exports;
  uint64_t clients = 0;
  std::optional<DriverModelsStatus> models;
};

class DriverControl {
 public:
  // on_detach is called when a client wishes the driver to end in good order; it returns at once.
  DriverControl(runtime::Runtime& runtime, volume::Driver& driver, std::function<FrontStatus()> front,
                std::function<void()> on_detach);
  ~DriverControl();
  void serve(std::unique_ptr<runtime::Listener> listener);
  runtime::Task<void> stop();

 private:
  using Method = runtime::Task<Result<rpc::Reply>> (DriverControl::*)(rpc::Peer&, rpc::Request&);
  void add(uint16_t method, Method member);
  runtime::Task<Result<rpc::Reply>> on_status(rpc::Peer& peer, rpc::Request& request);
  runtime::Task<Result<rpc::Reply>> on_heat(rpc::Peer& peer, rpc::Request& request);
  runtime::Task<Result<rpc::Reply>> on_detach(rpc::Peer& peer, rpc::Request& request);
  runtime::Task<Result<rpc::Reply>> on_prefetch_mode(rpc::Peer& peer, rpc::Request& request);
  runtime::Task<Result<rpc::Reply>> on_explain(rpc::Peer& peer, rpc::Request& request);
  runtime::Task<Result<rpc::Reply>> on_record_start(rpc::Peer& peer, rpc::Request& request);
  runtime::Task<Result<rpc::Reply>> on_record_take(rpc::Peer& peer, rpc::Request& request);

  runtime::Runtime& runtime_;
  volume::Driver& driver_;
  std::function<FrontStatus()> front_;
  std::function<void()> detach_;
  std::weak_ptr<AccessRecorder> recorder_;  // owned by the peer that records
  std::unique_ptr<rpc::Service> service_;
};

// A driver's numbers as the control socket tells them.
pb::DriverStatus status_message(const volume::DriverStatus& status, const FrontStatus& front, uint64_t now_ns);
Result<policy::PrefetchMode> parse_prefetch_mode(std::string_view name);
Result<policy::PrefetchBudget> parse_prefetch_budget(std::string_view name);

}  // namespace foreshard::app
