#include "cli/disk_region.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>

#include "base/log.h"
#include "base/units.h"
#include "index/rocks_index.h"
#include "store/disk_store.h"

namespace foreshard::cli {
namespace {

using runtime::Task;

constexpr double kShareOfFreeSpace = 0.9;
// What a server takes besides its slots: the ring of dirty pages, logs of the index.
constexpr uint64_t kBytesBesideSlots = 64u << 20;

// What the files below a folder take on the disk.
uint64_t bytes_taken(const std::string& folder) {
  uint64_t bytes = 0;
  std::error_code code;
  for (std::filesystem::recursive_directory_iterator at(folder, code), end; !code && at != end; at.increment(code)) {
    struct stat status {};
    if (stat(at->path().c_str(), &status) == 0 && S_ISREG(status.st_mode))
      bytes += static_cast<uint64_t>(status.st_blocks) * 512;
  }
  return bytes;
}

// Opens disk stores, each on a disk of its own: a folder of the region. The disks live as long as the region.
class DiskStores {
 public:
  DiskStores(runtime::Runtime& runtime, std::string region_folder, uint64_t capacity_bytes)
      : runtime_(runtime), region_folder_(std::move(region_folder)), capacity_bytes_(capacity_bytes) {}

  Task<Result<std::unique_ptr<store::ChunkStore>>> open(ServerId id, std::string folder, uint32_t servers) {
    CO_TRY_VOID(settle_capacity(servers));
    CO_TRY(disks_[id], runtime_.open_disk(folder));
    store::DiskStoreOptions options;
    options.capacity_bytes = capacity_bytes_;
    options.prepared_slots = 256;
    co_return co_await store::DiskStore::open(runtime_, *disks_[id], index::rocks_index_opener(), options);
  }

 private:
  // Unless told otherwise each server has its share of what is free, or taken by the region already.
  Result<void> settle_capacity(uint32_t servers) {
    if (capacity_bytes_ != 0) return {};
    std::error_code code;
    const std::filesystem::space_info space = std::filesystem::space(region_folder_, code);
    if (code) return fail(error_from_errno(code.value(), "free space", region_folder_));
    const uint64_t ours = space.available + bytes_taken(region_folder_);
    const uint64_t kept = store::DiskStoreOptions().free_bytes_min + servers * kBytesBesideSlots;
    const auto share = static_cast<uint64_t>(static_cast<double>(ours) * kShareOfFreeSpace);
    capacity_bytes_ = std::min(share, ours - std::min(ours, kept)) / servers / kChunkBytes * kChunkBytes;
    if (capacity_bytes_ == 0) {
      LOG_WARN("{} has {} free: too little to store data, of which {} are kept for metadata and deletions",
               region_folder_, format_size(space.available), format_size(kept));
    }
    return {};
  }
  runtime::Runtime& runtime_;
  std::string region_folder_;
  uint64_t capacity_bytes_;
  std::map<ServerId, std::unique_ptr<runtime::Disk>> disks_;
};

}  // namespace

app::RegionOptions disk_region_options(runtime::Runtime& runtime, const std::string& folder,
                                       const app::TopologyWish& topology, uint64_t capacity_bytes) {
  const auto stores = std::make_shared<DiskStores>(runtime, folder, capacity_bytes);
  app::RegionOptions options;
  options.folder = folder;
  options.topology = topology;
  options.open_index = index::rocks_index_opener();
  const index::RocksOptions index_options;
  options.server.store_caches_bytes = store::DiskStoreOptions().chunk_cache_bytes + index_options.block_cache_bytes +
                                      index::kWriteBuffersMax * index_options.write_buffer_bytes;
  options.open_store = [stores](ServerId id, std::string store_folder, uint32_t servers) {
    return stores->open(id, std::move(store_folder), servers);
  };
  return options;
}

}  // namespace foreshard::cli
