// The simulated disk. SimStorage is what the host keeps (it survives the process, and minus what was not
// synced the power); SimDisk and SimFile are a process's handles on it.
//
// Sectors are 512 bytes. A write ends after a seeded latency, in any order with others, and is then seen by
// reads; it is durable once a sync that started after its end has ended. At a power loss every sector that
// is not durable is, independently, new, old or anything written between. Directory changes are volatile
// until sync_folder; of those in a folder a prefix survives. A read that overlaps a write in flight sees
// either per sector.
#pragma once

#include <array>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "runtime/io.h"
#include "runtime/sim_executor.h"
#include "runtime/sim_timeline.h"

namespace foreshard::runtime {

// How a disk behaves; changed at any time. Chances are per operation.
struct SimDiskKnobs {
  uint64_t read_ns_min = 20'000, read_ns_max = 120'000;
  uint64_t write_ns_min = 10'000, write_ns_max = 150'000;
  uint64_t sync_ns_min = 30'000, sync_ns_max = 400'000;
  double slow_chance = 0;
  uint64_t slow_ns_max = 200'000'000;
  double read_error_chance = 0, write_error_chance = 0, sync_error_chance = 0;
  double lost_write_chance = 0;    // acknowledged, dropped
  double misdirect_chance = 0;     // acknowledged, lands on another page of the file
  double corrupt_chance = 0;       // one bit of a sector of this write is flipped as it is stored
  double power_keep_chance = 0.5;  // of a sector that is not durable, at a power loss
  uint64_t capacity_bytes = UINT64_MAX;
};

// One file's contents.
class SimInode {
 public:
  using Sector = std::array<std::byte, kSectorBytes>;
  uint64_t size() const { return size_; }
  void read(uint64_t offset, ByteSpan into) const;
  // Volatile until a sync covers it.
  void write(uint64_t offset, ConstByteSpan from);
  void write_sector(uint64_t sector, const std::byte* bytes);
  // Already durable: what rot does.
  void flip_bit(uint64_t bit);
  bool rottable(uint64_t sector) const;
  void set_size(uint64_t size) { size_ = size; }
  uint64_t newest_write() const { return write_count_; }
  // Everything up to that write is durable, and so is the size.
  void make_durable(uint64_t write);
  // A sync failed: of what it covered each sector is durable or gone, and nobody is told which; later syncs succeed.
  void lose_unsynced(Random& random, uint64_t write, double keep_chance);
  void power_loss(Random& random, double keep_chance);
  uint64_t unsynced_sectors() const { return unsynced_.size(); }

 private:
  struct Earlier {
    uint64_t write;   // this write replaced
    Sector contents;  // these
  };
  struct Page {
    std::array<std::byte, kPageBytes> bytes{};
  };
  void get_sector(uint64_t sector, std::byte* into) const;
  void put_sector(uint64_t sector, const std::byte* from);
  void drop_beyond(uint64_t size);

  uint64_t size_ = 0;
  uint64_t durable_size_ = 0;
  uint64_t write_count_ = 0;
  std::unordered_map<uint64_t, std::unique_ptr<Page>> pages_;  // absent: zero; never iterated
  std::map<uint64_t, std::vector<Earlier>> unsynced_;          // sector -> what it was before each unsynced write
};

class SimStorage {
 public:
  SimStorage(SimTimeline& timeline, std::string name);
  ~SimStorage();
  SimStorage(const SimStorage&) = delete;
  SimStorage& operator=(const SimStorage&) = delete;

  SimDiskKnobs& knobs() { return knobs_; }
  const std::string& name() const { return name_; }

  // The process is gone, the kernel lives: what had ended stays, what was under way happened or did not.
  void process_crash();
  // The power went: see the class comment.
  void power_loss();
  // The next operation of the kind fails, once each.
  void fail_next_sync() { ++failing_syncs_; }
  void fail_next_write() { ++failing_writes_; }
  // The next write to a file whose path begins so is answered well, and is not what it should be.
  enum class Spoil : uint8_t { kLost, kMisdirected, kCorrupted };
  void spoil_next_write(Spoil how, std::string path_prefix) {
    spoils_.emplace_back(how, std::move(path_prefix));
  }
  void forget_spoils() { spoils_.clear(); }
  // Nothing is wrong with the disk any more, but for what is on it.
  void repair() {
    knobs_ = {};
    failing_syncs_ = failing_writes_ = 0;
    spoils_.clear();
  }
  // Where something went wrong with a file's contents since the last call: what was lost, misdirected, corrupted,
  // has rotted, or could not be read.
  struct Damage {
    std::string path;
    uint64_t offset = 0, bytes = 0;
    bool in_write = false;  // of a write that was just made
  };
  std::vector<Damage> take_damage() { return std::exchange(damage_, {}); }
  // Writes that were spoilt so far.
  uint64_t spoilt_writes() const { return spoilt_writes_; }
  // Flips one bit of those bytes of a file; false when there is no such file.
  bool corrupt_file(const std::string& path, uint64_t offset, uint64_t bytes);
  // Flips one bit of what lies in files whose paths begin so, where it is durable and not zeros. False when no such
  // place was found.
  bool rot(const std::string& path_prefix);
  // Another disk, empty, is put in its place. No process has it open.
  void replace();
  uint64_t used_bytes() const;
  std::vector<std::string> files() const;

 private:
  friend class SimDisk;
  friend class SimFile;
  friend class SimInode;
  struct Operation;
  using Names = std::map<std::string, std::shared_ptr<SimInode>>;
  struct FolderChange {
    std::string folder;
    std::string path;
    std::shared_ptr<SimInode> inode;  // empty: removed
    std::string renamed_from;         // goes in the same step; empty: none
  };
  void change_name(FolderChange change);
  static void apply(const FolderChange& change, Names& names);
  void start(std::unique_ptr<Operation> operation);
  void finish(Operation& operation);
  void finish_write(Operation& operation);
  void spoil(Operation& operation, Spoil how);
  std::optional<Spoil> next_spoil(const SimInode& inode);
  std::string path_of(const SimInode& inode) const;
  void finish_read(Operation& operation);
  void finish_sync(Operation& operation);
  void end_operations(bool power);

  SimTimeline& timeline_;
  const std::string name_;
  SimDiskKnobs knobs_;
  Names names_, durable_names_;
  std::vector<FolderChange> changes_;
  std::map<uint64_t, std::unique_ptr<Operation>> operations_;  // in flight
  uint64_t operation_count_ = 0;
  uint32_t failing_syncs_ = 0, failing_writes_ = 0;
  std::vector<std::pair<Spoil, std::string>> spoils_;
  std::vector<Damage> damage_;
  uint64_t spoilt_writes_ = 0;
};

// A process's handle on a storage, from SimRuntime::open_disk.
class SimDisk final : public Disk {
 public:
  SimDisk(SimStorage& storage, SimExecutor& executor) : storage_(storage), executor_(executor) {}
  Result<std::unique_ptr<File>> open(const std::string& path, Open mode) override;
  Result<bool> exists(const std::string& path) override;
  Result<void> remove(const std::string& path) override;
  Result<void> rename(const std::string& from, const std::string& to) override;
  Result<std::vector<std::string>> list(const std::string& folder) override;
  Result<void> sync_folder(const std::string& folder) override;
  Result<uint64_t> free_bytes() override;
  std::string host_path() const override { return {}; }

 private:
  SimStorage& storage_;
  SimExecutor& executor_;
};

}  // namespace foreshard::runtime
