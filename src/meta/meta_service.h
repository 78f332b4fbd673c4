// MetaService: lets other processes use a Meta, over rpc (methods 0x100 to 0x10f, messages in wire.proto).
// Watches are long polls without state here: each names the revision that it wants to go on from. Owned by who
// owns the rpc Service; both the Meta and this must outlive its stop(). Call stop() before the Service's.
#pragma once

#include <memory>

#include "meta/meta.h"
#include "rpc/rpc.h"

namespace foreshard::meta {

class MetaService {
 public:
  virtual ~MetaService() = default;
  // Registers its methods with the service.
  static std::unique_ptr<MetaService> create(runtime::Runtime& runtime, Meta& meta, rpc::Service& service);
  // Ends the polls that wait; new ones are refused with kUnavailable.
  virtual void stop() = 0;
};

}  // namespace foreshard::meta
