// Proved here: the checker accepts a device that keeps its promises, through crashes of its memory and of its
// driver, and catches each of the ways in which a device may break them. The device is a few lines of memory,
// not foreshard, so that checker and checked cannot share a mistake.
#include "sim/model.h"

#include <gtest/gtest.h>

#include "base/buffer.h"
#include "runtime/sim_world.h"
#include "sim/workload.h"

namespace foreshard::sim {
namespace {

using runtime::NodeId;
using runtime::SimProcess;
using runtime::SimRuntime;
using runtime::SimWorld;
using runtime::Task;
using volume::Extent;
using volume::ZeroMode;

constexpr uint64_t kBytes = 4u << 20;
constexpr uint64_t kSectors = kBytes / kSectorBytes;

enum class Flaw {
  kNone,
  kStaleRead,        // now and then an older content of a sector
  kLostWrite,        // acknowledged, not done
  kTornWrite,        // acknowledged, half done
  kDiscardIsAdvice,  // pages are left as they are
  kWrongPlace,       // lands one page further
  kReadsGoBack,      // a read during a write sees the new content, a later one the old
  kHoleWithData,     // block status claims zeros
  kFlushForgets,     // a flush that makes nothing durable
  kServerForgets,    // a loss while the driver lives is not made good
  kLateWrite,        // a write of a dead driver lands after its successor attached
};

struct Disk {
  std::vector<std::byte> bytes = std::vector<std::byte>(kBytes);
  std::vector<std::byte> before = bytes;  // older contents, for stale reads
  std::vector<std::byte> durable = bytes;
  std::vector<uint64_t> locked = std::vector<uint64_t>(kSectors);
};

// Memory with delays; overlapping requests exclude each other unless the flaw is in that.
class FlawedDevice : public volume::BlockDevice {
 public:
  FlawedDevice(SimRuntime& runtime, Disk& disk, Flaw flaw)
      : runtime_(runtime), disk_(disk), flaw_(flaw), freed_(runtime.executor()) {}
  uint64_t size_bytes() const override { return kBytes; }

  Task<Result<void>> read(uint64_t offset, ByteSpan into) override {
    const Lock lock = co_await this->lock(offset, into.size());
    co_await pause();
    const bool stale = flaw_ == Flaw::kStaleRead && runtime_.random().chance(0.02);
    std::memcpy(into.data(), (stale ? disk_.before : disk_.bytes).data() + offset, into.size());
    co_return Result<void>();
  }
  Task<Result<void>> write(uint64_t offset, ConstByteSpan from, bool fua) override {
    const Lock lock = co_await this->lock(offset, from.size());
    co_await pause();
    std::memcpy(disk_.before.data() + offset, disk_.bytes.data() + offset, from.size());
    if (flaw_ == Flaw::kReadsGoBack && runtime_.random().chance(0.3)) {
      std::memcpy(disk_.bytes.data() + offset, from.data(), from.size());
      const Lock open = unlock_for_a_while(offset, from.size());
      co_await pause();
      std::memcpy(disk_.bytes.data() + offset, disk_.before.data() + offset, from.size());
      co_await pause();
    }
    const bool hit = runtime_.random().chance(0.02);
    uint64_t bytes = from.size(), to = offset;
    if (flaw_ == Flaw::kLostWrite && hit) bytes = 0;
    if (flaw_ == Flaw::kTornWrite && hit) bytes -= kSectorBytes;
    if (flaw_ == Flaw::kWrongPlace && hit && offset + bytes + kPageBytes <= kBytes) to += kPageBytes;
    std::memcpy(disk_.bytes.data() + to, from.data(), bytes);
    if (fua) std::memcpy(disk_.durable.data() + to, from.data(), bytes);
    co_return Result<void>();
  }
  Task<Result<void>> zero(uint64_t offset, uint64_t bytes, ZeroMode, bool fua) override {
    const Lock lock = co_await this->lock(offset, bytes);
    co_await pause();
    std::memcpy(disk_.before.data() + offset, disk_.bytes.data() + offset, bytes);
    std::memset(disk_.bytes.data() + offset, 0, bytes);
    if (fua) std::memset(disk_.durable.data() + offset, 0, bytes);
    co_return Result<void>();
  }
  Task<Result<void>> discard(uint64_t offset, uint64_t bytes, bool fua) override {
    const uint64_t first = (offset + kPageBytes - 1) / kPageBytes * kPageBytes;
    const uint64_t end = (offset + bytes) / kPageBytes * kPageBytes;
    if (first >= end || flaw_ == Flaw::kDiscardIsAdvice) co_return Result<void>();
    auto done = co_await zero(first, end - first, ZeroMode::kMayUnmap, fua);
    co_return done;
  }
  Task<Result<void>> flush() override {
    co_await pause();
    if (flaw_ != Flaw::kFlushForgets) disk_.durable = disk_.bytes;
    co_await pause();
    co_return Result<void>();
  }
  void prefetch(uint64_t, uint64_t) override {}
  Task<Result<std::vector<Extent>>> block_status(uint64_t offset, uint64_t bytes, uint32_t) override {
    const Lock lock = co_await this->lock(offset, bytes);
    co_await pause();
    const bool zero = is_all_zero({disk_.bytes.data() + offset, bytes});
    std::vector<Extent> extents{Extent{bytes, zero, zero}};
    if (flaw_ == Flaw::kHoleWithData) extents[0].hole = extents[0].zero = true;
    co_return extents;
  }

