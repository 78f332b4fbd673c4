// Progress: one line on standard error that shows how far a long piece of work is. On a terminal only; elsewhere it
// stays silent, so that logs and pipes see nothing of it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace foreshard::cli {

// What is counted: bytes, or things of any other kind.
enum class ProgressOf { kBytes, kCount };

class Progress {
 public:
  // total: bytes in all; 0 when unknown. `quiet` is silent on a terminal too.
  Progress(std::string title, uint64_t total_bytes, bool quiet = false, ProgressOf of = ProgressOf::kBytes);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  // Draws at most ten times a second.
  void update(uint64_t done_bytes, uint64_t now_ns);
  // Takes effect with the next update.
  void set_title(std::string title) { title_ = std::move(title); }
  // Leaves the line standing as it is last.
  void finish(uint64_t now_ns);

 private:
  void draw(uint64_t now_ns);
  std::string title_;
  uint64_t total_bytes_;
  uint64_t done_bytes_ = 0;
  uint64_t started_ns_ = 0;
  uint64_t drawn_ns_ = 0;
  ProgressOf of_;
  bool shown_;
  bool drawn_ = false;
};

// The line for a terminal of `columns`: title, bar, share, throughput, time left.
std::string progress_line(const std::string& title, uint64_t done_bytes, uint64_t total_bytes, uint64_t elapsed_ns,
                          size_t columns, ProgressOf of = ProgressOf::kBytes);

}  // namespace foreshard::cli
