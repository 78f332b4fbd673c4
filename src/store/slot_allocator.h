// SlotAllocator: which slots are free, and how many each volume has. Lowest first, so that files stay dense and slots
// are reused. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "base/ids.h"

namespace foreshard::store {

class SlotAllocator {
 public:
  // Whose slots are that nobody has, or whose record cannot be read.
  static constexpr VolumeId kNoOwner{0};

  // Slots [0, slots_max) may be handed out.
  explicit SlotAllocator(uint64_t slots_max) : slots_max_(slots_max) {}

  // The lowest free slot; nothing when all are used.
  std::optional<uint64_t> take(VolumeId owner);
  // A slot that is known to be used; false when it was already. It may lie beyond slots_max (a store that was
  // given less room than it had).
  bool take(uint64_t slot, VolumeId owner);
  void release(uint64_t slot, VolumeId owner);
  bool used(uint64_t slot) const;
  uint64_t used_count() const { return used_count_; }
  uint64_t slots_max() const { return slots_max_; }
  const std::map<VolumeId, uint64_t>& used_by() const { return used_by_; }

 private:
  void set(uint64_t slot, VolumeId owner);
  const uint64_t slots_max_;
  uint64_t used_count_ = 0;
  uint64_t first_word_ = 0;  // words before it are full
  std::vector<uint64_t> words_;
  std::map<VolumeId, uint64_t> used_by_;
};

}  // namespace foreshard::store
