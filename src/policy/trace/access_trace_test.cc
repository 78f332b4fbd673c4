// Shows that what is written reads back the same, however it is cut into pieces, and that every kind of wrong line is
// refused with its number.
#include "policy/trace/access_trace.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/random.h"

namespace foreshard::policy {
namespace {

struct OwnedRow {
  AccessRow row;
  std::string volume;
};

// Parses in pieces of random size; returns the error's message, empty when there was none.
std::string parse(std::string_view text, std::vector<OwnedRow>& rows, uint64_t seed) {
  Random random(seed);
  AccessTraceParser parser([&](const AccessRow& row) { rows.push_back({row, std::string(row.volume)}); });
  while (!text.empty()) {
    const size_t piece = std::min<size_t>(1 + random.below(40), text.size());
    const Result<void> fed = parser.feed(text.substr(0, piece));
    if (!fed) return fed.error().message();
    text.remove_prefix(piece);
  }
  const Result<void> finished = parser.finish();
  return finished ? "" : finished.error().message();
}

TEST(AccessTrace, ReadsBackWhatItWrote) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Random random(seed);
    std::vector<OwnedRow> written;
    std::string text;
    append_access_trace_header(text);
    for (int i = 0; i < 200; ++i) {
      OwnedRow row;
      if (random.chance(0.7)) row.row.time_us = random.next() >> random.below(64);
      row.volume = random.chance(0.1) ? std::string(255, 'x') : std::to_string(random.below(100)) + ":a b";
      row.row.size = 1 + (random.next() >> (1 + random.below(62)));
      row.row.offset = random.next() >> (1 + random.below(60));
      row.row.op = static_cast<AccessOp>(random.below(3));
      written.push_back(row);
      written.back().row.volume = written.back().volume;
      append_access_trace_row(text, written.back().row);
    }
    if (random.chance(0.5)) text.pop_back();
    std::vector<OwnedRow> read;
    ASSERT_EQ(parse(text, read, seed), "");
    ASSERT_EQ(read.size(), written.size());
    for (size_t i = 0; i < read.size(); ++i) {
      read[i].row.volume = written[i].row.volume = "";
      EXPECT_EQ(read[i].row, written[i].row) << i;
      EXPECT_EQ(read[i].volume, written[i].volume) << i;
    }
  }
}

TEST(AccessTrace, RefusesEveryWrongLineByItsNumber) {
  const std::string header = std::string(kAccessTraceHeader) + "\n";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "empty"},
      {"ts,vol\n", "line 1: the header"},
      {header + "1,0,0,4096\n", "line 2: expected the 5 fields"},
      {header + "1,0,0,4096,R,\n", "line 2: expected the 5 fields"},
      {header + "1,0,0,4096,R\n\n", "line 3: expected the 5 fields"},
      {header + "-1,0,0,4096,R\n", "line 2: ts_us"},
      {header + " 1,0,0,4096,R\n", "line 2: ts_us"},
      {header + "1,,0,4096,R\n", "line 2: vol"},
      {header + "1," + std::string(256, 'v') + ",0,4096,R\n", "line 2: vol"},
      {header + "1,0,,4096,R\n", "line 2: offset"},
      {header + "1,0,1.5,4096,R\n", "line 2: offset"},
      {header + "1,0,18446744073709551616,4096,R\n", "line 2: offset"},
      {header + "1,0,18446744073709551615,1,R\n", "line 2: offset + size"},
      {header + "1,0,0,0,R\n", "line 2: size"},
      {header + "1,0,0,4k,R\n", "line 2: size"},
      {header + "1,0,0,4096,read\n", "line 2: op"},
      {header + "1,0,0,4096,R\r\n", "line 2: op"},
      {header + std::string(100000, '1'), "line 2: the line is too long"},
      {header + "1,0,0,4096,R\n1,0,0,4096," + std::string(600, 'R') + "\n", "line 3: the line is too long"},
  };
  for (const auto& [text, expected] : cases) {
    std::vector<OwnedRow> rows;
    const std::string error = parse(text, rows, 1);
    EXPECT_NE(error.find(expected), std::string::npos) << text.substr(0, 80) << "\n" << error;
  }
}

}  // namespace
}  // namespace foreshard::policy
