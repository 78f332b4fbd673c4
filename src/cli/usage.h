// Usage: what volumes take on the disks of a region's servers, as the servers tell it.
#pragma once

#include <map>
#include <vector>

#include "meta/records.pb.h"
#include "runtime/io.h"
#include "runtime/task.h"

namespace foreshard::cli {

struct Usage {
  std::map<uint64_t, uint64_t> bytes;  // by volume
  bool complete = true;                // every server has answered

  uint64_t bytes_of(uint64_t volume) const {
    const auto found = bytes.find(volume);
    return found == bytes.end() ? 0 : found->second;
  }
  uint64_t total_bytes() const {
    uint64_t sum = 0;
    for (const auto& [volume, part] : bytes) sum += part;
    return sum;
  }
};

// Asks all of them at once; those that do not answer soon are missing from it.
runtime::Task<Usage> usage_of_region(runtime::Runtime& runtime, std::vector<meta::pb::Server> servers);

}  // namespace foreshard::cli
