#include <algorithm>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/crc32c.h"
#include "base/log.h"
#include "rpc/admission.h"
#include "rpc/direct.h"
#include "rpc/message.h"
#include "rpc/receive_buffer.h"
#include "rpc/rpc.h"
#include "rpc/send_queue.h"

namespace foreshard::rpc {
namespace {

constexpr size_t kErrorTextBytesMax = 4096;
constexpr uint64_t kRefusalNs = 1'000'000'000;        // for telling a peer why it is turned away
constexpr uint64_t kAcceptPauseNs = 100'000'000;      // when this process is out of files

struct ServiceState;

// One connection of a service: its reader, its writer, and the calls that are being worked on. Lives as long as
// any of their coroutines; ended by a fault of the peer, by its leaving, or by the service's stop().
struct ServiceConnection final : DirectPeer {
  ServiceConnection(std::shared_ptr<ServiceState> state, runtime::Executor& executor, uint64_t id,
                    std::unique_ptr<runtime::Connection> stream, const ServiceOptions& options);
  runtime::Task<Result<Reply>> carry_out(const Call& call) override;
  void end() {
    peer.gone = true;
    if (runtime::MeetingPlace* place = connection->meeting_place()) place->accepting.reset();
    connection->shutdown();
    send.close();
    for (auto& [endpoint, admission] : admissions) admission.close();
  }
  // Each endpoint has its bounds, so that one which answers nothing keeps no call from the others.
  Admission& admission_of(uint32_t endpoint);

  std::shared_ptr<ServiceState> service;
  std::unique_ptr<runtime::Connection> connection;
  SendQueue send;
  ReceiveBuffer receive;
  std::map<uint32_t, Admission> admissions;  // by endpoint, of those that were there when called
  runtime::Gate gate;
  Peer peer;
  struct RunningCall* running = nullptr;
};

// Links a call under way into its connection, for cancels to find.
struct RunningCall {
  RunningCall(ServiceConnection& c, uint64_t call_id, Request& r) : connection(c), id(call_id), request(r) {
    next = connection.running;
    if (next != nullptr) next->previous = this;
    connection.running = this;
  }
  RunningCall(const RunningCall&) = delete;
  RunningCall& operator=(const RunningCall&) = delete;
  ~RunningCall() {
    (previous != nullptr ? previous->next : connection.running) = next;
    if (next != nullptr) next->previous = previous;
  }
  ServiceConnection& connection;
  uint64_t id;
  Request& request;
  RunningCall* previous = nullptr;
  RunningCall* next = nullptr;
};

struct ServiceState : std::enable_shared_from_this<ServiceState> {
  ServiceState(runtime::Runtime& runtime, ServiceOptions o)
      : executor(runtime.executor()), options(o), gate(executor), stopped(executor) {}

  const Handler* handler_of(uint16_t method) const {
    return method < handlers.size() && handlers[method] != nullptr ? handlers[method].get() : nullptr;
  }

  // The service that a call means; null when there is none (any more).
  std::shared_ptr<ServiceState> target_of(uint32_t endpoint) {
    if (endpoint == 0) return shared_from_this();
    const auto found = endpoints.find(endpoint);
    return found == endpoints.end() ? nullptr : found->second;
  }

