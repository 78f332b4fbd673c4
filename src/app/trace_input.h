// TraceInput: a trace's file as bytes, in pieces. What is compressed with zstd is told by its first bytes and comes out
// decompressed. Memory: two blocks, and zstd's window.
#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <zstd.h>

#include "base/result.h"
#include "policy/trace/trace_reader.h"

namespace foreshard::app {

class TraceInput {
 public:
  static Result<TraceInput> open(const std::string& path);
  // The next piece, good until the next call; empty at the end.
  Result<std::string_view> next();
  // From the begin again; a pipe cannot.
  Result<void> rewind();
  bool seekable() const { return size_bytes_ > 0; }
  // Of the file, as it is stored; 0 when it is no plain file.
  uint64_t size_bytes() const { return size_bytes_; }
  uint64_t read_bytes() const { return read_bytes_; }
  const std::string& path() const { return path_; }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
    void operator()(ZSTD_DStream* stream) const { ZSTD_freeDStream(stream); }
  };
  Result<std::string_view> read_block();
  Result<std::string_view> decompress();

  std::string path_;
  std::unique_ptr<std::FILE, Close> file_;
  std::unique_ptr<ZSTD_DStream, Close> zstd_;  // of a compressed file
  uint64_t size_bytes_ = 0, read_bytes_ = 0;
  std::vector<char> block_, plain_;
  std::string_view compressed_;  // of block_, not decompressed yet
  bool at_begin_ = true;
  bool in_frame_ = false;
};

struct TraceSink {
  std::function<void(policy::TraceFormat)> begin;  // before the first request
  policy::TraceReader::Sink request;
  std::function<void(uint64_t bytes)> on_bytes;  // how much of the file has been read
  std::function<bool()> enough;                  // asked from time to time: whether the rest can be left out
};
// Reads all of it, from where the input stands: its begin. Without a format the first bytes tell it. Errors name the
// file and the line.
Result<void> read_trace(TraceInput& input, std::optional<policy::TraceFormat> format, const TraceSink& sink);

}  // namespace foreshard::app
