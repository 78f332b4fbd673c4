// Shows that what a driver recorded becomes the requests that were made, within a bound; that a backtest runs them with
// the volume's own terms through every way of prefetching; and that it tells what its reader must know to believe it.
#include "cli/backtest.h"

#include <gtest/gtest.h>

#include "base/bytes.h"

namespace foreshard::cli {
namespace {

void add(app::pb::RecordBatch& batch, uint64_t time_ns, uint64_t offset, uint64_t bytes, bool write) {
  batch.add_time_ns(time_ns);
  batch.add_offset(offset);
  batch.add_bytes(bytes);
  batch.add_write(write);
}

TEST(Backtest, ARecordingBecomesItsRequests) {
  app::pb::RecordBatch batch;
  add(batch, 5'000, 8192, 4096, false);
  add(batch, 6'000, 0, 0, true);  // a flush touches no page
  add(batch, 7'000, 512, 1024, true);
  RecordedRequests recorded;
  EXPECT_TRUE(recorded.add(batch));
  const std::vector<policy::TraceRequest> expected = {
      {.time_ns = 5'000, .offset = 8192, .size = 4096, .op = policy::TraceOp::kRead},
      {.time_ns = 7'000, .offset = 512, .size = 1024, .op = policy::TraceOp::kWrite}};
  EXPECT_EQ(recorded.requests(), expected);
  EXPECT_EQ(recorded.reads(), 1u);
  RecordedRequests few(1);
  EXPECT_FALSE(few.add(batch));
  EXPECT_FALSE(few.add(batch));
  EXPECT_TRUE(few.full());
  EXPECT_EQ(few.requests().size(), 1u);
}

TEST(Backtest, ARecordingWithoutReadsOrWithHolesIsRefused) {
  app::pb::RecordBatch writes, reads;
  for (int i = 0; i < 990; ++i) add(writes, 1, 0, 4096, true);
  for (int i = 0; i < 10; ++i) add(reads, 1, 0, 4096, false);
  RecordedRequests recorded;
  recorded.add(writes);
  const Result<void> without = check_recorded("disk1", recorded, 0, 60);
  ASSERT_FALSE(without);
  EXPECT_EQ(without.error().code, ErrorCode::kNotFound);
  EXPECT_NE(without.error().detail.find("nothing was read from disk1 in 60 s"), std::string::npos);
  recorded.add(reads);
  EXPECT_TRUE(check_recorded("disk1", recorded, 0, 60));
  EXPECT_TRUE(check_recorded("disk1", recorded, 10, 60));
  const Result<void> holes = check_recorded("disk1", recorded, 11, 60);
  ASSERT_FALSE(holes);
  EXPECT_EQ(holes.error().code, ErrorCode::kUnavailable);
  EXPECT_NE(holes.error().detail.find("11 of 1011 requests"), std::string::npos) << holes.error().detail;
}

// A stream of single pages, a millisecond apart, in a volume whose fetches take 100 us.
class OfAStream : public testing::Test {
 protected:
  void SetUp() override {
    terms_.volume = "disk1";
    terms_.mode = "on";
    terms_.cache_bytes = 1u << 20;
    terms_.fetch_ns = 100'000;
    ReplayRuns runs = backtest_runs(terms_);
    for (uint64_t i = 0; i < 1'000; ++i) {
      policy::TraceRequest request;
      request.time_ns = i * 1'000'000;
      request.offset = i * kPageBytes;
      request.size = kPageBytes;
      runs.take(request);
    }
    report_.has_times = true;
    report_.rows = runs.rows();
  }
  const policy::ReplayResult& of(const std::string& prefetch) const {
    for (const ReplayRow& row : report_.rows) {
      if (row.prefetch == prefetch) return row.result;
    }
    ADD_FAILURE() << prefetch;
    return report_.rows.front().result;
  }
  BacktestTerms terms_;
  ReplayReport report_;
};

TEST_F(OfAStream, EveryWayIsTriedOnTheVolumesTerms) {
  std::vector<std::string> names;
  for (const ReplayRow& row : report_.rows) names.push_back(row.prefetch);
  EXPECT_EQ(names, policy::replay_prefetch_table());
  EXPECT_EQ(of("none").read_misses, 1'000u);
  EXPECT_NEAR(of("none").read_latency.mean_ns(), 105'000, 1'000);
  EXPECT_LT(of("readahead").read_misses, 100u);
  EXPECT_LT(of("sequential").read_misses, 200u);
  EXPECT_LT(of("all").read_misses, 200u);
}

TEST_F(OfAStream, WhatItRestsOnIsTold) {
  BacktestInput input;
  input.recorded_s = 60;
  std::string text = backtest_text(terms_, input, report_);
  for (const char* part : {"disk1: 1000 requests in 60 s", "cache 1.0 MiB", "100 us", "budget normal", "is on", "MISS",
                           "LATE", "PRECISION", "WASTED", "MEAN US", "P99 US", "ECE", "readahead"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
  }
  for (const char* part : {"assumed", "missing", "too long", "no times", "MEMORY"}) {
    EXPECT_EQ(text.find(part), std::string::npos) << part << " in\n" << text;
  }
  input.dropped = 3;
  input.full = true;
  terms_.fetch_assumed = true;
  report_.has_times = false;
  text = backtest_text(terms_, input, report_);
  for (const char* part : {"assumed", "3 requests are missing", "too long", "no times"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
  }
  const Json value = backtest_json(terms_, input, report_);
  EXPECT_EQ(value["requests"], 1'000);
  EXPECT_EQ(value["dropped"], 3);
  EXPECT_EQ(value["cache_bytes"], 1u << 20);
  EXPECT_EQ(value["fetch_us"], 100);
  EXPECT_EQ(value["policies"].size(), report_.rows.size());
  EXPECT_EQ(value["policies"][0]["read_request_miss_ratio"], 1);
}

}  // namespace
}  // namespace foreshard::cli
