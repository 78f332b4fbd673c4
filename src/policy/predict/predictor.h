// Predictor: one expert that watches a volume's accesses and proposes what will be read next. Pure: no I/O,
// no clock; the same object runs in the live driver, in `foreshard replay` and in tests.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace foreshard::policy {

// One request of a client, in pages, after it was looked up in the cache.
struct Observation {
  uint64_t time_ns = 0;
  VmId vm;
  VolumeId volume;
  uint64_t first_page = 0;
  uint32_t pages = 0;
  bool write = false;
  uint32_t missed_pages = 0;         // of a read: not in the cache
  bool hit_prefetched = false;       // a page of it was there thanks to a prefetch, first use
  uint64_t outstanding_pages = 0;    // of all reads that wait for a server, this one included
};

struct Candidate {
  uint64_t first_page = 0;
  uint32_t pages = 0;
  float confidence = 0;  // probability that it is read soon, as the expert believes
  uint8_t expert = 0;    // index of the expert in its set, filled in by the set
};

class Predictor {
 public:
  virtual ~Predictor() = default;
  virtual std::string_view name() const = 0;
  // Takes the observation in and appends candidates, best first. Bounded work; called for every read that
  // missed or used a prefetched page for the first time, and for writes; never for plain hits.
  virtual void observe(const Observation& observation, std::vector<Candidate>& candidates) = 0;
  // Upper bound of the memory it takes, for the statement of bounds.
  virtual uint64_t memory_bytes_max() const = 0;
};

}  // namespace foreshard::policy
