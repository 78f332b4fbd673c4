// NbdServer: serves BlockDevices to NBD clients over any number of listeners, on one core. It translates and
// guards; order, durability and data are the device's business.
//
// Owned by the app. Ends with stop(), which must have returned before it is destroyed (unless its tasks were
// destroyed where they stood, as a simulated crash does). Devices outlive remove_export() or stop().
//
// What a hostile, slow or vanished client can do to others is bounded: see NbdServerOptions and Session.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "front/nbd/byte_pool.h"
#include "front/nbd/session.h"
#include "front/nbd/stats.h"
#include "runtime/io.h"
#include "runtime/sync.h"
#include "volume/block_device.h"

namespace foreshard::front {

struct NbdServerOptions {
  nbd::SessionLimits session;              // per connection
  uint64_t bytes_shared_max = 32u << 20;   // payload memory of all connections, beyond their reserves
  uint32_t connections_max = 256;          // past the handshake; a client over it is told so
  uint32_t connections_per_export_max = 64;
  uint32_t displaced_max = 16;   // beyond these: connections ending because another peer has their place
  uint32_t handshakes_max = 64;  // at a time; a further one ends the oldest of the peer that has the most
};

struct ExportOptions {
  bool read_only = false;
  std::string description;
};

class NbdServer : private nbd::SessionHost {
 public:
  NbdServer(runtime::Runtime& runtime, NbdServerOptions options);
  ~NbdServer() override;
  NbdServer(const NbdServer&) = delete;
  NbdServer& operator=(const NbdServer&) = delete;

  // kExists for a name that is taken, kInvalid for an empty or overlong one.
  Result<void> add_export(const std::string& name, volume::BlockDevice& device, const ExportOptions& options);
  // No new clients; requests that have begun end and are answered, then the connections close. After it the
  // device is not used any more. kNotFound.
  runtime::Task<Result<void>> remove_export(std::string name);
  // Accepts clients from now on, until stop().
  void serve(std::unique_ptr<runtime::Listener> listener);
  // The same for every export, and no more listeners.
  runtime::Task<void> stop();

  // One per export, by name.
  std::vector<NbdExportStats> stats() const;

 private:
  runtime::Task<void> accept_clients(std::shared_ptr<runtime::Listener> listener, runtime::Gate::Pass pass);
  runtime::Task<void> serve_client(std::unique_ptr<runtime::Connection> connection, runtime::Gate::Pass pass);

  // nbd::Catalogue and nbd::SessionHost.
  std::optional<nbd::Offer> find(std::string_view name) const override;
  std::vector<nbd::Offer> list() const override;
  const char* full(const nbd::Offer& offer, std::string_view peer) const override;
  nbd::BytePool& pool() override { return pool_; }
  nbd::Export* enter(nbd::Session& session, const std::string& name) override;
  void leave(nbd::Session& session, nbd::Export& exported) override;
  void relieve() override;

  const nbd::Export* find_export(std::string_view name) const;
  // The connections that count, of an export or, for nullptr, of all.
  std::vector<nbd::Session*> seated(const nbd::Export* exported) const;
  // May a client of this peer come in beside those seated, and whose place does it take: nullptr for nobody's.
  std::optional<nbd::Session*> place_for(std::string_view peer, const std::vector<nbd::Session*>& seated,
                                         uint32_t seats) const;
  void end_a_handshake();

  runtime::Runtime& runtime_;
  NbdServerOptions options_;
  nbd::BytePool pool_;
  std::map<std::string, std::unique_ptr<nbd::Export>, std::less<>> exports_;
  std::vector<std::shared_ptr<runtime::Listener>> listeners_;
  std::vector<nbd::Session*> handshakes_;  // the oldest first
  uint32_t connections_ = 0;
  runtime::WaitQueue left_;  // a session left its export
  runtime::Gate gate_;       // listeners and clients
};

}  // namespace foreshard::front
