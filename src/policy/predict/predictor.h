// Predictor: one expert that watches a volume's accesses and proposes what will be read next. Pure: no I/O,
// no clock; the same object runs in the live driver, in `foreshard replay` and in tests.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace foreshard::policy {

// Pages have numbers below this: more than any volume has, and so far below 2^64 that neither the sum of a page's
// number and a request's size wraps around, nor a marker at the upper end is ever a page.
inline constexpr uint64_t kPageNumbers = uint64_t{1} << 61;

// One request of a client, in pages, after it was looked up in the cache.
struct Observation {
  uint64_t time_ns = 0;
  VmId vm;
  VolumeId volume;
  uint64_t first_page = 0;
  uint32_t pages = 0;
  bool write = false;
  uint32_t missed_pages = 0;       // of a read: not in the cache
  bool hit_prefetched = false;     // a page of it was there thanks to a prefetch, first use
  uint64_t outstanding_pages = 0;  // of all reads that wait for a server, this one included
  uint64_t outstanding_requests = 0;
  uint64_t fetch_latency_ns = 0;  // what a fetch takes at present, filled in by the prefetcher; 0: not known
  float threshold = 1;            // of the probability, for a large request; filled in by the prefetcher too
};

inline bool pages_are_possible(uint64_t first_page, uint64_t pages) {
  return first_page < kPageNumbers && pages <= kPageNumbers - first_page;
}

// Whether an expert takes the observation in: a read of pages that there can be.
inline bool is_read(const Observation& observation) {
  return !observation.write && observation.pages != 0 && pages_are_possible(observation.first_page, observation.pages);
}

// Whose requests follow one another: those of a process or VM where that is known, else those of a volume.
inline uint64_t stream_of(const Observation& observation) {
  return observation.vm ? observation.vm.value : observation.volume.value;
}

// One request that may follow, or several. A page of it gets its probability from the filter, which learns what each
// context of each expert has been worth; the experts themselves judge nothing, but for what they choose.
struct Candidate {
  uint64_t first_page = 0;
  uint32_t pages = 0;
  float confidence = 0;  // probability that it is read soon, if the expert has one of its own
  uint8_t expert = 0;    // index of the expert in its set, filled in by the set
  uint8_t rank = 0;      // 0 or 1: the expert's first and second opinion, which are told apart
  uint16_t context = 0;  // what the expert knows about the proposal, as a small code of its own
  uint16_t detail = 0;   // likewise, another view of it
  // The expert has weighed it itself, by its own `confidence`: it passes no threshold, but is fetched if nothing else
  // speaks against it.
  bool is_chosen = false;
  // Where it stands for several requests of a stream at once: the pages of each; 0: it is one request.
  uint32_t request_pages = 0;
};

class Predictor {
 public:
  virtual ~Predictor() = default;
  virtual std::string_view name() const = 0;
  // Takes the observation in and appends candidates, best first. Bounded work; called for every read that
  // missed or used a prefetched page for the first time, and for writes; never for plain hits.
  virtual void observe(const Observation& observation, std::vector<Candidate>& candidates) = 0;
  // The observation comes soon: gets the memory for it on its way.
  virtual void expect(const Observation& observation) const {}
  // Likewise, a moment later: what expect() has fetched names more.
  virtual void expect_more(const Observation& observation) const {}
  // Takes in a request of the past, before the first observation. Experts of the present have no use for it.
  virtual void teach(const Observation& observation) {}
  // Upper bound of the memory it takes, for the statement of bounds.
  virtual uint64_t memory_bytes_max() const = 0;
};

}  // namespace foreshard::policy