  runtime::Executor& executor;
  const ServiceOptions options;
  runtime::Gate gate;
  runtime::Signal stopped;  // set when stop() begins
  std::vector<std::unique_ptr<Handler>> handlers;  // by method
  std::vector<std::function<void(Peer&)>> gone_callbacks;
  std::vector<std::shared_ptr<runtime::Listener>> listeners;
  std::map<uint64_t, std::shared_ptr<ServiceConnection>> connections;
  std::map<uint32_t, std::shared_ptr<ServiceState>> endpoints;
  uint64_t next_peer_id = 1;
};

// A service as a call on any of its connections, or of those that it is an endpoint of, finds it: it does not stop
// while this is held.
struct Target {
  explicit Target(std::shared_ptr<ServiceState> found)
      : service(std::move(found)), pass(service ? service->gate.enter() : std::nullopt) {}
  runtime::Task<Result<Reply>> carry_out(Peer& peer, Request& request) {
    if (!pass) co_return fail(ErrorCode::kUnavailable, "the service is not here now");
    const Handler* handler = service->handler_of(request.method);
    if (handler == nullptr) co_return fail(ErrorCode::kUnsupported, "unknown method", request.method);
    runtime::Task<Result<Reply>> task = (*handler)(peer, request);
    co_return co_await task;
  }
  std::shared_ptr<ServiceState> service;
  std::optional<runtime::Gate::Pass> pass;
};

ServiceConnection::ServiceConnection(std::shared_ptr<ServiceState> state, runtime::Executor& executor, uint64_t id,
                                     std::unique_ptr<runtime::Connection> stream, const ServiceOptions& options)
    : service(std::move(state)),
      connection(std::move(stream)),
      send(executor, *connection),
      receive(*connection),
      gate(executor) {
  peer.id = id;
  peer.name = connection->peer();
}

Admission& ServiceConnection::admission_of(uint32_t endpoint) {
  if (!service->target_of(endpoint)) endpoint = 0;  // a call to nobody is answered at once
  const ServiceOptions& options = service->options;
  return admissions
      .try_emplace(endpoint, service->executor, options.calls_per_connection_max, options.bytes_per_connection_max)
      .first->second;
}

// The shape of an outgoing reply; `text` must live as long as the message.
void fill_reply(OutgoingMessage& message, uint64_t call_id, const Result<Reply>& reply, std::string& text) {
  message.header.kind = static_cast<uint8_t>(MessageKind::kReply);
  message.header.call_id = call_id;
  if (reply) {
    message.control = reply->control.span();
    message.data = reply->data.span();
    return;
  }
  const Error& error = reply.error();
  message.header.status = static_cast<uint16_t>(error.code);
  message.header.error_id = error.id;
  text = error.detail.empty() ? std::string(error.context) : fmt::format("{}: {}", error.context, error.detail);
  text.resize(std::min(text.size(), kErrorTextBytesMax));
  message.control = as_bytes(text);
}

// A request that came by the stream, and its bytes.
struct Received {
  Request request;
  Buffer control, data;
};

// Carries out one call and sends its answer. It owns the request until the answer has left.
runtime::Task<void> run_call(std::shared_ptr<ServiceConnection> connection, std::optional<runtime::Gate::Pass>,
                             Admission::Ticket ticket, Target target, uint64_t call_id, Received received) {
  Request& request = received.request;
  const RunningCall running(*connection, call_id, request);
  Result<Reply> reply = co_await target.carry_out(connection->peer, request);
  target.pass.reset();
  if (request.cancelled || connection->peer.gone) co_return;
  if (reply && (reply->control.size() > kControlBytesMax || reply->data.size() > kDataBytesMax))
    reply = fail(ErrorCode::kTooLarge, "reply", std::max(reply->control.size(), reply->data.size()));
  if (reply) ticket.resize(request.data.size() + reply->data.size());

  std::string text;
  runtime::WaitQueue sent(connection->service->executor);
  OutgoingMessage message;
  fill_reply(message, call_id, reply, text);
  message.woken_at_end = &sent;
  connection->send.enqueue(message);
  while (!message.at_rest()) co_await sent.wait();
}

runtime::Task<Result<Reply>> ServiceConnection::carry_out(const Call& call) {
  const std::optional<runtime::Gate::Pass> pass = gate.enter();
  if (!pass || peer.gone) co_return fail(ErrorCode::kUnavailable, "the service is ending");
  Admission& admission = admission_of(call.endpoint);
  const uint64_t bytes = admission_bytes(call.data.size(), call.data_into.size());
  Admission::Ticket ticket = admission.try_enter(bytes);
  if (!ticket) ticket = co_await admission.enter(bytes, UINT64_MAX);
  if (!ticket) co_return fail(ErrorCode::kUnavailable, "the service is ending");
  Target target(service->target_of(call.endpoint));
  Request request;
  request.method = call.method;
  request.control = call.control;
  request.data = call.data;
  request.reply_into = call.data_into;
  Result<Reply> reply = co_await target.carry_out(peer, request);
  if (peer.gone) co_return fail(ErrorCode::kUnavailable, "the service has ended");
  if (!reply || reply->data.empty()) co_return reply;
  reply->data_size = reply->data.size();
  if (call.data_into.empty()) co_return reply;
  if (reply->data.size() > call.data_into.size())
    co_return fail(ErrorCode::kTooLarge, "reply data", reply->data.size());
  std::memcpy(call.data_into.data(), reply->data.data(), reply->data.size());
  reply->data = Buffer();
  co_return reply;
}

void cancel_call(ServiceConnection& connection, uint64_t call_id) {
  for (RunningCall* call = connection.running; call != nullptr; call = call->next)
    if (call->id == call_id) call->request.cancelled = true;
}

// Tells a peer that speaks another version, before it is turned away. Every version keeps the place of magic and
// version, so it can at least read that.
runtime::Task<void> refuse(ServiceConnection& connection, Error reason) {
  runtime::WaitQueue sent(connection.service->executor);
  std::string text;
  OutgoingMessage message;
  const Result<Reply> reply = fail(std::move(reason));
  fill_reply(message, 0, reply, text);
  message.woken_at_end = &sent;
  connection.send.enqueue(message);
  const uint64_t until_ns = connection.service->executor.now_ns() + kRefusalNs;
  bool in_time = true;
  while (!message.at_rest() && in_time) in_time = co_await sent.wait_until(until_ns);
  if (message.at_rest()) co_return;
  connection.end();
  while (!message.at_rest()) co_await sent.wait();
}

// Takes a part of a message; true when all of it had arrived already, so that nobody need wait.
bool take_at_once(ServiceConnection& connection, ByteSpan into) {
  return connection.receive.available() >= into.size() && connection.receive.take_available(into) == into.size();
}

// Reads one message and starts its call.
runtime::Task<Result<void>> read_message(const std::shared_ptr<ServiceConnection>& connection) {
  ReceiveBuffer& receive = connection->receive;
  if (receive.available() < kHeaderBytes) {
    Result<void> filled = co_await receive.fill(kHeaderBytes);
    if (!filled) co_return filled;
  }
  const bool in_process = connection->connection->meeting_place() != nullptr;
  CO_TRY(const MessageHeader header, open_header(receive.peek(kHeaderBytes), in_process));
  receive.consume(kHeaderBytes);
  receive.note_data_bytes(header.data_bytes);
  if (static_cast<MessageKind>(header.kind) == MessageKind::kCancel) {
    cancel_call(*connection, header.call_id);
    co_return Result<void>();
  }
  if (static_cast<MessageKind>(header.kind) != MessageKind::kRequest || header.call_id == 0)
    co_return fail(ErrorCode::kCorrupt, "message kind", header.kind);

  Admission& admission = connection->admission_of(header.endpoint);
  const uint64_t bytes = admission_bytes(header.data_bytes, header.reply_data_bytes_max);
  Admission::Ticket ticket = admission.try_enter(bytes);
  if (!ticket) ticket = co_await admission.enter(bytes, UINT64_MAX);
  if (!ticket) co_return fail(ErrorCode::kCancelled, "connection ended");

  Received received;
  Request& request = received.request;
  request.method = header.method;
  if (header.remaining_ns != UINT64_MAX) {
    const uint64_t now_ns = connection->service->executor.now_ns();
    request.deadline_ns = header.remaining_ns < UINT64_MAX - now_ns ? now_ns + header.remaining_ns : UINT64_MAX;
  }
  received.control = Buffer::allocate(header.control_bytes);
  if (!take_at_once(*connection, received.control.span())) {
    Result<void> taken = co_await receive.take(received.control.span());
    if (!taken) co_return taken;
  }
  if (crc32c(received.control.span()) != header.control_crc) co_return fail(ErrorCode::kCorrupt, "control checksum");
  received.data = Buffer::allocate(header.data_bytes);
  if (!take_at_once(*connection, received.data.span())) {
    Result<void> taken = co_await receive.take(received.data.span());
    if (!taken) co_return taken;
  }
  if (!data_matches(header, received.data.span())) co_return fail(ErrorCode::kCorrupt, "data checksum");
  request.control = received.control.span();
  request.data = received.data.span();
  connection->service->executor.spawn(
      run_call(connection, connection->gate.enter(), std::move(ticket),
               Target(connection->service->target_of(header.endpoint)), header.call_id, std::move(received)));
  co_return Result<void>();
}

runtime::Task<void> write_replies(std::shared_ptr<ServiceConnection> connection, std::optional<runtime::Gate::Pass>) {
  Result<void> outcome = co_await connection->send.run();
  if (!outcome) LOG_DEBUG("rpc: lost {}: {}", connection->peer.name, outcome.error().message());
  connection->end();
}

runtime::Task<void> serve_connection(std::shared_ptr<ServiceConnection> connection,
                                     std::optional<runtime::Gate::Pass>) {
  ServiceState& service = *connection->service;
  service.executor.spawn(write_replies(connection, connection->gate.enter()));
  while (!connection->peer.gone) {
    Result<void> outcome = co_await read_message(connection);
    if (outcome) continue;
    Error& error = outcome.error();
    if (error.code == ErrorCode::kUnsupported || error.code == ErrorCode::kCorrupt)
      LOG_WARN("rpc: turned {} away: {}", connection->peer.name, error.message());
    if (error.code == ErrorCode::kUnsupported) co_await refuse(*connection, std::move(error));
    break;
  }
  connection->end();
  co_await connection->gate.close();
  for (const auto& callback : service.gone_callbacks) callback(connection->peer);
  service.connections.erase(connection->peer.id);
}

runtime::Task<void> accept_loop(std::shared_ptr<ServiceState> service, std::shared_ptr<runtime::Listener> listener,
                                std::optional<runtime::Gate::Pass>) {
  bool told = false;  // a shortage lasts: one line says so
  while (!service->stopped.is_set()) {
    Result<std::unique_ptr<runtime::Connection>> accepted = co_await listener->accept();
    if (service->stopped.is_set()) break;
    if (!accepted) {
      if (accepted.error().code == ErrorCode::kCancelled) break;
      if (!std::exchange(told, true))
        LOG_WARN("rpc: cannot accept on {}: {}", listener->address(), accepted.error().message());
      co_await service->stopped.wait_until(service->executor.now_ns() + kAcceptPauseNs);
      continue;
    }
    told = false;
    if (service->connections.size() >= service->options.connections_max) {
      LOG_WARN("rpc: turned {} away: {} connections are open already", (*accepted)->peer(),
               service->connections.size());
      (*accepted)->shutdown();
      continue;
    }
    const uint64_t id = service->next_peer_id++;
    auto connection = std::make_shared<ServiceConnection>(service, service->executor, id, std::move(*accepted),
                                                          service->options);
    service->connections.emplace(id, connection);
    if (runtime::MeetingPlace* place = connection->connection->meeting_place()) {
      place->accepting = std::shared_ptr<DirectPeer>(connection);
    }
    service->executor.spawn(serve_connection(std::move(connection), service->gate.enter()));
  }
}

class StreamService final : public Service {
 public:
  StreamService(runtime::Runtime& runtime, ServiceOptions options)
      : state_(std::make_shared<ServiceState>(runtime, options)) {}
  ~StreamService() override {
    end();
    state_->connections.clear();  // they refer back to the state
  }

