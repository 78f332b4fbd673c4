// Table: rows of text under headers, aligned for a terminal. Numbers go to the right.
#pragma once

#include <string>
#include <vector>

namespace foreshard::cli {

class Table {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string header;
    Align align = Align::kLeft;
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void add(std::vector<std::string> row);
  // Lines that end in a newline, without trailing blanks.
  std::string text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// How many columns of a terminal the text takes: UTF-8 code points.
size_t display_width(const std::string& text);
// "name   value" lines, the values aligned.
std::string fields_text(const std::vector<std::pair<std::string, std::string>>& fields);
// A bar of `width` columns, full at 1.
std::string bar(double fraction, int width);
// "1.2k", "830", "0".
std::string format_count(double count);

}  // namespace foreshard::cli
