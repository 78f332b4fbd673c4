// Proved here: sizes, durations and names are read as the documentation says they are, what is wrong is refused with
// what would be right, and what is printed can be read.
#include "base/units.h"

#include <gtest/gtest.h>

namespace foreshard {
namespace {

TEST(Units, SizesArePowersOf1024UnlessDecimal) {
  const std::pair<const char*, uint64_t> cases[] = {{"0", 0},
                                                    {"512", 512},
                                                    {"4K", 4096},
                                                    {"4k", 4096},
                                                    {"1M", 1u << 20},
                                                    {"1MiB", 1u << 20},
                                                    {"10G", 10ull << 30},
                                                    {"16T", 16ull << 40},
                                                    {"1.5T", 3ull << 39},
                                                    {"64kB", 64'000},
                                                    {"1MB", 1'000'000},
                                                    {"2TB", 2'000'000'000'000},
                                                    {"1P", 1ull << 50},
                                                    {"100B", 100},
                                                    {"0.5K", 512}};
  for (const auto& [text, bytes] : cases) {
    const Result<uint64_t> parsed = parse_size(text);
    ASSERT_TRUE(parsed.has_value()) << text;
    EXPECT_EQ(*parsed, bytes) << text;
  }
}

TEST(Units, WrongSizesAreRefusedAndQuoted) {
  for (const char* text : {"", "G", "10X", "10 G", "-1", "1e99", "inf", "nan", "10GG", "0x10", "99999P", " 1"}) {
    const Result<uint64_t> parsed = parse_size(text);
    ASSERT_FALSE(parsed.has_value()) << text;
    EXPECT_EQ(parsed.error().code, ErrorCode::kInvalid);
    EXPECT_NE(parsed.error().message().find(text), std::string::npos) << parsed.error().message();
  }
}

TEST(Units, EveryWholeSectorSizeIsExact) {
  for (uint64_t bytes = 512; bytes < (1ull << 52); bytes = bytes * 3 + 512) {
    const Result<uint64_t> parsed = parse_size(std::to_string(bytes));
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(*parsed, bytes);
  }
}

TEST(Units, DurationsAreNanoseconds) {
  EXPECT_EQ(*parse_duration_ns("1ms"), 1'000'000u);
  EXPECT_EQ(*parse_duration_ns("250us"), 250'000u);
  EXPECT_EQ(*parse_duration_ns("1.5s"), 1'500'000'000u);
  EXPECT_EQ(*parse_duration_ns("2m"), 120'000'000'000u);
  EXPECT_FALSE(parse_duration_ns("1").has_value());
  EXPECT_FALSE(parse_duration_ns("ms").has_value());
}

TEST(Units, WhatIsPrintedIsShortAndReadable) {
  EXPECT_EQ(format_size(512), "512 B");
  EXPECT_EQ(format_size(10ull << 30), "10.0 GiB");
  EXPECT_EQ(format_size(1536), "1.5 KiB");
  EXPECT_EQ(format_duration_ns(1'500'000), "1.5 ms");
  EXPECT_EQ(format_duration_ns(999), "999 ns");
}

TEST(Units, NamesAreWhatTheDocumentationAllows) {
  for (const char* name : {"a", "0", "disk1", "db.main", "a-b_c"}) EXPECT_TRUE(check_name(name).has_value()) << name;
  EXPECT_TRUE(check_name(std::string(63, 'a')).has_value());
  for (const char* name : {"", "A", "-a", ".a", "_a", "a/b", "a b", "ä", "a\n"}) {
    EXPECT_FALSE(check_name(name).has_value()) << name;
  }
  EXPECT_FALSE(check_name(std::string(64, 'a')).has_value());
}

}  // namespace
}  // namespace foreshard