  void handle(uint16_t method, Handler handler) override {
    if (state_->handlers.size() <= method) state_->handlers.resize(method + 1u);
    state_->handlers[method] = std::make_unique<Handler>(std::move(handler));
  }
  void serve(std::unique_ptr<runtime::Listener> listener) override {
    if (state_->stopped.is_set()) return;
    std::shared_ptr<runtime::Listener> shared = std::move(listener);
    state_->listeners.push_back(shared);
    state_->executor.spawn(accept_loop(state_, std::move(shared), state_->gate.enter()));
  }
  void add_endpoint(uint32_t endpoint, Service& service) override {
    state_->endpoints[endpoint] = static_cast<StreamService&>(service).state_;
  }
  void remove_endpoint(uint32_t endpoint) override { state_->endpoints.erase(endpoint); }
  void on_gone(std::function<void(Peer&)> callback) override {
    state_->gone_callbacks.push_back(std::move(callback));
  }
  runtime::Task<void> stop() override {
    end();
    co_await state_->gate.close();
  }

 private:
  void end() {
    state_->stopped.set();
    for (const auto& listener : state_->listeners) listener->shutdown();
    state_->listeners.clear();
    for (const auto& [id, connection] : state_->connections) connection->end();
  }
  std::shared_ptr<ServiceState> state_;
};

}  // namespace

std::unique_ptr<Service> Service::create(runtime::Runtime& runtime, ServiceOptions options) {
  return std::make_unique<StreamService>(runtime, options);
}

}  // namespace foreshard::rpc
