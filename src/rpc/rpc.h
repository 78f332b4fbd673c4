// Remote calls over a Connection: fixed checksummed headers, a control part (a fixed struct or a protobuf)
// and a raw data part that is neither copied nor parsed. A Channel is the calling side, a Service the
// answering side; many calls run on one connection at once and are answered in any order. Requests that
// are ready together leave in one write; all that arrived is parsed before the next read.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/buffer.h"
#include "base/result.h"
#include "runtime/io.h"
#include "runtime/sync.h"

namespace foreshard::rpc {

// Bounds of the protocol: what is larger is refused and, where the framing is in doubt, the connection closed.
inline constexpr uint32_t kControlBytesMax = 4u << 20;
inline constexpr uint32_t kDataBytesMax = 4u << 20;

// A call as its handler sees it; the spans live until the handler returns.
struct Request {
  uint16_t method = 0;
  ConstByteSpan control;
  ConstByteSpan data;
  // Where the caller in this process wants the reply's data; a handler that puts it there leaves Reply::data empty
  // and says its size. Empty: the data goes into Reply::data.
  ByteSpan reply_into;
  uint64_t deadline_ns = UINT64_MAX;  // on the answering side's clock, from the remaining time that was sent
  bool cancelled = false;  // set when the caller waits no longer: the reply will be dropped
};

struct Reply {
  Buffer control;
  Buffer data;          // empty when the caller gave `data_into`
  size_t data_size = 0;  // bytes of data that came
};

struct Call {
  uint16_t method = 0;
  ConstByteSpan control;
  ConstByteSpan data;
  // Where the reply's data goes (no further copy); a reply with more data than this fails with kTooLarge.
  // When empty, the reply brings a Buffer of its own.
  ByteSpan data_into = {};
  uint64_t deadline_ns = UINT64_MAX;
  uint32_t endpoint = 0;        // which service of the peer's process; 0: the one that accepted the connection
  const void* owner = nullptr;  // whose call it is, for end_calls()
};

struct ChannelOptions {
  uint32_t calls_max = 4096;            // under way at once; more wait (flow control)
  uint64_t bytes_in_flight_max = 64u << 20;  // request data sent and not yet answered
};

// The calling side. All spans of a Call live until call() returns, whatever the outcome; nothing of them is
// touched afterwards. After close(), or when the peer is gone, every call ends with kUnavailable: whether
// the peer carried it out is unknown. kTimeout at the deadline (a cancel is sent; outcome unknown).
class Channel {
 public:
  virtual ~Channel() = default;
  static std::shared_ptr<Channel> over(runtime::Runtime& runtime, std::unique_ptr<runtime::Connection> connection,
                                       ChannelOptions options = {});
  static runtime::Task<Result<std::shared_ptr<Channel>>> connect(runtime::Runtime& runtime, std::string address,
                                                                 uint64_t deadline_ns, ChannelOptions options = {});
  virtual runtime::Task<Result<Reply>> call(const Call& call) = 0;
  virtual bool closed() const = 0;
  // Ends the calls of this owner with kUnavailable, as if the connection had ended. For who shares the channel.
  virtual void end_calls(const void* owner) = 0;
  // Ends the connection; returns when no coroutine of the channel runs any more. Destroy only after it.
  virtual runtime::Task<void> close() = 0;
  // Returns once the connection is gone, from whichever side.
  virtual runtime::Task<void> wait_closed() = 0;
};

// The other end of one connection, as handlers see it: something to hang state on for its lifetime.
struct Peer {
  uint64_t id = 0;             // unique within the Service
  std::string name;
  std::shared_ptr<void> state;  // a handler's own; destroyed when the connection has ended
  bool gone = false;
};

using Handler = std::function<runtime::Task<Result<Reply>>(Peer& peer, Request& request)>;

// Of each endpoint of a connection, the accepting service being one.
struct ServiceOptions {
  uint32_t connections_max = 1024;
  uint32_t calls_per_connection_max = 4096;            // more are read only when some have been answered
  uint64_t bytes_per_connection_max = 64u << 20;       // request data being worked on
};

// The answering side. Handlers run concurrently; an Error of a handler travels to the caller with its code,
// id and detail. A peer that breaks the protocol loses its connection and nothing else happens.
class Service {
 public:
  virtual ~Service() = default;
  static std::unique_ptr<Service> create(runtime::Runtime& runtime, ServiceOptions options = {});
  virtual void handle(uint16_t method, Handler handler) = 0;
  // Accepts from the listener until stop(); may be called for several listeners.
  virtual void serve(std::unique_ptr<runtime::Listener> listener) = 0;
  // From now on calls on this service's connections that name the endpoint are that service's, until it is removed or
  // the other service stops; calls to an endpoint that is not there end with kUnavailable.
  virtual void add_endpoint(uint32_t endpoint, Service& service) = 0;
  virtual void remove_endpoint(uint32_t endpoint) = 0;
  // Called when a connection has ended, after its last handler returned.
  virtual void on_gone(std::function<void(Peer&)> callback) = 0;
  // Stops accepting, ends all connections, waits for the handlers.
  virtual runtime::Task<void> stop() = 0;
};

}  // namespace foreshard::rpc
