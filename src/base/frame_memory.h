// FrameMemory: memory for coroutine frames, of which the data path makes a dozen a request, many of them larger than
// what malloc keeps at hand. Freed frames are kept by the thread, by size, for the next of that size; a thread that
// ends gives its own back. Inherit it from a promise type.
#pragma once

#include <cstddef>

namespace foreshard {

struct FrameMemory {
  static void* operator new(size_t size);
  static void operator delete(void* memory, size_t size) noexcept;
};

}  // namespace foreshard
