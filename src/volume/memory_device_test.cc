// Proves that MemoryDevice holds what a plain array would hold under random operations, and that what it calls
// zero or a hole reads as zeros.
#include "volume/memory_device.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace foreshard::volume {
namespace {

// The device never suspends, so a task has ended when its root returns.
struct Inline {
  struct promise_type {
    Inline get_return_object() { return {}; }
    std::suspend_never initial_suspend() { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};
template <class T>
Inline await_into(runtime::Task<T> task, std::optional<T>* result) {
  T value = co_await task;
  result->emplace(std::move(value));
}
template <class T>
auto finish(runtime::Task<T> task) {
  std::optional<T> result;
  await_into(std::move(task), &result);
  EXPECT_TRUE(result.has_value() && result->has_value());
  return std::move(**result);
}
void finish(runtime::Task<Result<void>> task) {
  std::optional<Result<void>> result;
  await_into(std::move(task), &result);
  EXPECT_TRUE(result.has_value() && result->has_value());
}

TEST(MemoryDevice, MatchesAnArray) {
  constexpr uint64_t kSize = (3 << 20) + 512;
  Random random(7);
  MemoryDevice device(kSize);
  std::vector<std::byte> model(kSize);
  for (int step = 0; step < 3000; ++step) {
    const uint64_t bytes = 1 + random.below(random.chance(0.1) ? 1'000'000 : 20'000);
    const uint64_t offset = random.below(kSize - bytes + 1);
    std::vector<std::byte> data(bytes, static_cast<std::byte>(1 + random.below(255)));
    switch (random.below(5)) {
      case 0:
      case 1:
        finish(device.write(offset, data, false));
        std::copy(data.begin(), data.end(), model.begin() + offset);
        break;
      case 2: {
        const bool keep = random.chance(0.3);
        finish(device.zero(offset, bytes, keep ? ZeroMode::kKeepAllocated : ZeroMode::kMayUnmap, false));
        std::fill_n(model.begin() + offset, bytes, std::byte{0});
        break;
      }
      case 3: {
        finish(device.discard(offset, bytes, false));
        const uint64_t first = (offset + 4095) / 4096 * 4096, end = (offset + bytes) / 4096 * 4096;
        if (first < end) std::fill(model.begin() + first, model.begin() + end, std::byte{0});
        break;
      }
      default:
        finish(device.read(offset, data));
        ASSERT_TRUE(std::equal(data.begin(), data.end(), model.begin() + offset)) << "step " << step;
    }
    if (step % 50 != 0) continue;
    const std::vector<Extent> extents = finish(device.block_status(offset, bytes, 1000));
    uint64_t at = offset;
    for (const Extent& extent : extents) {
      if (extent.zero) { ASSERT_TRUE(is_all_zero(ConstByteSpan(model).subspan(at, extent.bytes))); }
      at += extent.bytes;
    }
    ASSERT_EQ(at, offset + bytes);
  }
}

TEST(MemoryDevice, HugeAndThinTakesNoMemory) {
  MemoryDevice device(uint64_t{16} << 40);
  std::vector<std::byte> page(4096, std::byte{5});
  finish(device.write((uint64_t{15} << 40) + 4096, page, false));
  EXPECT_EQ(device.allocated_bytes(), 4096u);
  const std::vector<Extent> extents = finish(device.block_status(uint64_t{15} << 40, 1 << 20, 16));
  ASSERT_EQ(extents.size(), 3u);
  EXPECT_TRUE(extents[0].hole && extents[0].zero);
  EXPECT_FALSE(extents[1].hole);
  EXPECT_EQ(extents[1].bytes, 4096u);
  finish(device.zero(uint64_t{15} << 40, 8192, ZeroMode::kKeepAllocated, false));
  const std::vector<Extent> kept = finish(device.block_status(uint64_t{15} << 40, 4096, 16));
  EXPECT_TRUE(!kept[0].hole && kept[0].zero);
  EXPECT_EQ(device.allocated_bytes(), 0u);
}

}  // namespace
}  // namespace foreshard::volume
