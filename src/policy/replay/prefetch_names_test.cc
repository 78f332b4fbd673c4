// Shows that every way of prefetching that is listed can be made and replayed, that others are refused with the list,
// and that the driver's Prefetcher behind the replay takes a stream.
#include "policy/replay/prefetch_names.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "policy/replay/replay.h"

namespace foreshard::policy {
namespace {

ReplayResult stream(const std::string& name) {
  ReplayOptions options;
  options.cache_pages = 4096;
  Replay replay(options, [] { return 0; });
  replay.set_prefetch(make_replay_prefetch(name, {.cache_pages = options.cache_pages}, replay.view()));
  for (uint64_t i = 0; i < 5000; ++i) {
    TraceRequest request;
    request.offset = i * 4 * kPageBytes;
    request.size = 4 * kPageBytes;
    replay.take(request);
  }
  return replay.result();
}

TEST(PrefetchNames, AllThatAreListedCanBeReplayed) {
  for (const std::string& name : replay_prefetch_names()) {
    EXPECT_TRUE(check_replay_prefetch(name).has_value()) << name;
    EXPECT_EQ(stream(name).read_requests, 5000u) << name;
  }
  const std::vector<std::string> names = replay_prefetch_names();
  for (const std::string& name : replay_prefetch_table()) {
    EXPECT_NE(std::find(names.begin(), names.end(), name), names.end()) << name;
  }
}

TEST(PrefetchNames, WhatTakesStreamsTakesAStream) {
  EXPECT_EQ(stream("none").read_request_miss_ratio(), 1);
  for (const std::string name : {"readahead", "baseline", "all"}) {
    const ReplayResult result = stream(name);
    EXPECT_LT(result.read_request_miss_ratio(), 0.02) << name;
    EXPECT_GT(result.precision(), 0.98) << name;
    EXPECT_GT(result.facts.memory_bytes, 0u) << name;
  }
}

TEST(PrefetchNames, WhatIsNotListedIsRefusedWithTheList) {
  const Result<void> checked = check_replay_prefetch("magic");
  ASSERT_FALSE(checked.has_value());
  for (const char* name : {"magic", "none", "readahead", "all"}) {
    EXPECT_NE(checked.error().detail.find(name), std::string::npos) << name;
  }
}

}  // namespace
}  // namespace foreshard::policy
