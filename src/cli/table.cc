#include "cli/table.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/assert.h"

namespace foreshard::cli {
namespace {

constexpr const char* kGap = "  ";

void append_cell(std::string& line, const std::string& cell, size_t width, Table::Align align) {
  const std::string blanks(width - std::min(width, display_width(cell)), ' ');
  line += align == Table::Align::kRight ? blanks + cell : cell + blanks;
}

void end_line(std::string& text, std::string line) {
  while (!line.empty() && line.back() == ' ') line.pop_back();
  text += line + "\n";
}

}  // namespace

size_t display_width(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

void Table::add(std::vector<std::string> row) {
  ASSERT(row.size() == columns_.size(), row.size(), columns_.size());
  rows_.push_back(std::move(row));
}

std::string Table::text() const {
  std::vector<size_t> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    size_t width = display_width(columns_[i].header);
    for (const auto& row : rows_) width = std::max(width, display_width(row[i]));
    widths.push_back(width);
  }
  std::string text;
  std::string line;
  for (size_t i = 0; i < columns_.size(); ++i) {
    if (i > 0) line += kGap;
    append_cell(line, columns_[i].header, widths[i], columns_[i].align);
  }
  end_line(text, line);
  for (const auto& row : rows_) {
    line.clear();
    for (size_t i = 0; i < columns_.size(); ++i) {
      if (i > 0) line += kGap;
      append_cell(line, row[i], widths[i], columns_[i].align);
    }
    end_line(text, line);
  }
  return text;
}

std::string fields_text(const std::vector<std::pair<std::string, std::string>>& fields) {
  size_t width = 0;
  for (const auto& [name, value] : fields) width = std::max(width, display_width(name));
  std::string text;
  for (const auto& [name, value] : fields) {
    std::string line;
    append_cell(line, name, width, Table::Align::kLeft);
    end_line(text, line + kGap + value);
  }
  return text;
}

std::string bar(double fraction, int width) {
  static constexpr const char* kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const double clamped = std::clamp(fraction, 0.0, 1.0);
  const int eighths = static_cast<int>(std::lround(clamped * width * 8));
  std::string text;
  for (int i = 0; i < eighths / 8; ++i) text += "█";
  return text + kEighths[eighths % 8];
}

std::string format_count(double count) {
  static constexpr const char* kNames[] = {"", "k", "M", "G", "T"};
  int i = 0;
  for (; i < 4 && count >= 999.5; ++i) count /= 1000;
  if (i == 0 && count == std::floor(count)) return fmt::format("{:.0f}", count);
  return count < 99.95 ? fmt::format("{:.1f}{}", count, kNames[i]) : fmt::format("{:.0f}{}", count, kNames[i]);
}

}  // namespace foreshard::cli
