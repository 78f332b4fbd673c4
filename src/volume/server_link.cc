#include "volume/server_link.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "base/log.h"
#include "base/planted.h"

namespace foreshard::volume {
namespace {

using runtime::Task;

constexpr uint64_t kConnectTimeoutNs = 3'000'000'000;
constexpr uint64_t kOpenTimeoutNs = 30'000'000'000;
constexpr uint64_t kBackOffNsMin = 20'000'000;
constexpr uint64_t kBackOffNsMax = 1'000'000'000;

}  // namespace

const char* link_state_name(ServerLink::State state) {
  switch (state) {
    case ServerLink::State::kConnecting: return "connecting";
    case ServerLink::State::kOpening: return "opening";
    case ServerLink::State::kRestoring: return "restoring";
    case ServerLink::State::kReady: return "ready";
    case ServerLink::State::kStopped: return "stopped";
  }
  return "unknown";
}

ServerLink::ServerLink(runtime::Runtime& runtime, LinkOwner& owner, rpc::ChannelPool& channels, meta::pb::Server server,
                       std::string address, uint64_t round_trip_ns)
    : runtime_(runtime),
      owner_(owner),
      channels_(channels),
      record_(std::move(server)),
      address_(std::move(address)),
      round_trip_ns_(round_trip_ns),
      changed_(runtime.executor()),
      poked_(runtime.executor()),
      gate_(runtime.executor()) {}

void ServerLink::start() { runtime_.executor().spawn(run()); }

void ServerLink::give_up() {
  stopping_ = true;
  poked_.wake_all();
  changed_.wake_all();
}

Task<void> ServerLink::stop() {
  give_up();
  // run() hangs up and leaves; a connect or an Open under way ends by its channel or its deadline.
  if (channel_) {
    const std::shared_ptr<rpc::Channel> channel = channel_;
    co_await channel->close();
  }
  co_await gate_.close();
  set_state(State::kStopped);
}

void ServerLink::set_state(State state) {
  state_ = state;
  changed_.wake_all();
}

server::SessionName ServerLink::name() const {
  return {owner_.link_volume().value, owner_.link_epoch().value, session_};
}

Task<bool> ServerLink::wait_ready(uint64_t deadline_ns) {
  ++waiting;
  bool in_time = true;
  while (!ready() && !stopping_ && in_time) in_time = co_await changed_.wait_until(deadline_ns);
  --waiting;
  co_return ready() || stopping_;
}

Task<Result<rpc::Reply>> ServerLink::call(uint16_t method, ByteSpan control, ConstByteSpan data, ByteSpan data_into,
                                          uint64_t deadline_ns) {
  const std::shared_ptr<rpc::Channel> channel = channel_;
  if (!channel) co_return fail(ErrorCode::kUnavailable, "server not connected", record_.id());
  const server::SessionName session_name = name();
  std::memcpy(control.data(), &session_name, sizeof session_name);
  rpc::Call request;
  request.method = method;
  request.control = control;
  request.data = data;
  request.data_into = data_into;
  request.deadline_ns = deadline_ns;
  uint64_t sent_ns = runtime_.now_ns();
  Result<rpc::Reply> reply = co_await channel->call(request);
  if (PLANTED("lease counted from answer")) sent_ns = runtime_.now_ns();
  if (reply && session_name.session == session_) {
    answered_ns_ = std::max(answered_ns_, sent_ns);
    granted_until_ns_ = std::max(granted_until_ns_, sent_ns + grant_ns_ - grant_ns_ / 100);
  }
  co_return reply;
}

void ServerLink::broken(uint64_t session) {
  if (session != session_ || !ready()) return;
  set_state(State::kConnecting);
  poked_.wake_all();
}

Task<Result<void>> ServerLink::connect() {
  const bool shared = address_.empty() && !record_.shared_address().empty();
  const std::string& own = address_.empty() ? record_.address() : address_;
  CO_TRY(channel_, co_await channels_.connect(shared ? record_.shared_address() : own,
                                              shared ? static_cast<uint32_t>(record_.id()) : 0, round_trip_ns_,
                                              runtime_.now_ns() + kConnectTimeoutNs));
  co_return Result<void>();
}

Task<Result<void>> ServerLink::open() {
  set_state(State::kOpening);
  ++session_;
  grant_ns_ = 0;  // until the answer says
  server::OpenRequest request{};
  const ByteSpan control{reinterpret_cast<std::byte*>(&request), sizeof request};
  const uint64_t deadline_ns = runtime_.now_ns() + kOpenTimeoutNs;
  CO_TRY(const rpc::Reply reply, co_await call(server::kMethodOpen, control, {}, {}, deadline_ns));
  if (reply.control.size() < sizeof(server::OpenReply)) co_return fail(ErrorCode::kInvalid, "open: short answer");
  const auto opened = load_object<server::OpenReply>(reply.control.span());
  grant_ns_ = opened.grant_ns;
  granted_until_ns_ = std::max(granted_until_ns_, answered_ns_ + grant_ns_ - grant_ns_ / 100);
  set_state(State::kRestoring);
  co_return co_await owner_.restore(*this, opened);
}

Error ServerLink::without_the_volume() const {
  return {ErrorCode::kNotHere, "a server does not have the volume", record_.id(),
          fmt::format("server {} at {} hosts nothing of it: another disk, or a folder that was emptied; put the right "
                      "disk back and attach again",
                      record_.id(), record_.address())};
}

// Returns when the session is of no more use.
Task<void> ServerLink::live() {
  const uint64_t session = session_;
  set_state(State::kReady);
  while (ready() && !stopping_ && session == session_ && !channel_->closed()) {
    if (closing_) {
      // A heartbeat could only find the session closed already, and hang up under the Close.
      co_await poked_.wait();
      continue;
    }
    const uint64_t beat_ns = answered_ns_ + grant_ns_ / 3;
    if (runtime_.now_ns() < beat_ns) {
      co_await poked_.wait_until(beat_ns);
      continue;
    }
    server::HeartbeatRequest request{};
    const ByteSpan control{reinterpret_cast<std::byte*>(&request), sizeof request};
    const Result<rpc::Reply> reply =
        co_await call(server::kMethodHeartbeat, control, {}, {}, runtime_.now_ns() + grant_ns_ + round_trip_ns_);
    if (reply || closing_) continue;
    if (reply.error().code == ErrorCode::kFenced) owner_.end(reply.error());
    co_return;
  }
}

Task<void> ServerLink::hang_up() {
  if (state_ != State::kStopped) set_state(State::kConnecting);
  const std::shared_ptr<rpc::Channel> channel = std::exchange(channel_, nullptr);
  if (channel) co_await channel->close();
}

Task<void> ServerLink::run() {
  const std::optional<runtime::Gate::Pass> pass = gate_.enter();
  if (!pass) co_return;
  uint64_t back_off_ns = kBackOffNsMin;
  bool told = false;  // an outage lasts: one line says so
  while (!stopping_) {
    Result<void> opened = co_await connect();
    if (opened && !stopping_) opened = co_await open();
    if (opened && !stopping_) {
      back_off_ns = kBackOffNsMin;
      told = false;
      co_await live();
      ++reconnects;
    }
    co_await hang_up();
    if (stopping_) break;
    if (!opened) {
      const ErrorCode code = opened.error().code;
      const bool fenced = code == ErrorCode::kFenced && !PLANTED("FENCED as failure");
      if (fenced) {
        owner_.end(opened.error());
        break;
      }
      if (code == ErrorCode::kNotHere) {
        owner_.end(without_the_volume());
        break;
      }
      if (!std::exchange(told, true))
        LOG_WARN("server {} is not reached and tried again: {}", record_.id(), opened.error().message());
    }
    const uint64_t pause_ns = back_off_ns + runtime_.random().below(back_off_ns);
    back_off_ns = std::min(back_off_ns * 2, kBackOffNsMax);
    co_await poked_.wait_until(runtime_.now_ns() + pause_ns);
  }
  set_state(State::kStopped);
}

Task<Result<void>> ServerLink::say_close(uint64_t deadline_ns) {
  for (;;) {
    poked_.wake_all();  // one that is just coming back is tried now
    const bool in_time = co_await wait_ready(deadline_ns);
    if (!in_time) co_return fail(ErrorCode::kUnavailable, "server not connected", record_.id());
    closing_ = true;
    const uint64_t session = session_;
    server::CloseRequest request{};
    const ByteSpan control{reinterpret_cast<std::byte*>(&request), sizeof request};
    const Result<rpc::Reply> reply =
        co_await call(server::kMethodClose, control, {}, {}, runtime_.now_ns() + kConnectTimeoutNs);
    if (reply) break;
    closing_ = false;
    // The server may have been restarted since it was heard of last: then there is a new session to be closed.
    const ErrorCode code = reply.error().code;
    const bool lost = code == ErrorCode::kClosed || code == ErrorCode::kUnavailable;
    if (!lost || stopping_ || runtime_.now_ns() >= deadline_ns) co_return fail(reply.error());
    broken(session);
  }
  // No new session after this one.
  give_up();
  co_return Result<void>();
}

}  // namespace foreshard::volume
