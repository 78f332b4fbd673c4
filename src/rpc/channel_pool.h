// ChannelPool: channels that share connections. Several servers of one process are reached by one connection to it,
// each as an endpoint of its own: what is sent to all of them together costs one write and one read, not one each. The
// calls to each are bounded as the service bounds them, so that one which answers nothing does not stop the connection.
//
// Owner: a driver; one executor. Every channel is closed before the pool ends. A shared connection ends with its last
// channel; when it breaks, all its channels are closed at once, and the next connect() makes another.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "rpc/rpc.h"
#include "runtime/sync.h"

namespace foreshard::rpc {

class ChannelPool {
 public:
  // options: of each channel; not above the ServiceOptions of the peers.
  explicit ChannelPool(runtime::Runtime& runtime, ChannelOptions options = {})
      : runtime_(runtime), options_(options), connected_(runtime.executor()) {}
  ~ChannelPool();

  // round_trip_ns: emulated distance, added to each round trip. kTimeout at the deadline.
  runtime::Task<Result<std::shared_ptr<Channel>>> connect(std::string address, uint32_t endpoint,
                                                          uint64_t round_trip_ns, uint64_t deadline_ns);

 private:
  friend class EndpointChannel;
  struct Shared {
    std::shared_ptr<Channel> channel;
    uint32_t users = 0;
    bool doubted = false;  // it left a call without an answer for too long: nobody joins any more
  };
  using Key = std::pair<std::string, uint64_t>;
  runtime::Task<Result<void>> join(Key key, uint64_t deadline_ns, std::shared_ptr<Shared>& shared);
  runtime::Task<Result<std::shared_ptr<Channel>>> make(Key key, uint64_t deadline_ns);

  runtime::Runtime& runtime_;
  const ChannelOptions options_;
  std::map<Key, std::shared_ptr<Shared>> shared_;  // null: being connected
  runtime::WaitQueue connected_;
};

}  // namespace foreshard::rpc
