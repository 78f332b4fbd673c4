// The life of volumes: create, grow, remove, list. Each is a few compare-and-swap transactions on the records
// and calls to the servers that prepare or look; a broken-off one leaves a state from which it can be run again.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "meta/meta.h"
#include "meta/records.pb.h"
#include "base/ids.h"
#include "runtime/io.h"

namespace foreshard::volume {

struct CreateOptions {
  std::string name;
  uint64_t size_bytes = 0;        // any multiple of 512
  uint64_t volumelet_bytes = 1u << 30;  // a power of two from 1 MiB
  std::string zone;               // only servers of this zone; empty: all
  std::string workload_type = "general";
  std::string image;              // what it is made of, a name; empty: unknown
  bool importing = false;         // the volume is to be filled: attach refused until finish_import()
};

// kExists, kInvalid (with what is allowed), kNoSpace, kUnavailable (a server does not answer; run it again).
runtime::Task<Result<meta::pb::Volume>> create_volume(runtime::Runtime& runtime, meta::Meta& meta,
                                                      CreateOptions options);
runtime::Task<Result<meta::pb::Volume>> get_volume(meta::Meta& meta, std::string name);
runtime::Task<Result<std::vector<meta::pb::Volume>>> list_volumes(meta::Meta& meta);
// Nothing while it is detached.
runtime::Task<Result<std::optional<meta::pb::Attachment>>> get_attachment(meta::Meta& meta, VolumeId volume);
// Whether a driver's hint that it lives is there.
runtime::Task<Result<bool>> driver_seems_alive(meta::Meta& meta, VolumeId volume);
runtime::Task<Result<std::vector<meta::pb::Server>>> list_servers(meta::Meta& meta);
runtime::Task<Result<std::vector<meta::pb::Volumelet>>> list_volumelets(meta::Meta& meta, VolumeId volume);
// Detached: grows at once. Attached: leaves a wish that the driver carries out. kInvalid when it would shrink.
// The answer: whether it is done already.
runtime::Task<Result<bool>> resize_volume(runtime::Runtime& runtime, meta::Meta& meta, std::string name,
                                          uint64_t size_bytes);
// kBusy while attached. Its data is deleted by the servers, at once where they can be reached.
runtime::Task<Result<void>> remove_volume(runtime::Runtime& runtime, meta::Meta& meta, std::string name);
// The volume as create_volume answered it is whole now. `image` names its content where its record does not yet.
runtime::Task<Result<void>> finish_import(runtime::Runtime& runtime, meta::Meta& meta, meta::pb::Volume imported,
                                          std::string image = {});

// Used by the driver, which alone may change an attached volume's map: adds volumelets up to size_bytes and sets
// the size, in transactions that also compare `guard`.
runtime::Task<Result<meta::pb::Volume>> grow_volume(runtime::Runtime& runtime, meta::Meta& meta, std::string name,
                                                    uint64_t size_bytes, meta::Compare guard);

}  // namespace foreshard::volume
