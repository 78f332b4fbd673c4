// The driver against servers over a simulated network: what is written is read back, whatever the alignment and
// however many volumelets it crosses; zeroes and discards; block status; growth; detach and attach again; a second
// driver is refused, or fences the first; removal. Crashes and faults are the simulator's (sim/).
#include <map>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "volume/driver_testing.h"

namespace foreshard::volume {
namespace {

using runtime::Task;

std::vector<std::byte> pattern(Random& random, size_t bytes) {
  std::vector<std::byte> data(bytes);
  for (std::byte& b : data) b = static_cast<std::byte>(random.next());
  return data;
}

// Random reads, writes, zeroes and discards of any alignment against a plain copy in memory.
Task<void> random_operations(Client& c) {
  constexpr uint64_t kSize = 24 * kMiB + 1536;
  co_await created(c, "v", kSize);
  std::unique_ptr<Driver> driver = co_await attached(c, c.options("v"));
  if (!driver) co_return;
  EXPECT_EQ(driver->size_bytes(), kSize);
  std::vector<std::byte> model(kSize);
  Random random(42);
  for (int i = 0; i < 600; ++i) {
    uint64_t bytes = 1 + random.below(random.chance(0.1) ? 3 * kMiB : 20000);
    uint64_t offset = random.chance(0.3) ? 4 * kMiB * (1 + random.below(5)) - bytes / 2 : random.below(kSize - bytes);
    if (random.chance(0.5)) offset &= ~uint64_t{4095}, bytes = (bytes + 4095) & ~uint64_t{4095};
    bytes = std::min(bytes, kSize - offset);
    const uint64_t what = random.below(8);
    Result<void> result;
    if (what < 3) {
      std::vector<std::byte> data = pattern(random, bytes);
      result = co_await driver->write(offset, data, random.chance(0.1));
      std::copy(data.begin(), data.end(), model.begin() + static_cast<int64_t>(offset));
    } else if (what == 3) {
      result = co_await driver->zero(offset, bytes, ZeroMode::kMayUnmap, false);
      std::fill_n(model.begin() + static_cast<int64_t>(offset), bytes, std::byte{0});
    } else if (what == 4) {
      result = co_await driver->discard(offset, bytes, false);
      const uint64_t first = (offset + 4095) / 4096 * 4096, end = (offset + bytes) / 4096 * 4096;
      if (end > first) std::fill_n(model.begin() + static_cast<int64_t>(first), end - first, std::byte{0});
    } else {
      std::vector<std::byte> data(bytes);
      result = co_await driver->read(offset, data);
      EXPECT_TRUE(std::equal(data.begin(), data.end(), model.begin() + static_cast<int64_t>(offset))) << "step " << i;
    }
    EXPECT_TRUE(result) << i;
    if (what == 7) result = co_await driver->flush();
    EXPECT_TRUE(result);
  }
  const Result<std::vector<Extent>> extents = co_await driver->block_status(0, kSize, 1000);
  EXPECT_TRUE(extents);
  uint64_t covered = 0;
  for (const Extent& extent : *extents) {
    if (extent.hole)
      for (uint64_t b = covered; b < covered + extent.bytes; ++b)
        if (model[b] != std::byte{0}) ADD_FAILURE() << "hole with data at " << b, b = kSize;
    covered += extent.bytes;
  }
  EXPECT_EQ(covered, kSize);
  const Result<void> detached = co_await driver->detach();
  EXPECT_TRUE(detached) << (detached ? "" : detached.error().message());
  // Another attachment reads the same, without a cache.
  DriverOptions options = c.options("v");
  options.cache_bytes = 0;
  driver = co_await attached(c, std::move(options));
  std::vector<std::byte> all(kSize);
  const Result<void> read = co_await driver->read(0, all);
  EXPECT_TRUE(read);
  EXPECT_TRUE(all == model);
  EXPECT_EQ(driver->status().epoch, 2u);
  const Result<void> again = co_await driver->detach();
  EXPECT_TRUE(again);
}

TEST(Driver, ReadsBackWhatWasWrittenWhateverTheAlignment) { run_story(random_operations); }

Task<void> second_driver(Client& c) {
  co_await created(c, "v", 8 * kMiB);
  std::unique_ptr<Driver> first = co_await attached(c, c.options("v"));
  std::vector<std::byte> data(8192, std::byte{7});
  const Result<void> written = co_await first->write(4096, data, false);
  EXPECT_TRUE(written);
  EXPECT_EQ(first->volumelets().at(0).writes, 1u);  // the first access of a volumelet counts as well
  const Result<std::unique_ptr<Driver>> refused = co_await Driver::attach(c.runtime, *c.meta, c.options("v"));
  EXPECT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kBusy);
  const Result<void> removed = co_await remove_volume(c.runtime, *c.meta, "v");
  EXPECT_EQ(removed.error().code, ErrorCode::kBusy);
  DriverOptions force = c.options("v");
  force.force = true;
  std::unique_ptr<Driver> second = co_await attached(c, std::move(force));
  std::vector<std::byte> back(8192);
  Result<void> read = co_await second->read(4096, back);
  EXPECT_TRUE(read);
  EXPECT_EQ(back, data);
  // The first one is fenced, also for what lies in its cache.
  read = co_await first->read(4096, back);
  EXPECT_FALSE(read);
  EXPECT_TRUE(first->ended().is_set());
  const Result<void> late = co_await first->write(0, data, false);
  EXPECT_EQ(late.error().code, ErrorCode::kFenced);
  const Result<void> unclean = co_await first->detach();
  EXPECT_FALSE(unclean);
  const Result<void> clean = co_await second->detach();
  EXPECT_TRUE(clean);
}

TEST(Driver, IsAloneAndFencesItsPredecessor) { run_story(second_driver); }

Task<void> grow_and_remove(Client& c) {
  co_await created(c, "v", 4 * kMiB);
  std::unique_ptr<Driver> driver = co_await attached(c, c.options("v"));
  const Result<bool> wished = co_await resize_volume(c.runtime, *c.meta, "v", 40 * kMiB);
  EXPECT_TRUE(wished && !*wished);
  co_await c.runtime.executor().sleep_for(3'000'000'000);
  EXPECT_EQ(driver->size_bytes(), 40 * kMiB);
  std::vector<std::byte> data(kMiB, std::byte{9}), back(kMiB);
  Result<void> result = co_await driver->write(39 * kMiB, data, true);
  EXPECT_TRUE(result);
  result = co_await driver->read(39 * kMiB, back);
  EXPECT_TRUE(result);
  EXPECT_EQ(back, data);
  result = co_await driver->detach();
  EXPECT_TRUE(result);
  const Result<bool> shrunk = co_await resize_volume(c.runtime, *c.meta, "v", 8 * kMiB);
  EXPECT_EQ(shrunk.error().code, ErrorCode::kInvalid);
  const Result<bool> grown = co_await resize_volume(c.runtime, *c.meta, "v", 48 * kMiB);
  EXPECT_TRUE(grown && *grown);
  result = co_await remove_volume(c.runtime, *c.meta, "v");
  EXPECT_TRUE(result) << (result ? "" : result.error().message());
  // A volume of the same name never shows old data.
  co_await created(c, "v", 40 * kMiB);
  driver = co_await attached(c, c.options("v"));
  result = co_await driver->read(39 * kMiB, back);
  EXPECT_TRUE(result);
  EXPECT_EQ(back, std::vector<std::byte>(kMiB));
  result = co_await driver->detach();
  EXPECT_TRUE(result);
}

TEST(Driver, GrowsOnlineAndARemovedVolumesDataNeverReturns) { run_story(grow_and_remove); }

Task<void> bad_input(Client& c) {
  CreateOptions options;
  options.name = "Bad Name";
  options.size_bytes = kMiB;
  Result<meta::pb::Volume> volume = co_await create_volume(c.runtime, *c.meta, options);
  EXPECT_EQ(volume.error().code, ErrorCode::kInvalid);
  options.name = "v";
  options.size_bytes = 1000;
  volume = co_await create_volume(c.runtime, *c.meta, options);
  EXPECT_EQ(volume.error().code, ErrorCode::kInvalid);
  options.size_bytes = kMiB;
  options.volumelet_bytes = 3 * kMiB;
  volume = co_await create_volume(c.runtime, *c.meta, options);
  EXPECT_EQ(volume.error().code, ErrorCode::kInvalid);
  options.volumelet_bytes = kMiB;
  options.zone = "nowhere";
  volume = co_await create_volume(c.runtime, *c.meta, options);
  EXPECT_EQ(volume.error().code, ErrorCode::kUnavailable);
  const Result<std::unique_ptr<Driver>> driver = co_await Driver::attach(c.runtime, *c.meta, c.options("nothing"));
  EXPECT_EQ(driver.error().code, ErrorCode::kNotFound);
  const Result<void> removed = co_await remove_volume(c.runtime, *c.meta, "nothing");
  EXPECT_EQ(removed.error().code, ErrorCode::kNotFound);
}

TEST(Driver, RefusesBadInputByName) { run_story(bad_input); }

// Reads the pages, one after the other, and says how many requests had to wait for a server.
Task<uint64_t> waits_of(Client& c, Driver& driver, const std::vector<uint64_t>& pages) {
  const uint64_t before = driver.status().prefetch.missed_requests;
  std::vector<std::byte> data(kPageBytes);
  for (const uint64_t page : pages) {
    const Result<void> result = co_await driver.read(page * kPageBytes, data);
    EXPECT_TRUE(result);
    co_await c.runtime.executor().sleep_for(2'000'000);
  }
  co_return driver.status().prefetch.missed_requests - before;
}

Task<size_t> learned_records(Client& c) {
  const Result<meta::RangeResult> range =
      co_await c.meta->range(meta::learned_prefix(), meta::prefix_end(meta::learned_prefix()), 0);
  EXPECT_TRUE(range);
  co_return range ? range->entries.size() : 0;
}

// What was read before, in whatever order, is ahead of the reader after the next attach, and in another volume of the
// same image; what is learned goes with its volume.
Task<void> learn(Client& c) {
  for (const char* name : {"v", "w", "x"}) {
    CreateOptions options;
    options.name = name;
    options.size_bytes = 64 * kMiB;
    options.image = name[0] == 'x' ? "" : "debian-12";
    const Result<meta::pb::Volume> volume = co_await create_volume(c.runtime, *c.meta, std::move(options));
    EXPECT_TRUE(volume);
  }
  Random random(5);
  std::vector<uint64_t> pages(300);
  for (uint64_t& page : pages) page = random.below(64 * kMiB / kPageBytes);
  const std::pair<const char*, const char*> attaches[] = {{"v", ""}, {"v", "v-"}, {"w", "i-debian-12"}, {"x", ""}};
  for (const auto& [name, from] : attaches) {
    std::unique_ptr<Driver> driver = co_await attached(c, c.options(name));
    EXPECT_TRUE(driver->status().learned.from.starts_with(from)) << driver->status().learned.from;
    EXPECT_EQ(driver->status().learned.from.empty(), std::string_view(from).empty());
    const uint64_t waits = co_await waits_of(c, *driver, pages);
    if (*from == 0) {
      EXPECT_GE(waits, 270u);
    } else {
      EXPECT_LE(waits, 60u) << name;
    }
    const Result<void> detached = co_await driver->detach();
    EXPECT_TRUE(detached);
  }
  EXPECT_EQ(co_await learned_records(c), 4u);
  const Result<void> removed = co_await remove_volume(c.runtime, *c.meta, "v");
  EXPECT_TRUE(removed);
  EXPECT_EQ(co_await learned_records(c), 3u);
}

TEST(Driver, WhatWasLearnedIsThereAfterTheNextAttachAndForTheSameImage) { run_story(learn); }

// A VM that stays attached has shared its boot a while after.
Task<void> share_while_attached(Client& c) {
  for (const char* name : {"v", "w"}) {
    CreateOptions options;
    options.name = name;
    options.size_bytes = 64 * kMiB;
    options.image = "debian-12";
    const Result<meta::pb::Volume> volume = co_await create_volume(c.runtime, *c.meta, std::move(options));
    EXPECT_TRUE(volume);
  }
  Random random(6);
  std::vector<uint64_t> pages(300);
  for (uint64_t& page : pages) page = random.below(64 * kMiB / kPageBytes);
  std::unique_ptr<Driver> first = co_await attached(c, c.options("v"));
  EXPECT_GE(co_await waits_of(c, *first, pages), 270u);
  co_await c.runtime.executor().sleep_for(35'000'000'000);
  EXPECT_NE(first->status().learned.saved_ns, 0u);
  std::unique_ptr<Driver> second = co_await attached(c, c.options("w"));
  EXPECT_LE(co_await waits_of(c, *second, pages), 60u);
  for (std::unique_ptr<Driver>* driver : {&first, &second}) {
    const Result<void> detached = co_await (*driver)->detach();
    EXPECT_TRUE(detached);
  }
}

TEST(Driver, SharesWhatItLearnedWhileItStaysAttached) { run_story(share_while_attached); }

// A state that is damaged, or of a newer format, is done without.
Task<void> learn_from_garbage(Client& c) {
  co_await created(c, "v", 8 * kMiB);
  const Result<meta::pb::Volume> volume = co_await get_volume(*c.meta, "v");
  for (const std::string& garbage : {std::string("garbage"), std::string("\x08\x63"), std::string(600'000, '\x08')}) {
    meta::Transaction transaction;
    const std::string key = meta::learned_state_key(fmt::format("v-{}", meta::hex_id(volume->id())));
    transaction.operations.push_back({meta::Operation::Kind::kPut, key, garbage, 0});
    const Result<meta::TransactionResult> put = co_await c.meta->commit(std::move(transaction));
    EXPECT_TRUE(put && put->succeeded);
    std::unique_ptr<Driver> driver = co_await attached(c, c.options("v"));
    EXPECT_EQ(driver->status().learned.from, "");
    const Result<void> detached = co_await driver->detach();
    EXPECT_TRUE(detached);
  }
}

TEST(Driver, AttachesWhateverIsInThePlaceOfWhatWasLearned) { run_story(learn_from_garbage); }

}  // namespace
}  // namespace foreshard::volume
