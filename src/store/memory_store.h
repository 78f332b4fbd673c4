// MemoryStore: the chunk store in memory, for tests and simulation of what lies above. It forgets everything
// with its destruction; flush and close do nothing. Every call ends without suspending, so calls are applied
// in their order.
#pragma once

#include <map>
#include <memory>

#include "base/buffer.h"
#include "store/chunk_store.h"

namespace foreshard::store {

class MemoryStore : public ChunkStore {
 public:
  MemoryStore(StoreUuid uuid, uint64_t capacity_bytes) : uuid_(uuid), capacity_bytes_(capacity_bytes) {}

  StoreUuid uuid() const override { return uuid_; }
  uint64_t loss() const override { return 1; }
  bool incomplete() const override { return false; }
  runtime::Task<Result<void>> settle_incomplete() override;
  runtime::Task<Result<PageMap>> read(ChunkKey key, uint32_t first_page, ByteSpan into) override;
  runtime::Task<Result<void>> write(ChunkKey key, Version version, uint32_t first_page, ConstByteSpan data,
                                    const WriteGuard& guard) override;
  runtime::Task<Result<void>> zero(ChunkKey key, Version version, uint32_t first_page, uint32_t pages,
                                   const WriteGuard& guard) override;
  runtime::Task<Result<void>> flush() override;
  runtime::Task<Result<PageMap>> states(ChunkKey key) override;
  runtime::Task<Result<Version>> version(ChunkKey key) override;
  runtime::Task<Result<void>> erase(VolumeId volume, uint64_t first_chunk, uint64_t chunks) override;
  runtime::Task<Result<void>> put_notes(std::vector<Note> notes) override;
  runtime::Task<Result<std::vector<Note>>> notes(std::string prefix) override;
  runtime::Task<Result<ScrubPart>> scrub(ChunkKey begin, ChunkKey end, uint64_t bytes_per_second,
                                         runtime::Signal* stop) override;
  std::vector<VolumeUsage> usage() const override;
  StoreStats stats() const override;
  bool failed() const override { return false; }
  runtime::Task<Result<void>> close() override;

 private:
  struct Chunk {
    PageMap map;
    Version version;
    std::array<Buffer, kPagesPerChunk> pages;  // of the data pages
  };
  Result<void> admit(const WriteGuard* guard, uint32_t first_page, uint64_t pages) const;

  const StoreUuid uuid_;
  const uint64_t capacity_bytes_;
  std::map<ChunkKey, Chunk> chunks_;
  std::map<std::string, std::string> notes_;
  StoreStats stats_;
  bool closed_ = false;
};

}  // namespace foreshard::store
