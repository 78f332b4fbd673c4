// Attachment: a volume in use on this host: its driver, the NBD server before it, and its control socket.
//
// Lifecycle: start() claims the volume and serves it; detach() ends it in good order. What ends it from outside is told
// by over(): a client of the control socket wished it, or another driver took the volume. Owner: `foreshard attach`,
// `foreshard up --attach`, an import, an export, a benchmark. One executor. Metadata and runtime outlive it.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "app/driver_control.h"
#include "app/driver_models.h"
#include "front/nbd/server.h"
#include "meta/meta.h"
#include "volume/driver.h"

namespace foreshard::app {

struct AttachmentOptions {
  volume::DriverOptions driver;  // who we are and where is filled in by start()
  std::vector<std::string> nbd;  // "unix:PATH" or "tcp:HOST:PORT"; none: only this process uses the volume
  std::string control_folder;    // where the control socket goes
  DriverModelsOptions models;    // the volume's name and labels are filled in by start()
  // Addresses of servers in this very process: by their own address, the one to use instead.
  std::map<std::string, std::string> local_servers;
};

class Attachment {
 public:
  // Errors as Driver::attach's; kBusy also when an NBD address is in use.
  static runtime::Task<Result<std::unique_ptr<Attachment>>> start(runtime::Runtime& runtime, meta::Meta& meta,
                                                                  AttachmentOptions options);
  ~Attachment();

  volume::Driver& driver() { return *driver_; }
  // Where clients find it, as NBD URIs.
  const std::vector<std::string>& uris() const { return uris_; }
  // Set when it should end: a wish for a detach, or the driver can go on no more.
  runtime::Signal& over() { return over_; }
  pb::DriverStatus status() const;
  // Answers the requests that have begun, flushes, releases the volume. On an error the detach was unclean, and the
  // next driver takes over. Destroy it afterwards.
  runtime::Task<Result<void>> detach();

 private:
  Attachment(runtime::Runtime& runtime, meta::Meta& meta);
  runtime::Task<Result<void>> open(AttachmentOptions options);
  runtime::Task<Result<void>> listen_for_clients(const std::vector<std::string>& addresses);
  runtime::Task<void> watch_driver(runtime::Gate::Pass pass);
  runtime::Task<void> stop_fronts();
  runtime::Task<void> start_models(DriverModelsOptions options);
  FrontStatus front_status() const;

  runtime::Runtime& runtime_;
  meta::Meta& meta_;
  std::string name_;
  std::unique_ptr<volume::Driver> driver_;
  std::unique_ptr<DriverModels> models_;  // null: nobody looks for other models
  std::unique_ptr<front::NbdServer> nbd_;
  std::unique_ptr<DriverControl> control_;
  std::vector<std::string> uris_;
  runtime::Signal over_;
  runtime::Gate gate_;
};

// "nbd+unix:///NAME?socket=PATH" or "nbd://HOST:PORT/NAME" for a listener's address.
std::string nbd_uri(const std::string& name, const std::string& address);

}  // namespace foreshard::app