 private:
  struct Lock {
    Lock(FlawedDevice* d, uint64_t f, uint64_t n, int64_t delta) : device(d), first(f), count(n), step(delta) {
      add(step);
    }
    Lock(Lock&& other) noexcept
        : device(std::exchange(other.device, nullptr)), first(other.first), count(other.count), step(other.step) {}
    ~Lock() {
      if (device == nullptr) return;
      add(-step);
      device->freed_.wake_all();
    }
    void add(int64_t by) {
      for (uint64_t i = 0; i < count; ++i) device->disk_.locked[first + i] += by;
    }
    FlawedDevice* device;
    uint64_t first, count;
    int64_t step;
  };
  Task<Lock> lock(uint64_t offset, uint64_t bytes) {
    const uint64_t first = offset / kSectorBytes, count = bytes / kSectorBytes;
    const auto taken = [&] {
      return std::any_of(disk_.locked.begin() + first, disk_.locked.begin() + first + count,
                         [](uint64_t n) { return n > 0; });
    };
    while (taken()) co_await freed_.wait();
    co_return Lock(this, first, count, 1);
  }
  Lock unlock_for_a_while(uint64_t offset, uint64_t bytes) {
    Lock open(this, offset / kSectorBytes, bytes / kSectorBytes, -1);
    freed_.wake_all();
    return open;
  }
  runtime::Executor::SleepAwaiter pause() { return runtime_.executor().sleep_for(runtime_.random().below(300'000)); }

  SimRuntime& runtime_;
  Disk& disk_;
  const Flaw flaw_;
  runtime::WaitQueue freed_;
};

struct Client : SimProcess {
  Client(SimRuntime& r, Disk& disk, VolumeModel& model, uint64_t driver, Flaw flaw, WorkloadOptions options)
      : device(r, disk, flaw), workload(r, device, model, driver, r.random().fork(), options) {
    workload.start();
  }
  FlawedDevice device;
  Workload workload;
};

// The outcome of a run with crashes of memory, of the driver, and of both.
std::optional<std::string> violation_of(uint64_t seed, Flaw flaw) {
  SimWorld world(seed);
  VolumeModel model(kBytes, 77);
  Disk disk;
  const NodeId node = world.add_node("client");
  for (uint64_t driver = 1; driver <= 8 && !model.violation(); ++driver) {
    model.driver_attached(driver);
    WorkloadOptions options;
    options.operations = 400;
    options.flush_chance = 0.02;
    options.large_chance = 0;
    options.bytes_max = 32u << 10;
    options.hammer = flaw == Flaw::kReadsGoBack;
    world.start(node, [&](SimRuntime& r) { return std::make_unique<Client>(r, disk, model, driver, flaw, options); });
    Workload& workload = static_cast<Client&>(*world.process(node)).workload;
    const auto over = [&] { return workload.finished() || model.violation(); };
    const uint64_t crash_ns = world.now_ns() + world.random().below(60'000'000);
    world.run_until(over, crash_ns);
    if (world.random().chance(0.5)) {
      model.server_lost(0);  // the driver lives and makes good what was lost
      if (flaw == Flaw::kServerForgets) disk.bytes = disk.durable;
      world.run_until(over, world.now_ns() + world.random().below(30'000'000));
    }
    model.driver_gone();
    std::vector<std::byte> late = disk.bytes;
    world.kill(node, runtime::Crash::kProcess);
    std::fill(disk.locked.begin(), disk.locked.end(), 0);
    if (world.random().chance(0.5)) {
      model.server_lost(0);
      for (uint64_t s = 0; s < kSectors; ++s) {
        if (world.random().chance(0.5)) continue;
        std::memcpy(disk.bytes.data() + s * kSectorBytes, disk.durable.data() + s * kSectorBytes, kSectorBytes);
      }
      disk.durable = disk.bytes;  // what a new driver reads is durable
    } else if (flaw == Flaw::kLateWrite) {
      disk.bytes = disk.before;
    }
  }
  return model.violation();
}

TEST(VolumeModel, AcceptsADeviceThatKeepsItsPromises) {
  for (uint64_t seed = 1; seed <= 15; ++seed) {
    const auto violation = violation_of(seed, Flaw::kNone);
    ASSERT_FALSE(violation) << seed << ": " << *violation;
  }
}

TEST(VolumeModel, CatchesEveryFlaw) {
  const std::pair<Flaw, const char*> flaws[] = {
      {Flaw::kStaleRead, "stale read"},         {Flaw::kLostWrite, "lost write"},
      {Flaw::kTornWrite, "torn write"},         {Flaw::kDiscardIsAdvice, "discard is advice"},
      {Flaw::kWrongPlace, "wrong place"},       {Flaw::kReadsGoBack, "reads go back"},
      {Flaw::kHoleWithData, "hole with data"},  {Flaw::kFlushForgets, "flush forgets"},
      {Flaw::kServerForgets, "server forgets"}, {Flaw::kLateWrite, "older contents after a driver's crash"},
  };
  for (const auto& [flaw, name] : flaws) {
    int caught = 0;
    for (uint64_t seed = 1; seed <= 10; ++seed) caught += violation_of(seed, flaw).has_value();
    EXPECT_GE(caught, 3) << name;
  }
}

// ---- the rules one by one

struct Steps {
  VolumeModel model{kBytes, 5};
  VolumeModel::Pending begin(uint64_t driver = 1) {
    return model.begin_write(driver, 0, kSectorBytes, VolumeModel::Kind::kData);
  }
  void read(const VolumeModel::Pending& write, uint64_t driver = 1) {
    std::vector<std::byte> bytes(kSectorBytes);
    if (write.number != 0) model.fill(write, bytes);
    model.end_read(model.begin_read(driver, 0, kSectorBytes), bytes);
  }
  VolumeModel::Pending wrote(uint64_t driver = 1) {
    const auto write = begin(driver);
    model.end_write(write, true, false);
    return write;
  }
  bool violated() const { return model.violation().has_value(); }
};

TEST(VolumeModel, WhatWasReadWhileInFlightDoesNotGoBack) {
  Steps steps;
  const auto first = steps.wrote(), second = steps.begin();
  steps.read(first);
  steps.read(second);
  EXPECT_FALSE(steps.violated());
  steps.read(first);
  EXPECT_TRUE(steps.violated());
}

TEST(VolumeModel, AnUnansweredWriteOfADeadDriverHappenedBeforeTheNextOrNever) {
  Steps steps;
  steps.model.driver_attached(1);
  const auto first = steps.wrote(), second = steps.begin();
  steps.model.driver_gone();
  steps.model.driver_attached(2);
  steps.read(first, 2);
  EXPECT_FALSE(steps.violated());
  steps.read(second, 2);
  EXPECT_TRUE(steps.violated());
}

TEST(VolumeModel, AnAcknowledgedWriteIsLostOnlyWithItsServerAndItsDriver) {
  for (const bool flushed : {false, true}) {
    for (const bool lost : {false, true}) {
      Steps steps;
      steps.model.driver_attached(1);
      const auto first = steps.wrote();
      steps.wrote();
      if (flushed) steps.model.end_flush(steps.model.begin_flush(1), true);
      if (lost) steps.model.server_lost(0);
      steps.model.driver_gone();
      steps.model.driver_attached(2);
      steps.read(first, 2);
      EXPECT_EQ(steps.violated(), flushed || !lost);
    }
  }
}

TEST(VolumeModel, ZerosThatWereReadMayBeAnyOfTheWritesOfZeros) {
  for (const bool both_flushed : {false, true}) {
    Steps steps;
    steps.model.driver_attached(1);
    const auto slow = steps.model.begin_write(1, 0, kSectorBytes, VolumeModel::Kind::kZero);
    const auto data = steps.wrote();
    const auto quick = steps.model.begin_write(1, 0, kSectorBytes, VolumeModel::Kind::kZero);
    steps.model.end_write(quick, true, both_flushed);
    steps.read({});  // zeros of `slow`, or of `quick`
    steps.model.end_write(slow, true, true);
    // `slow` may have been before `data`, and `quick` be lost.
    steps.model.driver_gone();
    steps.model.server_lost(0);
    steps.model.driver_attached(2);
    steps.read(data, 2);
    EXPECT_EQ(steps.violated(), both_flushed);
  }
}

TEST(VolumeModel, AfterALossTheFirstReadDecides) {
  Steps steps;
  steps.model.driver_attached(1);
  const auto first = steps.wrote(), second = steps.wrote();
  steps.model.driver_gone();
  steps.model.server_lost(0);
  steps.model.driver_attached(2);
  steps.read(first, 2);
  EXPECT_FALSE(steps.violated());
  steps.read(second, 2);
  EXPECT_TRUE(steps.violated());
}

TEST(VolumeModel, AnAnswerThatComesAfterASuccessorMayBeOfAWriteThatIsLost) {
  for (const bool lost : {false, true}) {
    Steps steps;
    steps.model.driver_attached(1);
    const auto first = steps.wrote(), second = steps.begin();
    steps.model.driver_gone();
    if (lost) steps.model.server_lost(0);
    steps.model.driver_attached(2);
    // Another sector: the server is the successor's now.
    std::vector<std::byte> zeros(kSectorBytes);
    steps.model.end_read(steps.model.begin_read(2, kPageBytes, kSectorBytes), zeros);
    steps.model.end_write(second, true, false);
    steps.model.end_flush(steps.model.begin_flush(2), true);
    steps.read(first, 2);
    EXPECT_EQ(steps.violated(), !lost);
  }
}

TEST(VolumeModel, ASucceededDriverServesNothingNew) {
  Steps steps;
  steps.model.driver_attached(1);
  const auto first = steps.wrote();
  steps.model.driver_gone();
  steps.model.driver_attached(2);
  steps.read(first, 2);
  EXPECT_FALSE(steps.violated());
  steps.read(first, 1);
  EXPECT_TRUE(steps.violated());
}

TEST(VolumeModel, AnUnflushedWriteMayBeLostByTheNextDriversDeathToo) {
  Steps steps;
  steps.model.driver_attached(1);
  const auto first = steps.wrote(), second = steps.wrote();
  steps.model.driver_gone();
  steps.model.driver_attached(2);
  steps.read(second, 2);
  steps.model.server_lost(0);
  steps.read(second, 2);
  EXPECT_FALSE(steps.violated());
  steps.model.driver_gone();
  steps.model.driver_attached(3);
  steps.read(first, 3);
  EXPECT_FALSE(steps.violated());
}

}  // namespace
}  // namespace foreshard::sim
