#include "cli/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include <fmt/format.h>

#include "base/units.h"
#include "cli/table.h"

namespace foreshard::cli {
namespace {

constexpr uint64_t kRedrawNs = 100'000'000;
constexpr int kBarColumns = 24;

size_t terminal_columns() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

}  // namespace

std::string progress_line(const std::string& title, uint64_t done_bytes, uint64_t total_bytes, uint64_t elapsed_ns,
                          size_t columns, ProgressOf of) {
  const double seconds = static_cast<double>(elapsed_ns) / 1e9;
  const double bytes_per_s = seconds > 0 ? static_cast<double>(done_bytes) / seconds : 0;
  std::string line = title;
  if (total_bytes > 0) {
    const double share = std::min(1.0, static_cast<double>(done_bytes) / static_cast<double>(total_bytes));
    const std::string filled = bar(share, kBarColumns);
    line += fmt::format("  {}{} {:3.0f} %", filled, std::string(kBarColumns - display_width(filled), ' '), share * 100);
  }
  if (of == ProgressOf::kBytes) {
    line += fmt::format("  {}  {}/s", format_size(done_bytes), format_size(static_cast<uint64_t>(bytes_per_s)));
  } else {
    line += fmt::format("  {}  {}/s", format_count(static_cast<double>(done_bytes)), format_count(bytes_per_s));
  }
  if (total_bytes > done_bytes && bytes_per_s > 0 && seconds > 1) {
    const auto left = static_cast<uint64_t>(static_cast<double>(total_bytes - done_bytes) / bytes_per_s);
    line += fmt::format("  {}:{:02} left", left / 60, left % 60);
  }
  // A line that wraps would not be overdrawn by the next one: cut it, by code points.
  while (display_width(line) >= columns && !line.empty()) {
    line.pop_back();
    while (!line.empty() && (static_cast<unsigned char>(line.back()) & 0xc0) == 0x80) line.pop_back();
  }
  return line;
}

Progress::Progress(std::string title, uint64_t total_bytes, bool quiet, ProgressOf of)
    : title_(std::move(title)), total_bytes_(total_bytes), of_(of), shown_(!quiet && isatty(STDERR_FILENO) != 0) {}

Progress::~Progress() {
  if (drawn_) std::fputs("\n", stderr);
}

void Progress::update(uint64_t done_bytes, uint64_t now_ns) {
  if (started_ns_ == 0) started_ns_ = now_ns;
  done_bytes_ = done_bytes;
  if (!shown_ || (drawn_ && now_ns - drawn_ns_ < kRedrawNs)) return;
  draw(now_ns);
}

void Progress::finish(uint64_t now_ns) {
  if (shown_) draw(now_ns);
}

void Progress::draw(uint64_t now_ns) {
  const std::string line =
      progress_line(title_, done_bytes_, total_bytes_, now_ns - started_ns_, terminal_columns(), of_);
  std::fputs(("\r\x1b[K" + line).c_str(), stderr);
  std::fflush(stderr);
  drawn_ = true;
  drawn_ns_ = now_ns;
}

}  // namespace foreshard::cli
