#include "base/buffer.h"

#include <bit>
#include <cstdlib>
#include <vector>

#include "base/assert.h"

namespace foreshard {
namespace {

// Sizes in pages: 1 to 4, then four steps to each doubling, up to 512 (2 MiB). What is counted somewhere as pages may
// so take at most a quarter more.
constexpr size_t kStepsPerDoubling = 4;
constexpr size_t kClassCount = 32;
constexpr size_t kKeptBytesPerClassMax = 4u << 20;  // per thread
constexpr size_t kKeptBytesMax = 16u << 20;         // per thread, all classes together

// The smallest class that holds so many bytes; kClassCount or more for those that are not kept.
size_t class_of(size_t size) {
  const size_t pages = (size + kPageBytes - 1) / kPageBytes;
  if (pages <= kStepsPerDoubling) return pages - 1;
  const size_t doublings = static_cast<size_t>(std::bit_width(pages - 1)) - 3;  // of a step of one page
  return kStepsPerDoubling * (doublings + 1) + ((pages - 1) >> doublings) - kStepsPerDoubling;
}
size_t class_bytes(size_t index) {
  if (index < kStepsPerDoubling) return (index + 1) * kPageBytes;
  const size_t doublings = index / kStepsPerDoubling - 1;
  return ((index % kStepsPerDoubling + 1 + kStepsPerDoubling) << doublings) * kPageBytes;
}

// Freed buffers by size class; one per thread, emptied when the thread ends.
struct FreeLists {
  std::vector<std::byte*> lists[kClassCount];
  size_t bytes = 0;
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
    free_lists.bytes -= class_bytes(index);
    return buffer;
  }
  const size_t rounded = index < kClassCount ? class_bytes(index) : (size + kPageBytes - 1) / kPageBytes * kPageBytes;
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
  if (index < kClassCount && free_lists.lists[index].size() * class_bytes(index) < kKeptBytesPerClassMax &&
      free_lists.bytes + class_bytes(index) <= kKeptBytesMax) {
    free_lists.lists[index].push_back(data_);
    free_lists.bytes += class_bytes(index);
  } else {
    std::free(data_);
  }
  data_ = nullptr;
  size_ = 0;
}

}  // namespace foreshard
