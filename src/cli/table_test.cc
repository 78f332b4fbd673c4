// Proves what results look like: aligned tables, bars, counts, one line of progress that fits its terminal.
#include "cli/table.h"

#include <gtest/gtest.h>

#include "cli/exit_code.h"
#include "cli/progress.h"

namespace foreshard::cli {
namespace {

TEST(Table, AlignsColumnsByWhatIsSeen) {
  using enum Table::Align;
  Table table({{"NAME"}, {"SIZE", kRight}, {"BAR"}});
  table.add({"a", "1 B", "█"});
  table.add({"longer", "100 B", ""});
  EXPECT_EQ(table.text(),
            "NAME     SIZE  BAR\n"
            "a         1 B  █\n"
            "longer  100 B\n");
}

TEST(Table, FieldsLineUp) {
  EXPECT_EQ(fields_text({{"a", "1"}, {"longer", "2"}, {"none", ""}}), "a       1\nlonger  2\nnone\n");
}

TEST(Table, BarIsAsLongAsItsShare) {
  EXPECT_EQ(bar(0, 10), "");
  EXPECT_EQ(bar(1, 4), "████");
  EXPECT_EQ(bar(7, 4), "████") << "more than all is all";
  EXPECT_EQ(display_width(bar(0.5, 10)), 5u);
  EXPECT_EQ(bar(0.125, 1), "▏");
}

TEST(Table, CountsAreShort) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(0.25), "0.2");
  EXPECT_EQ(format_count(1500), "1.5k");
  EXPECT_EQ(format_count(999'960), "1.0M");
  EXPECT_EQ(format_count(123'456), "123k");
}

TEST(Progress, LineTellsShareAndRate) {
  const std::string line = progress_line("importing v", 512u << 20, 1u << 30, 4'000'000'000, 120);
  for (const char* part : {"importing v", "50 %", "512.0 MiB", "128.0 MiB/s", "0:04 left"}) {
    EXPECT_NE(line.find(part), std::string::npos) << line;
  }
}

TEST(Progress, LineFitsItsTerminal) {
  for (size_t columns = 1; columns < 80; ++columns) {
    EXPECT_LT(display_width(progress_line("importing a-volume", 1u << 20, 1u << 30, 2'000'000'000, columns)), columns);
  }
}

TEST(ExitCode, EveryErrorHasOneThatIsDocumented) {
  const std::string documented = exit_codes_text();
  for (int code = 1; code <= static_cast<int>(ErrorCode::kPermission); ++code) {
    const int exit = exit_code_of(static_cast<ErrorCode>(code));
    EXPECT_NE(exit, kExitOk);
    EXPECT_NE(documented.find(" " + std::to_string(exit) + "  "), std::string::npos) << exit;
  }
}

TEST(ExitCode, ErrorsAreToldInWords) {
  EXPECT_EQ(describe({ErrorCode::kNotFound, "volume", 0, "no 'x' here"}), "volume: no 'x' here");
  EXPECT_EQ(describe({ErrorCode::kTimeout, "detach", 7, ""}), "detach: timeout (7)");
}

}  // namespace
}  // namespace foreshard::cli
