#include "base/units.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace foreshard {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

constexpr double kKi = 1024.0;
constexpr std::array<Unit, 22> kSizes = {{{"", 1},
                                          {"B", 1},
                                          {"K", kKi},
                                          {"M", kKi* kKi},
                                          {"G", kKi* kKi* kKi},
                                          {"T", kKi* kKi* kKi* kKi},
                                          {"P", kKi* kKi* kKi* kKi* kKi},
                                          {"k", kKi},
                                          {"m", kKi* kKi},
                                          {"g", kKi* kKi* kKi},
                                          {"t", kKi* kKi* kKi* kKi},
                                          {"KiB", kKi},
                                          {"MiB", kKi* kKi},
                                          {"GiB", kKi* kKi* kKi},
                                          {"TiB", kKi* kKi* kKi* kKi},
                                          {"PiB", kKi* kKi* kKi* kKi* kKi},
                                          {"kB", 1e3},
                                          {"KB", 1e3},
                                          {"MB", 1e6},
                                          {"GB", 1e9},
                                          {"TB", 1e12},
                                          {"PB", 1e15}}};
constexpr std::array<Unit, 6> kDurations = {
    {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}}};

// number, then one of units; nothing else.
template <size_t N>
Result<uint64_t> parse_with_unit(std::string_view text, const std::array<Unit, N>& units, const char* what,
                                 const char* example) {
  double number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view suffix(end, static_cast<size_t>(text.data() + text.size() - end));
  if (code == std::errc() && number >= 0 && std::isfinite(number)) {
    for (const Unit& unit : units) {
      if (unit.name != suffix) continue;
      const double value = number * unit.factor;
      if (value >= 9.2e18) break;
      // Whole numbers are exact; from_chars of an integer and a power-of-two factor are as well.
      return static_cast<uint64_t>(std::llround(value));
    }
  }
  return fail(ErrorCode::kInvalid, what, "'" + std::string(text) + "' is not understood; write " + example);
}

std::string format_scaled(double value, const char* const* names, int count, double step) {
  int i = 0;
  for (; i + 1 < count && value >= step; ++i) value /= step;
  char text[48];
  std::snprintf(text, sizeof text, i == 0 ? "%.0f %s" : "%.1f %s", value, names[i]);
  return text;
}

}  // namespace

Result<uint64_t> parse_size(std::string_view text) {
  return parse_with_unit(text, kSizes, "size",
                         "a number with K, M, G or T (powers of 1024) or kB, MB, GB (decimal), such as 10G");
}

std::string format_size(uint64_t bytes) {
  static constexpr const char* kNames[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  return format_scaled(static_cast<double>(bytes), kNames, 6, 1024.0);
}

Result<uint64_t> parse_duration_ns(std::string_view text) {
  return parse_with_unit(text, kDurations, "duration", "a number with ns, us, ms, s, m or h, such as 1ms");
}

std::string format_duration_ns(uint64_t ns) {
  static constexpr const char* kNames[] = {"ns", "us", "ms", "s"};
  return format_scaled(static_cast<double>(ns), kNames, 4, 1000.0);
}

Result<void> check_name(std::string_view name) {
  const auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  bool good = !name.empty() && name.size() <= 63 && plain(name[0]);
  for (char c : name) good = good && (plain(c) || c == '.' || c == '_' || c == '-');
  if (good) return {};
  return fail(ErrorCode::kInvalid, "name",
              "'" + std::string(name) +
                  "' is not a name; use 1 to 63 of a-z, 0-9, '.', '_', '-', starting with a letter or digit");
}

}  // namespace foreshard
