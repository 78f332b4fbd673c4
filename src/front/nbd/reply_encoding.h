// How replies look on the wire: the header of each, to be followed by its payload. Pure.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "base/buffer.h"
#include "front/nbd/request.h"
#include "volume/block_device.h"

namespace foreshard::front::nbd {

// Extents that one answer to a block status describes at most.
inline constexpr uint32_t kExtentsMax = 2048;

class ReplyHeader {
 public:
  static constexpr size_t kBytesMax = 128;

  // Success of anything but a read or a block status.
  static ReplyHeader done(const Request& request);
  // Success of a read: data_bytes of data follow.
  static ReplyHeader data(const Request& request, bool structured, size_t data_bytes);
  // Success of a read that found only zeros; nothing follows. Structured replies only.
  static ReplyHeader hole(const Request& request);
  // Success of a block status: what encode_extents gave follows.
  static ReplyHeader status(const Request& request, size_t extents_bytes);
  // The reason is told, cut to what fits, where replies are structured.
  static ReplyHeader error(const Request& request, bool structured, WireError error, std::string_view reason);

  ConstByteSpan span() const { return {bytes_, size_}; }

 private:
  template <class T>
  void append(const T& part) {
    std::memcpy(bytes_ + size_, &part, sizeof(T));
    size_ += sizeof(T);
  }
  std::byte bytes_[kBytesMax];
  size_t size_ = 0;
};

// The extents as a status chunk lists them, cut to the request's range; empty when they describe nothing.
Buffer encode_extents(const Request& request, const std::vector<volume::Extent>& extents);

}  // namespace foreshard::front::nbd
