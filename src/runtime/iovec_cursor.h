// IovecCursor: walks through a list of pieces of memory that are taken in parts. Copies at most
// kBatch entries at a time, so that the caller's list stays as it is and may be longer than IOV_MAX.
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "base/assert.h"

namespace foreshard::runtime {

class IovecCursor {
 public:
  static constexpr size_t kBatch = 1024;  // IOV_MAX of Linux

  // The list must live until the cursor is at its end or reset.
  void reset(std::span<const iovec> pieces) {
    pieces_ = pieces;
    skipped_ = 0;
    skip_empty();
  }
  bool at_end() const { return pieces_.empty(); }
  iovec front() const {
    return {static_cast<std::byte*>(pieces_[0].iov_base) + skipped_, pieces_[0].iov_len - skipped_};
  }
  // What comes next, at most kBatch pieces; valid until advance() or reset().
  std::span<iovec> next() {
    const size_t count = std::min(pieces_.size(), kBatch);
    batch_.assign(pieces_.begin(), pieces_.begin() + static_cast<ptrdiff_t>(count));
    if (count > 0) {
      batch_[0] = front();
    }
    return batch_;
  }
  // Goes on by so many bytes; whether any are left.
  bool advance(size_t bytes) {
    while (bytes > 0) {
      ASSERT(!pieces_.empty(), bytes);
      const size_t left = pieces_[0].iov_len - skipped_;
      if (bytes < left) {
        skipped_ += bytes;
        return true;
      }
      bytes -= left;
      skipped_ = 0;
      pieces_ = pieces_.subspan(1);
    }
    skip_empty();
    return !pieces_.empty();
  }

 private:
  void skip_empty() {
    while (!pieces_.empty() && pieces_[0].iov_len == skipped_) {
      pieces_ = pieces_.subspan(1);
      skipped_ = 0;
    }
  }
  std::span<const iovec> pieces_;
  size_t skipped_ = 0;  // bytes of the first piece that are done
  std::vector<iovec> batch_;
};

}  // namespace foreshard::runtime
