// ServerLink: one driver's way to one server: connection, session, grant, heartbeat. It connects, opens, lets the
// driver restore what the server may have lost, is then ready, and does so again whenever the connection or the
// session breaks, until it is stopped.
//
// Owner: the driver; one executor. Lifecycle: start(), stop(). Invariant: it is ready only under a session whose
// Open answered with the (store uuid, loss) that the metadata records, or after the driver has restored it.
#pragma once

#include <memory>
#include <string>

#include "base/ids.h"
#include "meta/records.pb.h"
#include "rpc/channel_pool.h"
#include "rpc/rpc.h"
#include "runtime/sync.h"
#include "server/message.h"

namespace foreshard::volume {

class ServerLink;

// What a link asks of its driver.
class LinkOwner {
 public:
  virtual ~LinkOwner() = default;
  virtual VolumeId link_volume() const = 0;
  virtual Epoch link_epoch() const = 0;
  // Makes the server hold all that was acknowledged (R-RETAIN); called under a fresh session, before ready.
  virtual runtime::Task<Result<void>> restore(ServerLink& link, server::OpenReply opened) = 0;
  // The driver's end: fenced, or data is lost for good.
  virtual void end(Error reason) = 0;
};

class ServerLink {
 public:
  enum class State : uint8_t { kConnecting, kOpening, kRestoring, kReady, kStopped };

  // round_trip_ns: emulated distance, added to each round trip.
  // address: where it is reached alone; empty: where its record says, on a shared connection if it can be.
  ServerLink(runtime::Runtime& runtime, LinkOwner& owner, rpc::ChannelPool& channels, meta::pb::Server server,
             std::string address, uint64_t round_trip_ns);

  void start();
  // Ends the connection; a request that waits is woken and finds the link stopped.
  runtime::Task<void> stop();
  // Starts no more; requests that wait are woken. stop() is still to be called.
  void give_up();
  // Says Close to the server (R-CLOSE): its grants are given back. One that is coming back is waited for.
  runtime::Task<Result<void>> say_close(uint64_t deadline_ns);

  State state() const { return state_; }
  bool ready() const { return state_ == State::kReady; }
  uint64_t session() const { return session_; }
  ServerId server() const { return ServerId{record_.id()}; }
  const meta::pb::Server& record() const { return record_; }
  bool given_up() const { return stopping_; }
  // Returns when the link is ready or given up, or at the deadline (false).
  runtime::Task<bool> wait_ready(uint64_t deadline_ns);
  // One attempt under the present session, whose name is written over the first bytes of `control`. An answer
  // extends the grant, counted from before the request left (R-GRANT).
  runtime::Task<Result<rpc::Reply>> call(uint16_t method, ByteSpan control, ConstByteSpan data, ByteSpan data_into,
                                         uint64_t deadline_ns = UINT64_MAX);
  // A request found the session useless; the link starts over, unless it has already.
  void broken(uint64_t session);
  // Until when reads of this server's pages may be handed out.
  uint64_t granted_until_ns() const { return granted_until_ns_; }

  // The newest write acknowledged by this server, and the newest known durable there, as retained ticks.
  uint64_t written_tick = 0;
  uint64_t durable_tick = 0;
  // The newest write that was sent and given up without an answer: past durable_tick, it is to be sent again.
  uint64_t unanswered_tick = 0;
  uint64_t waiting = 0;  // requests that wait for it
  uint64_t reconnects = 0, replays = 0;

 private:
  runtime::Task<void> run();
  runtime::Task<Result<void>> connect();
  runtime::Task<Result<void>> open();
  runtime::Task<void> live();
  runtime::Task<void> hang_up();
  server::SessionName name() const;
  Error without_the_volume() const;
  void set_state(State state);

  runtime::Runtime& runtime_;
  LinkOwner& owner_;
  rpc::ChannelPool& channels_;
  meta::pb::Server record_;
  std::string address_;
  uint64_t round_trip_ns_;
  State state_ = State::kConnecting;
  bool stopping_ = false;
  bool closing_ = false;  // the Close is on its way
  uint64_t session_ = 0;
  uint64_t grant_ns_ = 0;
  uint64_t granted_until_ns_ = 0;
  uint64_t answered_ns_ = 0;
  std::shared_ptr<rpc::Channel> channel_;
  runtime::WaitQueue changed_;   // state
  runtime::WaitQueue poked_;     // wakes run() early
  runtime::Gate gate_;
};

const char* link_state_name(ServerLink::State state);

}  // namespace foreshard::volume
