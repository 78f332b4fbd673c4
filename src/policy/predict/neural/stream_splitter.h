// StreamSplitter: tells apart the streams that are interleaved in a volume's requests, by nearness: a request goes on
// the stream whose last request ended nearest to its start, within near_pages on either side, or begins a new one in
// the place of the one not used for longest. Block requests only.
// Owner: a volume's tokens. Memory: 24 bytes a stream. Cost: one look at each.
#pragma once

#include <cstdint>
#include <vector>

namespace foreshard::policy {

class StreamSplitter {
 public:
  struct Choice {
    uint32_t stream = 0;
    bool fresh = false;  // what was there before has ended
  };
  // near_pages 0: everything is one stream.
  StreamSplitter(uint32_t near_pages, uint32_t streams_max)
      : near_pages_(near_pages), streams_max_(near_pages == 0 ? 1 : streams_max) {}

  Choice choose(uint64_t first_page, uint32_t pages) {
    ++clock_;
    Choice choice;
    uint64_t nearest = uint64_t{near_pages_} + 1;
    uint32_t oldest = 0;
    for (uint32_t i = 0; i < streams_.size(); ++i) {
      const uint64_t end = streams_[i].end;
      const uint64_t distance = first_page >= end ? first_page - end : end - first_page;
      if (distance < nearest || near_pages_ == 0) {
        nearest = distance;
        choice.stream = i;
      }
      if (streams_[i].used < streams_[oldest].used) oldest = i;
    }
    const bool known = !streams_.empty() && (near_pages_ == 0 || nearest <= near_pages_);
    if (!known) {
      choice.fresh = true;
      if (streams_.size() < streams_max_) {
        choice.stream = static_cast<uint32_t>(streams_.size());
        streams_.emplace_back();
      } else {
        choice.stream = oldest;
      }
    }
    streams_[choice.stream] = {first_page + pages, clock_};
    return choice;
  }
  uint32_t streams_max() const { return streams_max_; }

 private:
  struct Stream {
    uint64_t end = 0;
    uint64_t used = 0;
  };
  uint32_t near_pages_, streams_max_;
  std::vector<Stream> streams_;
  uint64_t clock_ = 0;
};

}  // namespace foreshard::policy
