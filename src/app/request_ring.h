// RequestRing: what a driver was asked lately, as its experts are shown it: to train models on, and to compare them.
// Of writes in a row it keeps one, since models learn no more of them than that there were some. Owner: who trains or
// compares; one thread. Memory: 48 bytes a request, as they come.
#pragma once

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "policy/predict/neural/training_data.h"
#include "policy/predict/predictor.h"

namespace foreshard::app {

class RequestRing {
 public:
  struct Request {
    uint64_t time_ns = 0;
    VmId vm;
    VolumeId volume;
    uint64_t first_page = 0;
    uint32_t pages = 0;
    bool write = false;
  };

  explicit RequestRing(uint32_t requests_max) : requests_max_(requests_max) {}
  void record(const policy::Observation& observation) {
    if (observation.pages == 0 || requests_max_ == 0) return;
    if (std::exchange(last_wrote_, observation.write) && observation.write) return;
    const Request request{observation.time_ns,    observation.vm,    observation.volume,
                          observation.first_page, observation.pages, observation.write};
    if (ring_.size() < requests_max_) {
      ring_.push_back(request);
    } else {
      ring_[recorded_ % requests_max_] = request;
    }
    ++recorded_;
  }
  uint64_t recorded() const { return recorded_; }
  // The latest, at most so many, in their order.
  std::vector<Request> latest(uint64_t requests_max) const {
    const uint64_t count = std::min<uint64_t>(requests_max, ring_.size());
    std::vector<Request> latest;
    latest.reserve(count);
    for (uint64_t i = recorded_ - count; i < recorded_; ++i) latest.push_back(ring_[i % requests_max_]);
    return latest;
  }
  uint64_t memory_bytes_max() const { return requests_max_ * sizeof(Request); }

 private:
  const uint64_t requests_max_;
  std::vector<Request> ring_;
  uint64_t recorded_ = 0;
  bool last_wrote_ = false;
};

// As models learn from them and are judged on them: the reads of each volume and VM.
inline std::vector<policy::AccessSequence> sequences_of(const std::vector<RequestRing::Request>& requests,
                                                        policy::TokenStream::Labels labels,
                                                        const policy::TrainingSplit& split, uint32_t near_pages) {
  policy::SequenceBuilder builder(policy::SymbolKind::kDelta, 0);
  std::map<std::pair<uint64_t, uint64_t>, uint32_t> streams;
  for (const RequestRing::Request& one : requests) {
    const auto stream = static_cast<uint32_t>(streams.size());
    const auto known = streams.try_emplace({one.vm.value, one.volume.value}, stream).first;
    policy::Access access;
    access.time_ns = one.time_ns;
    access.position = one.first_page;
    access.pages = std::min(one.pages, policy::kLengthPagesMax);
    builder.add(known->second, access, one.write);
  }
  std::vector<policy::AccessSequence> sequences;
  builder.finish(labels, split, near_pages, sequences);
  return sequences;
}

}  // namespace foreshard::app
