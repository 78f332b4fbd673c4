// Questions to a storage server, for people.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "runtime/io.h"
#include "server/message.h"

namespace foreshard::app {

runtime::Task<Result<server::StatsReply>> server_stats(runtime::Runtime& runtime, std::string address,
                                                       uint64_t deadline_ns);

// What each volume takes on the server, by volume.
runtime::Task<Result<std::vector<server::UsageItem>>> server_usage(runtime::Runtime& runtime, std::string address,
                                                                   uint64_t deadline_ns);

// What a scrub has found so far.
struct ScrubProgress {
  uint64_t bytes = 0;  // read and compared
  uint64_t slots = 0;  // that they lay in
  std::vector<server::ScrubFault> faults;
  bool done = false;
};
// Scrubs a volume on one server, or all that the server stores (volume 0). `on_progress` is called after each part;
// the scrub ends there when it answers false. bytes_per_second 0: at the server's own pace. What was found before a
// failure is in `progress`.
runtime::Task<Result<void>> scrub_server(runtime::Runtime& runtime, std::string address, uint64_t volume,
                                         uint64_t bytes_per_second, ScrubProgress& progress,
                                         const std::function<bool()>& on_progress);

}  // namespace foreshard::app
