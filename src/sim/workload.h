// Workload: several seeded clients of one block device, all at once, whose every answer goes to the model. It aims
// at where devices break: hot pages that are written, read and zeroed by all at the same time, unaligned edges,
// ranges across the bounds of chunks and volumelets, sequential readers (that prefetch runs ahead of), flushes
// in between.
//
// Owner: the process of a driver. It ends when its operations are done, when stop() was called, or when the device
// ends (kFenced); any other error is a violation, unless told otherwise.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <set>
#include <vector>

#include "base/random.h"
#include "runtime/io.h"
#include "runtime/sync.h"
#include "sim/model.h"
#include "volume/block_device.h"

namespace foreshard::sim {

struct WorkloadOptions {
  uint64_t operations = 1000;
  uint32_t clients = 8;
  uint64_t volumelet_bytes = 4u << 20;
  uint64_t bytes_max = 128u << 10;  // of most requests
  uint64_t think_ns_max = 2'000'000;
  double flush_chance = 0.05;
  double durable_chance = 0.08;   // of a change, that it is forced to disk
  double large_chance = 0.03;     // zeroes and discards of whole chunks
  bool hammer = false;  // everybody at the same few pages
  // Whether an error is the answer that a request on these bytes, begun then by that clock, was to expect.
  std::function<bool(ErrorCode code, uint64_t offset, uint64_t bytes, uint64_t begun_ns)> excused = {};
  std::function<uint64_t()> clock_ns = {};
};

class Workload {
 public:
  Workload(runtime::Runtime& runtime, volume::BlockDevice& device, VolumeModel& model, uint64_t driver, Random random,
           WorkloadOptions options);

  // Spawns the clients; device and model outlive them.
  void start();
  void stop() {
    stopping_ = true;
    more_.wake_all();
  }
  // Clients wait once that many operations have begun, until the limit is raised.
  void set_limit(uint64_t operations) {
    limit_ = operations;
    more_.wake_all();
  }
  bool finished() const { return started_ && running_ == 0; }
  uint64_t done() const { return done_; }
  // The device said that another driver has taken over.
  bool fenced() const { return fenced_; }

  // Reads the whole volume once and checks it; then unreadable() are the pages that could not be.
  runtime::Task<Result<void>> read_all();
  const std::set<uint64_t>& unreadable() const { return unreadable_; }

 private:
  struct Range {
    uint64_t offset = 0, bytes = 0;
  };
  struct Running {
    explicit Running(uint32_t* c) : count(c) {}  // counted by start()
    ~Running() { --*count; }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    uint32_t* count;
  };
  runtime::Task<void> client(Random random);
  runtime::Task<Result<void>> operate(Random& random, Range range);
  runtime::Task<Result<void>> read(Range range);
  runtime::Task<Result<void>> read_by_pages(Range range);
  bool expected(ErrorCode code, Range range, uint64_t begun_ns) const {
    return options_.excused && options_.excused(code, range.offset, range.bytes, begun_ns);
  }
  Result<void> judge(const Result<void>& result, Range range, uint64_t begun_ns);
  void end_change(const VolumeModel::Pending& pending, const Result<void>& result, bool durable);
  uint64_t clock_ns() const { return options_.clock_ns ? options_.clock_ns() : 0; }
  // What both the model and this device have.
  uint64_t size_bytes() const { return std::min(model_.size_bytes(), device_.size_bytes()); }
  Range pick_large(Random& random);
  runtime::Task<Result<void>> write(Range range, bool durable);
  runtime::Task<Result<void>> zero(Range range, volume::ZeroMode mode, bool durable);
  runtime::Task<Result<void>> discard(Range range, bool durable);
  runtime::Task<Result<void>> flush();
  runtime::Task<Result<void>> status(Range range);
  Range pick(Random& random, uint64_t& sequential);
  void make_hot_spots();

  runtime::Runtime& runtime_;
  volume::BlockDevice& device_;
  VolumeModel& model_;
  const uint64_t driver_;
  Random random_;
  const WorkloadOptions options_;
  runtime::WaitQueue more_;    // the limit was raised
  std::vector<uint64_t> hot_;  // offsets
  std::set<uint64_t> unreadable_;
  uint64_t begun_ = 0, done_ = 0;
  uint64_t limit_ = UINT64_MAX;
  uint32_t running_ = 0;
  bool started_ = false, stopping_ = false;
  bool fenced_ = false;
};

}  // namespace foreshard::sim
