// Log lines with levels, one per event, to one sink that the process (or the simulator) sets. Never on the
// data path. An error line fails a simulated run.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include <fmt/format.h>

namespace foreshard {

enum class LogLevel : uint8_t { kDebug, kInfo, kWarn, kError, kOff };

using LogSink = std::function<void(LogLevel, std::string_view line)>;

// Both are set before threads start. The default sink writes to standard error.
void set_log_sink(LogSink sink);
void set_log_level(LogLevel level);
LogLevel log_level();
void log_line(LogLevel level, std::string_view line);

}  // namespace foreshard

#define LOG_AT(level, ...)                                                                            \
  do {                                                                                                \
    if ((level) >= ::foreshard::log_level()) ::foreshard::log_line(level, fmt::format(__VA_ARGS__));   \
  } while (0)
#define LOG_DEBUG(...) LOG_AT(::foreshard::LogLevel::kDebug, __VA_ARGS__)
#define LOG_INFO(...) LOG_AT(::foreshard::LogLevel::kInfo, __VA_ARGS__)
#define LOG_WARN(...) LOG_AT(::foreshard::LogLevel::kWarn, __VA_ARGS__)
#define LOG_ERROR(...) LOG_AT(::foreshard::LogLevel::kError, __VA_ARGS__)
