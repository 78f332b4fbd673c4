// ReplyBatch: replies that will leave in one write. Headers gather in one piece of memory, payloads stay in
// their buffers; neighbours in the header memory share an iovec. A session has two: one filling, one leaving.
// Bound: a batch never holds more replies than a connection may have requests in flight.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>
#include <vector>

#include "base/assert.h"
#include "base/buffer.h"
#include "front/nbd/reply_encoding.h"
#include "front/nbd/stats.h"

namespace foreshard::front::nbd {

// What a request holds of the memory bounds until its reply has left.
struct Charge {
  uint32_t own_bytes = 0;     // of the connection's reserve
  uint32_t shared_bytes = 0;  // of the server's pool
};

// What the statistics want to know of an answered request.
struct Sample {
  uint64_t arrived_ns = 0;
  uint32_t bytes = 0;
  NbdOperation operation = NbdOperation::kRefused;
  bool failed = false;
};

class ReplyBatch {
 public:
  explicit ReplyBatch(uint32_t replies_max)
      : replies_max_(replies_max), headers_(Buffer::allocate(replies_max * ReplyHeader::kBytesMax)) {
    iovecs_.reserve(2 * replies_max);
    payloads_.reserve(replies_max);
    samples_.reserve(replies_max);
  }

  void add(ConstByteSpan header, Buffer payload, const Charge& charge, const Sample& sample) {
    ASSERT(samples_.size() < replies_max_ && header.size() <= ReplyHeader::kBytesMax, samples_.size(), header.size());
    std::byte* place = headers_.data() + header_bytes_;
    std::memcpy(place, header.data(), header.size());
    header_bytes_ += header.size();
    bytes_ += header.size() + payload.size();
    if (!iovecs_.empty() && static_cast<std::byte*>(iovecs_.back().iov_base) + iovecs_.back().iov_len == place) {
      iovecs_.back().iov_len += header.size();
    } else {
      iovecs_.push_back(iovec{place, header.size()});
    }
    if (!payload.empty()) {
      iovecs_.push_back(iovec{payload.data(), payload.size()});
      payloads_.push_back(std::move(payload));
    }
    charge_own_bytes_ += charge.own_bytes;
    charge_shared_bytes_ += charge.shared_bytes;
    samples_.push_back(sample);
  }
  void clear() {
    iovecs_.clear();
    payloads_.clear();
    samples_.clear();
    header_bytes_ = bytes_ = charge_own_bytes_ = charge_shared_bytes_ = 0;
  }

  bool empty() const { return samples_.empty(); }
  uint64_t bytes() const { return bytes_; }
  uint32_t replies() const { return static_cast<uint32_t>(samples_.size()); }
  std::span<const iovec> iovecs() const { return iovecs_; }
  std::span<const Sample> samples() const { return samples_; }
  uint64_t charge_own_bytes() const { return charge_own_bytes_; }
  uint64_t charge_shared_bytes() const { return charge_shared_bytes_; }

 private:
  uint32_t replies_max_;
  Buffer headers_;
  size_t header_bytes_ = 0;
  uint64_t bytes_ = 0;
  uint64_t charge_own_bytes_ = 0;
  uint64_t charge_shared_bytes_ = 0;
  std::vector<iovec> iovecs_;
  std::vector<Buffer> payloads_;
  std::vector<Sample> samples_;
};

}  // namespace foreshard::front::nbd
