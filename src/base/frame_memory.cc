#include "base/frame_memory.h"

#include <new>

namespace foreshard {
namespace {

// Sanitizers are to see every frame's end.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define FORESHARD_FRAMES_NOT_KEPT 1
#endif
#endif

#ifndef FORESHARD_FRAMES_NOT_KEPT

constexpr size_t kStepBytes = 64;
constexpr size_t kClasses = 64;  // up to 4 KiB
constexpr size_t kKeptPerClassMax = 512;

struct Kept {
  Kept* next;
};

struct KeptFrames {
  Kept* first[kClasses] = {};
  size_t count[kClasses] = {};
  ~KeptFrames() {
    for (Kept*& list : first) {
      while (list != nullptr) {
        Kept* const frame = list;
        list = frame->next;
        ::operator delete(frame);
      }
    }
  }
};
thread_local KeptFrames kept;

size_t class_of(size_t size) { return (size + kStepBytes - 1) / kStepBytes - 1; }

#endif

}  // namespace

#ifdef FORESHARD_FRAMES_NOT_KEPT

void* FrameMemory::operator new(size_t size) { return ::operator new(size); }
void FrameMemory::operator delete(void* memory, size_t) noexcept { ::operator delete(memory); }

#else

void* FrameMemory::operator new(size_t size) {
  const size_t index = class_of(size);
  if (index >= kClasses) return ::operator new(size);
  if (kept.first[index] == nullptr) return ::operator new((index + 1) * kStepBytes);
  Kept* const frame = kept.first[index];
  kept.first[index] = frame->next;
  --kept.count[index];
  return frame;
}

void FrameMemory::operator delete(void* memory, size_t size) noexcept {
  const size_t index = class_of(size);
  if (index >= kClasses || kept.count[index] >= kKeptPerClassMax) return ::operator delete(memory);
  Kept* const frame = new (memory) Kept{kept.first[index]};
  kept.first[index] = frame;
  ++kept.count[index];
}

#endif

}  // namespace foreshard
