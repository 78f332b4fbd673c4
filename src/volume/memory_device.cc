#include "volume/memory_device.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/assert.h"

namespace foreshard::volume {

using runtime::Task;

namespace {

constexpr uint64_t kChunksPerRange = 1024;

}  // namespace

MemoryDevice::Chunk::Chunk() : data(static_cast<std::byte*>(std::aligned_alloc(kPageBytes, kChunkBytes))) {
  ASSERT(data != nullptr);
}
MemoryDevice::Chunk::~Chunk() { std::free(data); }

MemoryDevice::MemoryDevice(uint64_t size_bytes) : size_bytes_(0) { grow(size_bytes); }
MemoryDevice::~MemoryDevice() = default;

void MemoryDevice::grow(uint64_t size_bytes) {
  ASSERT(size_bytes >= size_bytes_, size_bytes, size_bytes_);
  size_bytes_ = size_bytes;
  ranges_.resize((size_bytes + kChunksPerRange * kChunkBytes - 1) / (kChunksPerRange * kChunkBytes));
}

MemoryDevice::Chunk* MemoryDevice::find(uint64_t chunk) const {
  const auto& range = ranges_[chunk / kChunksPerRange];
  return range ? range->chunks[chunk % kChunksPerRange].get() : nullptr;
}

MemoryDevice::Chunk& MemoryDevice::make(uint64_t chunk) {
  auto& range = ranges_[chunk / kChunksPerRange];
  if (!range) range = std::make_unique<Range>();
  auto& place = range->chunks[chunk % kChunksPerRange];
  if (!place) place = std::make_unique<Chunk>();
  return *place;
}

Task<Result<void>> MemoryDevice::read(uint64_t offset, ByteSpan into) {
  ASSERT(offset + into.size() <= size_bytes_, offset, into.size());
  while (!into.empty()) {
    const uint64_t in_page = offset % kPageBytes;
    const size_t piece = std::min<uint64_t>(into.size(), kPageBytes - in_page);
    const uint64_t page = offset / kPageBytes % kPagesPerChunk;
    const Chunk* chunk = find(offset / kChunkBytes);
    if (chunk != nullptr && chunk->present[page]) {
      std::memcpy(into.data(), chunk->data + page * kPageBytes + in_page, piece);
    } else {
      std::memset(into.data(), 0, piece);
    }
    into = into.subspan(piece);
    offset += piece;
  }
  co_return Result<void>();
}

void MemoryDevice::copy_in(uint64_t offset, ConstByteSpan from) {
  while (!from.empty()) {
    const uint64_t in_page = offset % kPageBytes;
    const size_t piece = std::min<uint64_t>(from.size(), kPageBytes - in_page);
    const uint64_t page = offset / kPageBytes % kPagesPerChunk;
    Chunk& chunk = make(offset / kChunkBytes);
    std::byte* memory = chunk.data + page * kPageBytes;
    if (!chunk.present[page]) {
      if (piece < kPageBytes) std::memset(memory, 0, kPageBytes);
      chunk.present[page] = true;
      ++allocated_pages_;
    }
    std::memcpy(memory + in_page, from.data(), piece);
    from = from.subspan(piece);
    offset += piece;
  }
}

Task<Result<void>> MemoryDevice::write(uint64_t offset, ConstByteSpan from, bool) {
  ASSERT(offset + from.size() <= size_bytes_, offset, from.size());
  copy_in(offset, from);
  co_return Result<void>();
}

void MemoryDevice::clear_page(uint64_t page, bool keep) {
  Chunk* chunk = keep ? &make(page / kPagesPerChunk) : find(page / kPagesPerChunk);
  if (chunk == nullptr) return;
  const uint64_t index = page % kPagesPerChunk;
  if (chunk->present[index]) --allocated_pages_;
  chunk->present[index] = false;
  chunk->kept[index] = keep;
}

// The whole pages of a range that has no others.
void MemoryDevice::clear_pages(uint64_t offset, uint64_t bytes, bool keep) {
  uint64_t page = offset / kPageBytes;
  const uint64_t end = (offset + bytes) / kPageBytes;
  while (page < end) {
    if (!keep && find(page / kPagesPerChunk) == nullptr) {
      page = (page / kPagesPerChunk + 1) * kPagesPerChunk;
    } else {
      clear_page(page++, keep);
    }
  }
}

Task<Result<void>> MemoryDevice::zero(uint64_t offset, uint64_t bytes, ZeroMode mode, bool) {
  ASSERT(offset + bytes <= size_bytes_, offset, bytes);
  static constexpr std::byte kZeros[kPageBytes] = {};
  const uint64_t head = std::min(bytes, (kPageBytes - offset % kPageBytes) % kPageBytes);
  if (head > 0) copy_in(offset, ConstByteSpan(kZeros, head));
  const uint64_t middle = (bytes - head) / kPageBytes * kPageBytes;
  clear_pages(offset + head, middle, mode == ZeroMode::kKeepAllocated);
  const uint64_t tail = bytes - head - middle;
  if (tail > 0) copy_in(offset + head + middle, ConstByteSpan(kZeros, tail));
  co_return Result<void>();
}

Task<Result<void>> MemoryDevice::discard(uint64_t offset, uint64_t bytes, bool) {
  ASSERT(offset + bytes <= size_bytes_, offset, bytes);
  const uint64_t first = (offset + kPageBytes - 1) / kPageBytes * kPageBytes;
  const uint64_t end = (offset + bytes) / kPageBytes * kPageBytes;
  if (first < end) clear_pages(first, end - first, false);
  co_return Result<void>();
}

Task<Result<void>> MemoryDevice::flush() { co_return Result<void>(); }

void MemoryDevice::prefetch(uint64_t offset, uint64_t bytes) {
  ASSERT(offset + bytes <= size_bytes_, offset, bytes);
}

Extent MemoryDevice::page_state(uint64_t page) const {
  const Chunk* chunk = find(page / kPagesPerChunk);
  if (chunk == nullptr) return Extent{kChunkBytes - page % kPagesPerChunk * kPageBytes, true, true};
  const uint64_t index = page % kPagesPerChunk;
  if (chunk->present[index]) return Extent{kPageBytes, false, false};
  return Extent{kPageBytes, !chunk->kept[index], true};
}

Task<Result<std::vector<Extent>>> MemoryDevice::block_status(uint64_t offset, uint64_t bytes, uint32_t extents_max) {
  ASSERT(offset + bytes <= size_bytes_ && extents_max > 0, offset, bytes);
  std::vector<Extent> extents;
  const uint64_t end = offset + bytes;
  while (offset < end) {
    Extent state = page_state(offset / kPageBytes);
    state.bytes = std::min(state.bytes - offset % kPageBytes, end - offset);
    if (!extents.empty() && extents.back().hole == state.hole && extents.back().zero == state.zero) {
      extents.back().bytes += state.bytes;
    } else if (extents.size() == extents_max) {
      break;
    } else {
      extents.push_back(state);
    }
    offset += state.bytes;
  }
  co_return extents;
}

}  // namespace foreshard::volume
