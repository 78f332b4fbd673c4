// RemoteMeta: a Meta in another process, over rpc. Connects when needed and again, with growing pauses, when the
// connection is lost. Every call has a time limit. Reads and renewals are repeated within it; a transaction never
// is: when its answer got lost the caller hears kUnavailable or kTimeout and settles it (settle.h). A watch goes on
// by itself over reconnects; its next() is kUnavailable when the store was out of reach for a whole time limit, and
// may be called again. After close() everything is kCancelled.
#pragma once

#include <memory>
#include <string>

#include "meta/meta.h"
#include "runtime/io.h"

namespace foreshard::meta {

struct RemoteMetaOptions {
  uint64_t call_ns_max = 5'000'000'000;         // time limit of a call
  uint64_t reconnect_pause_ns_min = 10'000'000;
  uint64_t reconnect_pause_ns_max = 1'000'000'000;
  uint64_t poll_ns = 2'000'000'000;             // how long one poll of a watch waits at the other side
};

class RemoteMeta : public Meta {
 public:
  static std::unique_ptr<RemoteMeta> create(runtime::Runtime& runtime, std::string address,
                                            RemoteMetaOptions options = {});
  // Ends the connection and everything that waits; destroy only after it.
  virtual runtime::Task<void> close() = 0;
};

}  // namespace foreshard::meta
