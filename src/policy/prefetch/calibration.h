// Calibration: whether stated probabilities come true. Of every prefetched page it is told the probability that was
// stated and what came of it, and gives the reliability curve, the expected calibration error (the mean distance of
// stated and true share over the bins, weighted by their pages) and the Brier score, beside that of always stating
// the base rate. Owner: the Prefetcher. Plain arithmetic.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

namespace foreshard::policy {

struct CalibrationBin {
  uint64_t pages = 0;
  uint64_t used = 0;
  double stated = 0;  // sum
};

class Calibration {
 public:
  static constexpr uint32_t kBins = 20;

  void add(double stated, bool used) {
    const double clamped = std::clamp(stated, 0.0, 1.0);
    CalibrationBin& bin = bins_[std::min<uint32_t>(static_cast<uint32_t>(clamped * kBins), kBins - 1)];
    ++bin.pages;
    bin.used += used;
    bin.stated += clamped;
    ++pages_;
    used_ += used;
    const double wrong = (used ? 1.0 : 0.0) - clamped;
    squares_ += wrong * wrong;
  }
  // A page added as not used was used after all.
  void revise(double stated) {
    const double clamped = std::clamp(stated, 0.0, 1.0);
    ++bins_[std::min<uint32_t>(static_cast<uint32_t>(clamped * kBins), kBins - 1)].used;
    ++used_;
    squares_ += (1 - clamped) * (1 - clamped) - clamped * clamped;
  }
  uint64_t pages() const { return pages_; }
  double ece() const {
    double wrong = 0;
    for (const CalibrationBin& bin : bins_) wrong += std::abs(bin.stated - static_cast<double>(bin.used));
    return pages_ == 0 ? 0 : wrong / static_cast<double>(pages_);
  }
  double brier() const { return pages_ == 0 ? 0 : squares_ / static_cast<double>(pages_); }
  double brier_base() const {
    const double rate = pages_ == 0 ? 0 : static_cast<double>(used_) / static_cast<double>(pages_);
    return rate * (1 - rate);
  }
  const std::array<CalibrationBin, kBins>& bins() const { return bins_; }

 private:
  std::array<CalibrationBin, kBins> bins_{};
  uint64_t pages_ = 0, used_ = 0;
  double squares_ = 0;
};

// Recalibration: corrects probabilities by what came of those stated before: the filter is taught with whether a page
// is read soon, which differs from whether a prefetched page is used before it leaves. By bins of the probability, each
// forgetting, and believing the filter until it has seen enough.
class Recalibration {
 public:
  static constexpr uint32_t kBins = 16;
  struct Bin {
    double samples = 0;
    double bias = 0;
  };
  using Bins = std::array<Bin, kBins>;

  // Both of the same page: what the filter said, and what came of it.
  void learn(double probability, bool used) {
    Bin& bin = bins_[place(probability)];
    bin.samples = std::min(bin.samples + 1, kMemory);
    bin.bias += ((used ? 1.0 : 0.0) - probability - bin.bias) / bin.samples;
  }
  // One taught as not used was used after all.
  void revise(double probability) {
    Bin& bin = bins_[place(probability)];
    bin.bias += 1 / std::max(bin.samples, 1.0);
  }
  double correct(double probability) const {
    const Bin& bin = bins_[place(probability)];
    return std::clamp(probability + bin.bias * bin.samples / (bin.samples + kDoubt), 0.0, 1.0);
  }
  const Bins& bins() const { return bins_; }
  void restore(const Bins& bins) {
    for (uint32_t i = 0; i < kBins; ++i) {
      const bool sound = bins[i].samples >= 0 && bins[i].samples <= kMemory && std::abs(bins[i].bias) <= 1;
      bins_[i] = sound ? bins[i] : Bin{};
    }
  }

 private:
  static constexpr double kMemory = 8000, kDoubt = 96;
  static uint32_t place(double probability) { return std::min(static_cast<uint32_t>(probability * kBins), kBins - 1); }
  Bins bins_{};
};

}  // namespace foreshard::policy
