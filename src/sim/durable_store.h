// DurableStore: a chunk store that never forgets: a process's handle on a MemoryStore that the host keeps. For runs
// that are to find out what lies above the store (simulate --store memory).
#pragma once

#include "store/memory_store.h"

namespace foreshard::sim {

class DurableStore final : public store::ChunkStore {
 public:
  using Pages = store::PageMap;
  explicit DurableStore(store::MemoryStore& kept) : kept_(kept) {}

  StoreUuid uuid() const override { return kept_.uuid(); }
  uint64_t loss() const override { return kept_.loss(); }
  bool incomplete() const override { return false; }
  runtime::Task<Result<void>> settle_incomplete() override { return kept_.settle_incomplete(); }
  runtime::Task<Result<Pages>> read(store::ChunkKey key, uint32_t first_page, ByteSpan into) override {
    return kept_.read(key, first_page, into);
  }
  runtime::Task<Result<void>> write(store::ChunkKey key, store::Version version, uint32_t first_page,
                                    ConstByteSpan data, const store::WriteGuard& guard) override {
    return kept_.write(key, version, first_page, data, guard);
  }
  runtime::Task<Result<void>> zero(store::ChunkKey key, store::Version version, uint32_t first_page, uint32_t pages,
                                   const store::WriteGuard& guard) override {
    return kept_.zero(key, version, first_page, pages, guard);
  }
  runtime::Task<Result<void>> flush() override { return kept_.flush(); }
  runtime::Task<Result<Pages>> states(store::ChunkKey key) override { return kept_.states(key); }
  runtime::Task<Result<store::Version>> version(store::ChunkKey key) override { return kept_.version(key); }
  runtime::Task<Result<void>> erase(VolumeId volume, uint64_t first_chunk, uint64_t chunks) override {
    return kept_.erase(volume, first_chunk, chunks);
  }
  runtime::Task<Result<void>> put_notes(std::vector<Note> notes) override { return kept_.put_notes(std::move(notes)); }
  runtime::Task<Result<std::vector<Note>>> notes(std::string prefix) override { return kept_.notes(std::move(prefix)); }
  runtime::Task<Result<store::ScrubPart>> scrub(store::ChunkKey begin, store::ChunkKey end, uint64_t bytes_per_second,
                                                runtime::Signal* stop) override {
    return kept_.scrub(begin, end, bytes_per_second, stop);
  }
  bool failed() const override { return kept_.failed(); }
  std::vector<store::VolumeUsage> usage() const override { return kept_.usage(); }
  store::StoreStats stats() const override { return kept_.stats(); }
  runtime::Task<Result<void>> close() override { return kept_.flush(); }

 private:
  store::MemoryStore& kept_;
};

}  // namespace foreshard::sim
