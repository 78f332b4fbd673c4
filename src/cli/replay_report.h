// What `foreshard replay` prints: a result as JSON, several results as a table.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/invocation.h"
#include "policy/replay/replay.h"

namespace foreshard::cli {

struct ReplayRow {
  std::string prefetch, replacement, budget;
  policy::ReplayResult result;
};

struct ReplayReport {
  std::string file, format;
  uint64_t unique_pages = 0;  // 0: not counted
  uint64_t cache_pages = 0, server_cache_pages = 0;
  bool has_times = false;
  uint64_t clock_unit_ns = 0;  // of a clock so coarse that its requests were spread (CoarseTimes); else 0
  std::vector<ReplayRow> rows;
};

// One row as a flat object, several as {"file": ..., "policies": [object, ...]}.
Json replay_json(const ReplayReport& report);
std::string replay_text(const ReplayReport& report);
// The table alone, of the columns with these headers, or of all.
std::string replay_table(const ReplayReport& report, const std::vector<std::string_view>& headers = {});

}  // namespace foreshard::cli
