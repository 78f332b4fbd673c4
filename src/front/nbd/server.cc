#include "front/nbd/server.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "front/nbd/fair_share.h"

namespace foreshard::front {

using runtime::Task;

namespace {

constexpr const nbd::Export* kEveryExport = nullptr;
constexpr uint64_t kAcceptPauseNs = 50'000'000;  // when this process is out of files

// Bounds that a single request must fit into.
NbdServerOptions sound(NbdServerOptions options) {
  nbd::SessionLimits& session = options.session;
  session.requests_in_flight_max = std::max(session.requests_in_flight_max, 1u);
  session.bytes_in_flight_max = std::max<uint64_t>(session.bytes_in_flight_max, nbd::kPayloadBytesMax);
  options.bytes_shared_max = std::max<uint64_t>(options.bytes_shared_max, nbd::kPayloadBytesMax);
  options.handshakes_max = std::max(options.handshakes_max, 1u);
  return options;
}

}  // namespace

NbdServer::NbdServer(runtime::Runtime& runtime, NbdServerOptions options)
    : runtime_(runtime),
      options_(sound(options)),
      pool_(runtime.executor(), options_.bytes_shared_max),
      left_(runtime.executor()),
      gate_(runtime.executor()) {}

NbdServer::~NbdServer() { ASSERT(gate_.inside() == 0, gate_.inside()); }

Result<void> NbdServer::add_export(const std::string& name, volume::BlockDevice& device, const ExportOptions& options) {
  if (name.empty() || name.size() > nbd::kNameBytesMax) return fail(ErrorCode::kInvalid, "nbd export name", name);
  if (options.description.size() > nbd::kNameBytesMax) return fail(ErrorCode::kTooLarge, "nbd export description");
  const auto [place, added] = exports_.try_emplace(name);
  if (!added) return fail(ErrorCode::kExists, "nbd export", name);
  auto exported = std::make_unique<nbd::Export>();
  exported->offer.name = name;
  exported->offer.description = options.description;
  exported->offer.read_only = options.read_only;
  exported->device = &device;
  exported->stats.name = name;
  place->second = std::move(exported);
  return {};
}

Task<Result<void>> NbdServer::remove_export(std::string name) {
  const auto found = exports_.find(name);
  if (found == exports_.end() || found->second->removing) co_return fail(ErrorCode::kNotFound, "nbd export", name);
  nbd::Export& exported = *found->second;
  exported.removing = true;
  for (nbd::Session* session : exported.sessions) session->drain();
  while (!exported.sessions.empty()) co_await left_.wait();
  exports_.erase(name);
  co_return Result<void>();
}

void NbdServer::serve(std::unique_ptr<runtime::Listener> listener) {
  std::optional<runtime::Gate::Pass> pass = gate_.enter();
  if (!pass) return;
  listeners_.emplace_back(std::move(listener));
  runtime_.executor().spawn(accept_clients(listeners_.back(), std::move(*pass)));
}

Task<void> NbdServer::stop() {
  for (const auto& listener : listeners_) listener->shutdown();
  // Ending a session only wakes its tasks; the lists change when those run.
  for (nbd::Session* session : handshakes_) session->abort();
  for (const auto& [name, exported] : exports_) {
    exported->removing = true;
    for (nbd::Session* session : exported->sessions) session->drain();
  }
  co_await gate_.close();
  listeners_.clear();
}

Task<void> NbdServer::accept_clients(std::shared_ptr<runtime::Listener> listener, runtime::Gate::Pass pass) {
  LOG_INFO("nbd: listening on {}", listener->address());
  bool told = false;  // a shortage lasts: one line says so
  for (;;) {
    Result<std::unique_ptr<runtime::Connection>> accepted = co_await listener->accept();
    if (gate_.closed()) co_return;
    if (!accepted) {
      if (accepted.error().code == ErrorCode::kCancelled) co_return;
      if (!std::exchange(told, true))
        LOG_WARN("nbd: cannot accept on {}: {}", listener->address(), accepted.error().message());
      co_await runtime_.executor().sleep_for(kAcceptPauseNs);
      continue;
    }
    told = false;
    std::optional<runtime::Gate::Pass> client_pass = gate_.enter();
    runtime_.executor().spawn(serve_client(std::move(*accepted), std::move(*client_pass)));
  }
}

Task<void> NbdServer::serve_client(std::unique_ptr<runtime::Connection> connection, runtime::Gate::Pass pass) {
  nbd::Session session(runtime_.executor(), *connection, *this, options_.session);
  if (gate_.closed()) co_return;
  handshakes_.push_back(&session);
  if (handshakes_.size() > options_.handshakes_max) end_a_handshake();
  LOG_DEBUG("nbd: {}: connected", connection->peer());
  co_await session.run();
  std::erase(handshakes_, &session);
  LOG_DEBUG("nbd: {}: gone", connection->peer());
}

std::vector<NbdExportStats> NbdServer::stats() const {
  std::vector<NbdExportStats> all;
  for (const auto& [name, exported] : exports_) {
    NbdExportStats stats = exported->stats;
    stats.size_bytes = exported->device->size_bytes();
    stats.connections = static_cast<uint32_t>(exported->sessions.size());
    for (const nbd::Session* session : exported->sessions) stats.bytes_in_flight += session->bytes_in_flight();
    all.push_back(std::move(stats));
  }
  return all;
}

// ---- what sessions ask

const nbd::Export* NbdServer::find_export(std::string_view name) const {
  const auto found = name.empty() && exports_.size() == 1 ? exports_.begin() : exports_.find(name);
  if (found == exports_.end() || found->second->removing) return nullptr;
  return found->second.get();
}

namespace {

nbd::Offer offer_of(const nbd::Export& exported) {
  nbd::Offer offer = exported.offer;
  offer.size_bytes = exported.device->size_bytes();
  return offer;
}

}  // namespace

std::optional<nbd::Offer> NbdServer::find(std::string_view name) const {
  const nbd::Export* exported = find_export(name);
  if (exported == nullptr) return std::nullopt;
  return offer_of(*exported);
}

std::vector<nbd::Offer> NbdServer::list() const {
  std::vector<nbd::Offer> offers;
  for (const auto& [name, exported] : exports_) {
    if (!exported->removing) offers.push_back(offer_of(*exported));
  }
  return offers;
}

std::vector<nbd::Session*> NbdServer::seated(const nbd::Export* exported) const {
  std::vector<nbd::Session*> sessions;
  for (const auto& [name, one] : exports_) {
    if (exported != nullptr && one.get() != exported) continue;
    for (nbd::Session* session : one->sessions) {
      if (!session->displaced()) sessions.push_back(session);
    }
  }
  return sessions;
}

namespace {

std::vector<nbd::Seat> seats_of(const std::vector<nbd::Session*>& sessions) {
  std::vector<nbd::Seat> seats;
  seats.reserve(sessions.size());
  for (const nbd::Session* session : sessions) seats.push_back({session->peer_group(), session->heard_ns()});
  return seats;
}

}  // namespace

std::optional<nbd::Session*> NbdServer::place_for(std::string_view peer, const std::vector<nbd::Session*>& seated,
                                                  uint32_t seats) const {
  if (seated.size() < seats) return nullptr;
  const std::optional<size_t> given = nbd::seat_for(peer, seats_of(seated));
  if (!given) return std::nullopt;
  return seated[*given];
}

const char* NbdServer::full(const nbd::Offer& offer, std::string_view peer) const {
  if (connections_ >= options_.connections_max + options_.displaced_max ||
      !place_for(peer, seated(kEveryExport), options_.connections_max)) {
    return "the server has as many connections as it may";
  }
  const nbd::Export* exported = find_export(offer.name);
  if (exported != nullptr && !place_for(peer, seated(exported), options_.connections_per_export_max)) {
    return "the export has as many connections as it may";
  }
  return nullptr;
}

nbd::Export* NbdServer::enter(nbd::Session& session, const std::string& name) {
  const auto found = exports_.find(name);
  if (found == exports_.end() || found->second->removing || gate_.closed()) return nullptr;
  const std::string& peer = session.peer_group();
  for (const nbd::Export* scope : {static_cast<const nbd::Export*>(found->second.get()), kEveryExport}) {
    const uint32_t seats = scope == kEveryExport ? options_.connections_max : options_.connections_per_export_max;
    const std::optional<nbd::Session*> place = place_for(peer, seated(scope), seats);
    if (!place) return nullptr;
    if (*place == nullptr) continue;
    LOG_INFO("nbd: all connections are taken: {} gives one up for {}", (*place)->peer_group(), peer);
    (*place)->displace();
  }
  std::erase(handshakes_, &session);
  found->second->sessions.push_back(&session);
  ++connections_;
  return found->second.get();
}

void NbdServer::end_a_handshake() {
  std::vector<nbd::Seat> seats;
  for (const nbd::Session* session : handshakes_) seats.push_back({session->peer_group(), seats.size()});
  const size_t given = nbd::seat_of_greediest(seats);
  LOG_DEBUG("nbd: too many handshakes at a time, ending one of {}", handshakes_[given]->peer_group());
  handshakes_[given]->abort();
  handshakes_.erase(handshakes_.begin() + static_cast<ptrdiff_t>(given));
}

void NbdServer::leave(nbd::Session& session, nbd::Export& exported) {
  std::erase(exported.sessions, &session);
  --connections_;
  left_.wake_all();
}

void NbdServer::relieve() {
  const uint64_t now_ns = runtime_.now_ns();
  const uint64_t before_ns = now_ns - std::min(now_ns, options_.session.pressure_ns);
  nbd::Session* worst = nullptr;
  for (const auto& [name, exported] : exports_) {
    for (nbd::Session* session : exported->sessions) {
      const uint64_t bytes = session->stalled_bytes(before_ns);
      if (bytes > 0 && (worst == nullptr || bytes > worst->stalled_bytes(before_ns))) worst = session;
    }
  }
  if (worst == nullptr) return;
  LOG_WARN("nbd: others wait for memory that a stalled client holds: closing its connection");
  worst->abort();
}

}  // namespace foreshard::front
