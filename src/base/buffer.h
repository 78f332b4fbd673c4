// Buffer: owner of page-aligned memory, fit for O_DIRECT. Freed buffers of common sizes are kept by the
// thread for reuse (bounded), since a page fault costs more than the I/O around it.
#pragma once

#include <cstddef>
#include <utility>

#include "base/bytes.h"

namespace foreshard {

class Buffer {
 public:
  Buffer() = default;
  // Contents are unspecified. The capacity is rounded up to whole pages.
  static Buffer allocate(size_t size);
  static Buffer zeroed(size_t size);
  static Buffer copy_of(ConstByteSpan bytes);
  Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Buffer() { release(); }

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  ByteSpan span() { return {data_, size_}; }
  ConstByteSpan span() const { return {data_, size_}; }
  ByteSpan subspan(size_t offset, size_t count) { return span().subspan(offset, count); }
  ConstByteSpan subspan(size_t offset, size_t count) const { return span().subspan(offset, count); }

 private:
  void release() noexcept;
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace foreshard
