#include "base/log.h"

#include <cstdio>
#include <ctime>

namespace foreshard {
namespace {

void write_to_stderr(LogLevel level, std::string_view line) {
  static constexpr const char* kNames[] = {"debug", "info", "warn", "error", "off"};
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);  // tidy: the stamp of a line of the default sink, decides nothing
  tm parts{};
  gmtime_r(&now.tv_sec, &parts);
  std::fprintf(stderr, "%02d:%02d:%02d.%03ld %-5s %.*s\n", parts.tm_hour, parts.tm_min, parts.tm_sec,
               now.tv_nsec / 1000000, kNames[static_cast<int>(level)], static_cast<int>(line.size()), line.data());
}

LogSink sink = write_to_stderr;
LogLevel level_min = LogLevel::kInfo;

}  // namespace

void set_log_sink(LogSink new_sink) { sink = new_sink ? std::move(new_sink) : LogSink(write_to_stderr); }
void set_log_level(LogLevel level) { level_min = level; }
LogLevel log_level() { return level_min; }
void log_line(LogLevel level, std::string_view line) { sink(level, line); }

}  // namespace foreshard
