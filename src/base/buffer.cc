#include "base/buffer.h"

#include <bit>
#include <cstdlib>
#include <vector>

#include "base/assert.h"

namespace foreshard {
namespace {

constexpr size_t kClassCount = 10;                      // 4 KiB ... 2 MiB
constexpr size_t kKeptBytesPerClassMax = 4u << 20;      // per thread

size_t class_of(size_t size) {
  const size_t pages = (size + kPageBytes - 1) / kPageBytes;
  return static_cast<size_t>(std::bit_width(pages - 1));
}
size_t class_bytes(size_t index) { return kPageBytes << index; }

// Freed buffers by size class; one per thread, emptied when the thread ends.
struct FreeLists {
  std::vector<std::byte*> lists[kClassCount];
  ~FreeLists() {
    for (auto& list : lists)
      for (std::byte* p : list) std::free(p);
  }
};
thread_local FreeLists free_lists;

}  // namespace

Buffer Buffer::allocate(size_t size) {
  Buffer buffer;
  if (size == 0) return buffer;
  const size_t index = class_of(size);
  buffer.size_ = size;
  if (index < kClassCount && !free_lists.lists[index].empty()) {
    buffer.data_ = free_lists.lists[index].back();
    free_lists.lists[index].pop_back();
    return buffer;
  }
  const size_t rounded =
      index < kClassCount ? class_bytes(index) : (size + kPageBytes - 1) / kPageBytes * kPageBytes;
  buffer.data_ = static_cast<std::byte*>(std::aligned_alloc(kPageBytes, rounded));
  ASSERT(buffer.data_ != nullptr, size);
  return buffer;
}

Buffer Buffer::zeroed(size_t size) {
  Buffer buffer = allocate(size);
  if (size != 0) std::memset(buffer.data_, 0, size);
  return buffer;
}

Buffer Buffer::copy_of(ConstByteSpan bytes) {
  Buffer buffer = allocate(bytes.size());
  if (!bytes.empty()) std::memcpy(buffer.data_, bytes.data(), bytes.size());
  return buffer;
}

void Buffer::release() noexcept {
  if (data_ == nullptr) return;
  const size_t index = class_of(size_);
  if (index < kClassCount && free_lists.lists[index].size() * class_bytes(index) < kKeptBytesPerClassMax) {
    free_lists.lists[index].push_back(data_);
  } else {
    std::free(data_);
  }
  data_ = nullptr;
  size_ = 0;
}

}  // namespace foreshard
