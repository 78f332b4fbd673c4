// Single questions to a storage server, for people.
#pragma once

#include <string>

#include "base/result.h"
#include "runtime/io.h"
#include "server/message.h"

namespace foreshard::app {

runtime::Task<Result<server::StatsReply>> server_stats(runtime::Runtime& runtime, std::string address,
                                                       uint64_t deadline_ns);

}  // namespace foreshard::app
