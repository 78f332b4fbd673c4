// SequenceWindow: gives writes their sequence numbers, and knows up to which all have ended. From it comes the
// flush watermark: what had ended before a flush of every server began is durable everywhere after it (R-FLUSHMARK).
// Owner: the driver. Memory: a bit for each number since the oldest write under way.
#pragma once

#include <cstdint>
#include <deque>

#include "base/assert.h"

namespace foreshard::volume {

class SequenceWindow {
 public:
  // The next number: 1, 2, ...
  uint64_t begin() {
    ended_.push_back(false);
    return oldest_ + ended_.size() - 1;
  }
  // The write of this number has ended, whatever came of it.
  void end(uint64_t sequence) {
    ASSERT(sequence >= oldest_ && sequence - oldest_ < ended_.size(), sequence, oldest_);
    ended_[sequence - oldest_] = true;
    for (; !ended_.empty() && ended_.front(); ++oldest_) ended_.pop_front();
  }
  // Every write up to this number has ended.
  uint64_t ended_through() const { return oldest_ - 1; }

 private:
  std::deque<bool> ended_;   // of oldest_, oldest_ + 1, ...
  uint64_t oldest_ = 1;      // the oldest write under way, or the next number
};

}  // namespace foreshard::volume
