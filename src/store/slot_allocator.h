// SlotAllocator: which slots are free. Lowest first, so that files stay dense and slots are reused. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace foreshard::store {

class SlotAllocator {
 public:
  // Slots [0, slots_max) may be handed out.
  explicit SlotAllocator(uint64_t slots_max) : slots_max_(slots_max) {}

  // The lowest free slot; nothing when all are used.
  std::optional<uint64_t> take();
  // A slot that is known to be used; false when it was already. It may lie beyond slots_max (a store that was
  // given less room than it had).
  bool take(uint64_t slot);
  void release(uint64_t slot);
  bool used(uint64_t slot) const;
  uint64_t used_count() const { return used_count_; }
  uint64_t slots_max() const { return slots_max_; }

 private:
  void set(uint64_t slot);
  const uint64_t slots_max_;
  uint64_t used_count_ = 0;
  uint64_t first_word_ = 0;  // words before it are full
  std::vector<uint64_t> words_;
};

}  // namespace foreshard::store
