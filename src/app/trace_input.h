// Reads a recorded trace for training: block traces (policy/trace/access_trace.h) and file traces
// (ts_us,pid,file_id,offset,size,op), plain or compressed by zstd, told apart by their first bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace foreshard::app {

struct TraceRow {
  uint64_t time_us = 0;
  bool timed = false;
  std::string_view stream;  // the volume, or the process; good until the sink returns
  uint64_t file = 0;        // file traces only
  uint64_t offset = 0, size = 0;
  bool write = false;       // what was not recorded counts as a read
  bool read = false;        // neither: another call, or a row without bytes
};

struct TraceSummary {
  bool files = false;
  uint64_t rows = 0;
};

// The sink returns false when it has enough. on_bytes is told how much of the file has been read.
struct TraceSink {
  std::function<void(bool files)> begin;  // before the first row
  std::function<bool(const TraceRow&)> row;
  std::function<void(uint64_t bytes)> on_bytes;
};
Result<TraceSummary> read_trace(const std::string& path, const TraceSink& sink);

}  // namespace foreshard::app
