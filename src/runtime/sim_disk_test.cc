// Proved here: after a power loss every synced sector is what was synced and every other one is something that
// was once there, both outcomes happening; a failed sync loses data that a second sync does not bring back;
// names live by sync_folder; each fault knob does what it says and is counted.
#include "runtime/sim_disk.h"

#include <gtest/gtest.h>

#include "base/buffer.h"
#include "runtime/sim_world.h"

namespace foreshard::runtime {
namespace {

constexpr uint64_t kPages = 16;

// Runs one step of a test as a process of its own.
using Script = Task<void> (*)(SimRuntime&, Disk&, bool& finished);
struct Scripted : SimProcess {
  Scripted(SimRuntime& r, Script script) : disk(std::move(*r.open_disk("disk"))) {
    r.executor().spawn(script(r, *disk, finished));
  }
  std::unique_ptr<Disk> disk;
  bool finished = false;
};

struct Host {
  explicit Host(uint64_t seed) : world(seed), node(world.add_node("host")) {}
  SimStorage& storage() { return world.storage(node, "disk"); }
  void start(Script script) {
    world.start(node, [script](SimRuntime& r) { return std::make_unique<Scripted>(r, script); });
  }
  void run(Script script) {
    start(script);
    auto& process = static_cast<Scripted&>(*world.process(node));
    ASSERT_TRUE(world.run_until([&] { return process.finished; }, world.now_ns() + 60'000'000'000));
    world.kill(node, Crash::kProcess);
  }
  SimWorld world;
  NodeId node;
};

Buffer filled(uint64_t pages, int value) {
  Buffer buffer = Buffer::allocate(pages * kPageBytes);
  std::memset(buffer.data(), value, buffer.size());
  return buffer;
}

// Page p becomes value v, all sectors; nothing is synced.
Task<void> write_all(File& file, int value) {
  const Buffer buffer = filled(kPages, value);
  const auto wrote = co_await file.write(0, buffer.span());
  EXPECT_TRUE(wrote.has_value());
}

Task<void> make_synced_ones(SimRuntime&, Disk& disk, bool& finished) {
  auto file = disk.open("f/data", Disk::Open::kCreate);
  EXPECT_TRUE((*file)->allocate(kPages * kPageBytes).has_value());
  co_await write_all(**file, 1);
  const auto synced = co_await (*file)->sync();
  EXPECT_TRUE(synced.has_value());
  EXPECT_TRUE(disk.sync_folder("f").has_value());
  finished = true;
}

Task<void> write_twos_then_threes(SimRuntime&, Disk& disk, bool& finished) {
  auto file = disk.open("f/data", Disk::Open::kExisting);
  co_await write_all(**file, 2);
  co_await write_all(**file, 3);
  finished = true;
}

std::vector<int> sectors_after_power_loss(uint64_t seed, Script script) {
  Host host(seed);
  host.run(make_synced_ones);
  host.start(script);
  auto& process = static_cast<Scripted&>(*host.world.process(host.node));
  host.world.run_until([&] { return process.finished; }, host.world.now_ns() + 1'000'000'000);
  host.world.kill(host.node, Crash::kPower);
  static std::vector<int> values;
  values.clear();
  host.run(+[](SimRuntime&, Disk& disk, bool& finished) -> Task<void> {
    auto file = disk.open("f/data", Disk::Open::kExisting);
    Buffer buffer = Buffer::allocate(kPages * kPageBytes);
    const auto got = co_await (*file)->read(0, buffer.span());
    EXPECT_TRUE(got.has_value());
    for (size_t i = 0; i < buffer.size(); i += kSectorBytes) {
      const auto first = buffer.data()[i];
      for (size_t j = 0; j < kSectorBytes; ++j) EXPECT_EQ(buffer.data()[i + j], first);
      values.push_back(static_cast<int>(first));
    }
    finished = true;
  });
  return values;
}

TEST(SimDisk, UnsyncedSectorsAreEachOldOrNewOrBetweenAfterAPowerLoss) {
  const std::vector<int> values = sectors_after_power_loss(1, write_twos_then_threes);
  ASSERT_EQ(values.size(), kPages * 8);
  for (int value : {1, 2, 3}) EXPECT_TRUE(std::find(values.begin(), values.end(), value) != values.end()) << value;
  for (int value : values) EXPECT_TRUE(value >= 1 && value <= 3);
}

TEST(SimDisk, SyncedSectorsSurviveAPowerLoss) {
  const std::vector<int> values = sectors_after_power_loss(
      2, +[](SimRuntime&, Disk&, bool& finished) -> Task<void> {
        finished = true;
        co_return;
      });
  for (int value : values) EXPECT_EQ(value, 1);
}

TEST(SimDisk, ASyncCoversOnlyWritesThatEndedBeforeItsStart) {
  bool some_lost = false;
  for (uint64_t seed = 0; seed < 20 && !some_lost; ++seed) {
    const std::vector<int> values = sectors_after_power_loss(
        seed, +[](SimRuntime& r, Disk& disk, bool& finished) -> Task<void> {
          static std::unique_ptr<File> file;
          file = std::move(*disk.open("f/data", Disk::Open::kExisting));
          r.executor().spawn(write_all(*file, 4));
          const auto synced = co_await file->sync();
          EXPECT_TRUE(synced.has_value());
          co_await r.executor().sleep_for(1'000'000);
          finished = true;
          file.reset();
        });
    some_lost = std::count(values.begin(), values.end(), 1) > 0;
  }
  EXPECT_TRUE(some_lost);
}

TEST(SimDisk, AfterAFailedSyncTheDataIsGoneThoughTheNextSyncSucceeds) {
  Host host(3);
  host.run(make_synced_ones);
  host.storage().fail_next_sync();
  host.run(+[](SimRuntime&, Disk& disk, bool& finished) -> Task<void> {
    auto file = disk.open("f/data", Disk::Open::kExisting);
    co_await write_all(**file, 5);
    const auto first = co_await (*file)->sync();
    EXPECT_FALSE(first.has_value());
    const auto second = co_await (*file)->sync();
    EXPECT_TRUE(second.has_value());
    Buffer buffer = Buffer::allocate(kPages * kPageBytes);
    const auto got = co_await (*file)->read(0, buffer.span());
    EXPECT_TRUE(got.has_value());
    EXPECT_TRUE(std::find(buffer.data(), buffer.data() + buffer.size(), std::byte{1}) != buffer.data() + buffer.size());
    finished = true;
  });
  EXPECT_EQ(host.world.counters().at("disk sync error"), 1u);
}

TEST(SimDisk, NamesNeedASyncedFolder) {
  bool survived = false, lost = false;
  for (uint64_t seed = 0; seed < 30; ++seed) {
    Host host(seed);
    host.run(+[](SimRuntime&, Disk& disk, bool& finished) -> Task<void> {
      auto file = disk.open("f/new.tmp", Disk::Open::kCreate);
      EXPECT_TRUE(disk.sync_folder("f").has_value());
      EXPECT_TRUE(disk.rename("f/new.tmp", "f/new").has_value());
      finished = true;
      co_return;
    });
    host.start(+[](SimRuntime&, Disk&, bool&) -> Task<void> { co_return; });
    host.world.kill(host.node, Crash::kPower);
    const std::vector<std::string> files = host.storage().files();
    ASSERT_EQ(files.size(), 1u);
    (files[0] == "f/new" ? survived : lost) = true;
  }
  EXPECT_TRUE(survived && lost);
}

TEST(SimDisk, AFullDiskRefusesToAllocate) {
  Host host(4);
  host.storage().knobs().capacity_bytes = 10 * kPageBytes;
  host.run(+[](SimRuntime&, Disk& disk, bool& finished) -> Task<void> {
    auto file = disk.open("data", Disk::Open::kCreate);
    EXPECT_TRUE((*file)->allocate(10 * kPageBytes).has_value());
    const auto more = (*file)->allocate(11 * kPageBytes);
    EXPECT_EQ(more.error().code, ErrorCode::kNoSpace);
    EXPECT_EQ(*disk.free_bytes(), 0u);
    finished = true;
    co_return;
  });
}

TEST(SimDisk, EachFaultFiresAndIsCounted) {
  Host host(5);
  host.run(make_synced_ones);
  SimDiskKnobs& knobs = host.storage().knobs();
  knobs.read_error_chance = knobs.slow_chance = 1;
  host.run(+[](SimRuntime&, Disk& disk, bool& finished) -> Task<void> {
    auto file = disk.open("f/data", Disk::Open::kExisting);
    Buffer buffer = Buffer::allocate(kPageBytes);
    const auto got = co_await (*file)->read(0, buffer.span());
    EXPECT_EQ(got.error().code, ErrorCode::kIo);
    finished = true;
  });
  knobs.read_error_chance = knobs.slow_chance = 0;
  knobs.lost_write_chance = 1;
  host.run(write_twos_then_threes);
  knobs.lost_write_chance = 0;
  knobs.corrupt_chance = 1;
  host.run(+[](SimRuntime&, Disk& disk, bool& finished) -> Task<void> {
    auto file = disk.open("f/data", Disk::Open::kExisting);
    Buffer buffer = Buffer::allocate(kPages * kPageBytes);
    auto got = co_await (*file)->read(0, buffer.span());
    for (std::byte b : buffer.span()) EXPECT_EQ(b, std::byte{1});
    co_await write_all(**file, 1);
    got = co_await (*file)->read(0, buffer.span());
    EXPECT_EQ(std::count(buffer.data(), buffer.data() + buffer.size(), std::byte{1}),
              static_cast<int64_t>(buffer.size()) - 1);
    finished = true;
  });
  for (const char* name : {"disk read error", "disk slow", "disk lost write", "disk corruption"}) {
    EXPECT_GE(host.world.counters().count(name), 1u) << name;
  }
}

TEST(SimDisk, AProcessMayBeKilledWithAnyOperationUnderWay) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    Host host(seed);
    host.run(make_synced_ones);
    host.start(write_twos_then_threes);
    host.world.run_for(host.world.random().below(300'000));
    host.world.kill(host.node, seed % 2 == 0 ? Crash::kPower : Crash::kProcess);
    host.world.run_for(1'000'000);
  }
}

}  // namespace
}  // namespace foreshard::runtime
