#include "policy/prefetch/budget.h"

#include <algorithm>

namespace foreshard::policy {
namespace {

constexpr uint32_t kPriorSamples = 32;    // what the first belief weighs
constexpr uint32_t kMemorySamples = 512;  // outcomes come in bursts of a window's pages: remember some dozens of them
constexpr double kReopenMargin = 0.03;
constexpr double kHopelessBelow = 0.02;
constexpr float kBelievedFrom = 0.4f;
constexpr double kTokensFirst = 256;
constexpr double kTokensMax = 8192;

}  // namespace

PrecisionGates::PrecisionGates(double precision_min) : precision_min_(precision_min) {
  for (uint32_t i = 0; i < gates_.size(); ++i) {
    const double stated = (i % kBuckets + 0.5) / kBuckets;
    gates_[i].precision = stated;
    gates_[i].open = stated >= kBelievedFrom && stated >= precision_min;
  }
}

void PrecisionGates::learn(const PrefetchLedger::Outcome& outcome) {
  Gate& gate = gates_[outcome.expert * kBuckets + outcome.bucket];
  gate.samples = std::min(gate.samples + 1, kMemorySamples - kPriorSamples);
  gate.precision += ((outcome.used ? 1.0 : 0.0) - gate.precision) / (gate.samples + kPriorSamples);
  if (gate.open && gate.precision < precision_min_) {
    gate.open = false;
    ++stops_;
  } else if (!gate.open && gate.samples >= kPriorSamples && gate.precision >= precision_min_ + kReopenMargin) {
    gate.open = true;
    ++starts_;
  }
}

bool PrecisionGates::hopeless(uint8_t expert, uint8_t bucket) const {
  const Gate& known = gate(expert, bucket);
  return !known.open && known.samples == kMemorySamples - kPriorSamples && known.precision < kHopelessBelow;
}

bool PrecisionGates::any_open(uint8_t expert) const {
  for (uint8_t bucket = 0; bucket < kBuckets; ++bucket) {
    if (open(expert, bucket)) return true;
  }
  return false;
}

WasteBudget::WasteBudget(double share) : share_(share), tokens_(share > 0 ? kTokensFirst : 0) {}

void WasteBudget::earn(uint64_t demand_pages) {
  tokens_ = std::min(tokens_ + share_ * static_cast<double>(demand_pages), std::max(tokens_, kTokensMax));
}

uint64_t WasteBudget::affordable(double precision, uint64_t open_pages) const {
  const double cost = std::max(1 - precision, 1e-3);
  const double free = tokens_ - cost * static_cast<double>(open_pages);
  return free <= 0 ? 0 : static_cast<uint64_t>(std::min(free / cost, 4e9));
}

}  // namespace foreshard::policy
