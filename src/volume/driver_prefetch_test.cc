// The driver and its prefetching against servers over a simulated network: what it saves its readers, and that it
// neither brings back old contents nor loses count.
#include <algorithm>
#include <cmath>
#include <map>

#include <gtest/gtest.h>

#include "base/log.h"
#include "base/random.h"
#include "volume/driver_testing.h"

namespace foreshard::volume {
namespace {

using runtime::Task;

// A reader that goes through the volume in order and thinks a little between its reads finds nearly every page in
// the cache: the hits on prefetched pages must themselves start the next fetches.
Task<void> read_in_order(Client& c) {
  co_await created(c, "v", 8 * kMiB);
  std::unique_ptr<Driver> driver = co_await attached(c, c.options("v"));
  std::vector<std::byte> data(16 << 10);
  for (uint64_t offset = 0; offset < 8 * kMiB; offset += data.size()) {
    const Result<void> result = co_await driver->read(offset, data);
    EXPECT_TRUE(result);
    co_await c.runtime.executor().sleep_for(2'000'000);
  }
  const policy::PrefetchStatistics prefetch = driver->status().prefetch;
  EXPECT_LE(prefetch.missed_pages * 50, prefetch.read_pages);
  EXPECT_GE(prefetch.precision(), 0.95);
  const Result<void> detached = co_await driver->detach();
  EXPECT_TRUE(detached);
}

// Each of 100 large reads is followed by another one nearly half of the time: too rarely for the cache, and worth a
// read from disk by the servers. What comes back is what was written, also where a write came in between. The time.
Task<uint64_t> read_by_the_coin(Client& c, std::string name, bool warm) {
  constexpr size_t kBytes = 64 << 10;
  co_await created(c, name, 96 * kMiB);
  DriverOptions options = c.options(name);
  options.cache_bytes = kMiB;
  options.warm_servers = warm;
  std::unique_ptr<Driver> driver = co_await attached(c, options);
  std::vector<std::byte> data(kBytes);
  std::map<uint64_t, std::byte> model;
  Random random(3);
  const auto write = [&](uint64_t offset) -> Task<void> {
    const auto value = static_cast<std::byte>(random.next());
    std::fill(data.begin(), data.end(), value);
    const Result<void> wrote = co_await driver->write(offset, data, false);
    EXPECT_TRUE(wrote);
    model[offset] = value;
  };
  const auto read = [&](uint64_t offset) -> Task<void> {
    const Result<void> result = co_await driver->read(offset, data);
    EXPECT_TRUE(result);
    EXPECT_EQ(data, std::vector<std::byte>(kBytes, model[offset])) << offset;
    co_await c.runtime.executor().sleep_for(5'000'000);
  };
  const auto request = [](uint64_t number) { return number * 769 % 1536 * kBytes; };
  for (uint64_t number = 0; number < 1536; ++number) co_await write(request(number));
  const uint64_t begin_ns = c.runtime.now_ns();
  for (int i = 0; i < 6000; ++i) {
    const uint64_t one = random.below(100);
    co_await read(request(one));
    if (random.chance(0.05)) co_await write(request(100 + one));
    co_await read(request(random.chance(0.47) ? 100 + one : random.between(200, 1535)));
  }
  const uint64_t taken_ns = c.runtime.now_ns() - begin_ns;
  const policy::WarmingStatistics warming = driver->status().prefetch.warming;
  EXPECT_EQ(warming.pays, warm);
  EXPECT_GT(warming.disk_share, 0.5);
  if (warm) {
    EXPECT_GT(warming.issued, 2000u);
    EXPECT_GT(warming.used, warming.issued / 5);
  } else {
    EXPECT_EQ(warming.issued, 0u);
  }
  const Result<void> detached = co_await driver->detach();
  EXPECT_TRUE(detached);
  co_return taken_ns;
}

Task<void> warm_servers(Client& c) {
  const uint64_t cold_ns = co_await read_by_the_coin(c, "cold", false);
  const uint64_t warm_ns = co_await read_by_the_coin(c, "warm", true);
  EXPECT_LT(warm_ns, cold_ns) << warm_ns - cold_ns;
}

// Random reads of which some pages are far more popular: fetching ahead spares none. A scan through new data is worth
// it all the same, at once, though it is kept out of the cache.
Task<void> read_popular_pages_then_scan(Client& c) {
  co_await created(c, "v", 64 * kMiB);
  std::unique_ptr<Driver> driver = co_await attached(c, c.options("v"));
  const std::vector<std::byte> written(kMiB, std::byte{1});
  for (uint64_t offset = 0; offset < 64 * kMiB; offset += kMiB)
    EXPECT_TRUE(co_await driver->write(offset, written, false));
  std::vector<std::byte> data(16 << 10);
  Random random(4);
  int reads = 0;
  for (; reads < 60'000 && driver->status().prefetch.payback.pays; ++reads) {
    const auto rank = static_cast<uint64_t>(std::pow(4096.0, random.fraction()));
    EXPECT_TRUE(co_await driver->read(mix64(rank) % 4096 * kPageBytes, ByteSpan(data).first(kPageBytes)));
  }
  EXPECT_LT(reads, 60'000);
  const policy::PrefetchStatistics before = driver->status().prefetch;
  EXPECT_TRUE(before.payback.watched);
  EXPECT_EQ(before.payback.stops, 1u);
  for (uint64_t offset = 24 * kMiB; offset < 64 * kMiB; offset += data.size()) {
    EXPECT_TRUE(co_await driver->read(offset, data));
    co_await c.runtime.executor().sleep_for(4'000'000);
  }
  const policy::PrefetchStatistics after = driver->status().prefetch;
  EXPECT_LE((after.missed_pages - before.missed_pages) * 10, after.read_pages - before.read_pages);
  EXPECT_TRUE(co_await driver->detach());
}

TEST(DriverPrefetch, StopsWhereItSparesNoReadsButNotForAScan) { run_story(read_popular_pages_then_scan); }

TEST(DriverPrefetch, HasServersReadIntoTheirMemoryWhatIsNotForItsOwn) { run_story(warm_servers); }

TEST(DriverPrefetch, StaysAheadOfAReaderInOrder) { run_story(read_in_order); }

Task<void> filled(Client& c, std::string name, uint64_t bytes) {
  co_await created(c, name, bytes);
  std::unique_ptr<Driver> driver = co_await attached(c, c.options(name));
  const std::vector<std::byte> data(kMiB, std::byte{1});
  for (uint64_t offset = 0; offset < bytes; offset += kMiB) EXPECT_TRUE(co_await driver->write(offset, data, false));
  EXPECT_TRUE(co_await driver->detach());
}

// Runs until it is told to stop; then `stop` counts down.
Task<void> write_beyond(Client& c, Driver& driver, uint64_t begin, int& stop) {
  const std::vector<std::byte> data(512 << 10, std::byte{2});
  Random random(9);
  while (stop == 2) {
    EXPECT_TRUE(co_await driver.write(begin + random.below(64) * data.size(), data, false));
    co_await c.runtime.executor().sleep_for(1'000'000);
  }
  stop = 0;
}

// Of a reader in order, while another client writes elsewhere.
Task<policy::PrefetchStatistics> read_beside_writes(Client& c, std::string name, bool writes) {
  co_await filled(c, name, 64 * kMiB);
  DriverOptions options = c.options(name);
  options.cache_bytes = 32 * kMiB;
  std::unique_ptr<Driver> driver = co_await attached(c, options);
  int stop = writes ? 2 : 0;
  if (writes) c.runtime.executor().spawn(write_beyond(c, *driver, 32 * kMiB, stop));
  std::vector<std::byte> data(128 << 10);
  for (uint64_t offset = 0; offset < 24 * kMiB; offset += data.size()) {
    EXPECT_TRUE(co_await driver->read(offset, data));
    co_await c.runtime.executor().sleep_for(1'000'000);
  }
  const policy::PrefetchStatistics prefetch = driver->status().prefetch;
  if (writes) stop = 1;
  while (stop != 0) co_await c.runtime.executor().sleep_for(1'000);
  EXPECT_TRUE(co_await driver->detach());
  co_return prefetch;
}

Task<void> write_elsewhere(Client& c) {
  const policy::PrefetchStatistics alone = co_await read_beside_writes(c, "alone", false);
  const policy::PrefetchStatistics beside = co_await read_beside_writes(c, "beside", true);
  EXPECT_EQ(alone.total.dropped, 0u);
  EXPECT_LE(beside.total.dropped * 50, beside.total.issued) << beside.total.dropped;
  EXPECT_LE(beside.missed_pages, alone.missed_pages * 2) << beside.missed_pages << " of " << alone.missed_pages;
}

TEST(DriverPrefetch, IsNotKeptOutByWritesElsewhere) { run_story(write_elsewhere); }

Task<void> read_one(Driver& driver, uint64_t page, int& under_way) {
  std::vector<std::byte> data(kPageBytes);
  EXPECT_TRUE(co_await driver.read(page * kPageBytes, data));
  --under_way;
}

uint64_t waiting(const Driver& driver) { return driver.status().prefetch.total.waiting; }

// A reader's fetch and a prefetch of the same page meet, in either order. Afterwards none of them counts as waiting in
// the cache, and when they have left it they can be fetched again.
Task<void> fetch_twice(Client& c) {
  constexpr uint64_t kPages = 64;
  const auto page_of = [](uint64_t i) { return 1000 + i * 7; };
  co_await filled(c, "v", 32 * kMiB);
  DriverOptions options = c.options("v");
  options.prefetch_experts = {"fingerprint"};  // which knows nothing yet: only what is asked for is prefetched
  std::unique_ptr<Driver> driver = co_await attached(c, options);
  std::vector<std::byte> data(kPageBytes);
  // Sessions of all servers.
  for (uint64_t offset = 0; offset < 32 * kMiB; offset += 4 * kMiB) EXPECT_TRUE(co_await driver->read(offset, data));
  int under_way = kPages;
  for (uint64_t i = 0; i < kPages; ++i) c.runtime.executor().spawn(read_one(*driver, page_of(i), under_way));
  co_await c.runtime.executor().sleep_for(100'000);
  EXPECT_EQ(under_way, static_cast<int>(kPages));
  for (uint64_t i = 0; i < kPages; ++i) driver->prefetch(page_of(i) * kPageBytes, kPageBytes);
  while (under_way != 0) co_await c.runtime.executor().sleep_for(1'000'000);
  co_await c.runtime.executor().sleep_for(100'000'000);
  EXPECT_EQ(waiting(*driver), 0u);
  Random random(1);
  for (int i = 0; i < 3000; ++i) EXPECT_TRUE(co_await driver->read((2000 + random.below(6000)) * kPageBytes, data));
  const uint64_t issued = driver->status().prefetch.total.issued;
  for (uint64_t i = 0; i < kPages; ++i) driver->prefetch(page_of(i) * kPageBytes, kPageBytes);
  EXPECT_EQ(driver->status().prefetch.total.issued - issued, kPages);
  co_await c.runtime.executor().sleep_for(100'000'000);
  const uint64_t missed = driver->status().cache_misses;
  for (uint64_t i = 0; i < kPages; ++i) EXPECT_TRUE(co_await driver->read(page_of(i) * kPageBytes, data));
  EXPECT_EQ(driver->status().cache_misses, missed);
  EXPECT_TRUE(co_await driver->detach());
}

TEST(DriverPrefetch, CountsWhatAReaderFetchesToo) { run_story(fetch_twice); }

bool one_in_fifty(uint64_t page) { return page % 50 == 49; }

// A reader in order of a volume with many damaged pages gets the error of each that he asks for, as often as he asks.
// Ahead of him each is asked for a few times in a minute, which costs its neighbours little, and each server says it
// once.
Task<void> read_past_damage(Client& c) {
  constexpr uint64_t kPages = 2000;
  co_await filled(c, "v", 8 * kMiB);
  std::unique_ptr<Driver> driver = co_await attached(c, c.options("v"));
  uint64_t lines = 0, refused = 0;
  set_log_sink([&](LogLevel, std::string_view line) { lines += line.starts_with("server "); });
  std::vector<std::byte> data(kPageBytes);
  const uint64_t begin_ns = c.runtime.now_ns();
  for (int time = 0; time < 2; ++time) {
    for (uint64_t page = 0; page < kPages; ++page) {
      const Result<void> read = co_await driver->read(page * kPageBytes, data);
      EXPECT_EQ(read.has_value(), !one_in_fifty(page)) << page;
      if (!read) {
        ++refused;
        EXPECT_EQ(read.error().code, ErrorCode::kCorrupt);
      }
      co_await c.runtime.executor().sleep_for(4'000'000);
    }
  }
  EXPECT_LT(c.runtime.now_ns() - begin_ns, 50'000'000'000u);
  const policy::PrefetchStatistics prefetch = driver->status().prefetch;
  EXPECT_GT(prefetch.total.used, kPages);
  EXPECT_LE(prefetch.missed_pages, refused + kPages / 50);
  EXPECT_LE(prefetch.total.dropped, kPages / 50 * 3);
  EXPECT_LE(lines, refused + kServers);
  EXPECT_TRUE(co_await driver->detach());
  set_log_sink({});
}

TEST(DriverPrefetch, LeavesDamagedPagesAloneForAWhile) { run_story(read_past_damage, 1, one_in_fifty); }

}  // namespace
}  // namespace foreshard::volume
