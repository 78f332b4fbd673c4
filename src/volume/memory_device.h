// MemoryDevice: a sparse BlockDevice in memory, for tests and measurements of front ends. Every call ends
// without suspending, so overlapping ones are ordered by the order of their calls. What was never written,
// zeroed or discarded reads as zeros and takes no memory, page by page.
#pragma once

#include <bitset>
#include <cstdint>
#include <memory>
#include <vector>

#include "volume/block_device.h"

namespace foreshard::volume {

class MemoryDevice : public BlockDevice {
 public:
  explicit MemoryDevice(uint64_t size_bytes);
  ~MemoryDevice() override;

  uint64_t size_bytes() const override { return size_bytes_; }
  runtime::Task<Result<void>> read(uint64_t offset, ByteSpan into) override;
  runtime::Task<Result<void>> write(uint64_t offset, ConstByteSpan from, bool fua) override;
  runtime::Task<Result<void>> zero(uint64_t offset, uint64_t bytes, ZeroMode mode, bool fua) override;
  runtime::Task<Result<void>> discard(uint64_t offset, uint64_t bytes, bool fua) override;
  runtime::Task<Result<void>> flush() override;
  void prefetch(uint64_t offset, uint64_t bytes) override;
  runtime::Task<Result<std::vector<Extent>>> block_status(uint64_t offset, uint64_t bytes,
                                                          uint32_t extents_max) override;

  uint64_t allocated_bytes() const { return allocated_pages_ * kPageBytes; }
  void grow(uint64_t size_bytes);

 private:
  // A chunk's memory comes from the system page by page as it is touched.
  struct Chunk {
    std::byte* data = nullptr;
    std::bitset<kPagesPerChunk> present;  // pages that were written; the others are zeros
    std::bitset<kPagesPerChunk> kept;     // zeroed, but said to be allocated
    Chunk();
    ~Chunk();
  };
  struct Range {
    std::unique_ptr<Chunk> chunks[1024];
  };

  Chunk* find(uint64_t chunk) const;
  Chunk& make(uint64_t chunk);
  void copy_in(uint64_t offset, ConstByteSpan from);
  void clear_pages(uint64_t offset, uint64_t bytes, bool keep);
  void clear_page(uint64_t page, bool keep);
  // Data, kept or hole: what the page at this number is.
  Extent page_state(uint64_t page) const;

  uint64_t size_bytes_;
  uint64_t allocated_pages_ = 0;
  std::vector<std::unique_ptr<Range>> ranges_;  // 1 GiB each, made when first written
};

}  // namespace foreshard::volume
