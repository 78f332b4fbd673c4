// Calls inside one process: where both ends of a connection are in the same memory, the channel hands a call to the
// service's side as it is, instead of turning it into bytes. The connection itself stays, and tells either end when
// the other is gone.
#pragma once

#include "rpc/rpc.h"

namespace foreshard::rpc {

// The answering end of a connection inside this process, which leaves it at the connection's meeting place.
class DirectPeer {
 public:
  virtual ~DirectPeer() = default;
  // Runs the handler on the caller's coroutine. The spans of the call are used in place, until this returns.
  virtual runtime::Task<Result<Reply>> carry_out(const Call& call) = 0;
};

}  // namespace foreshard::rpc
