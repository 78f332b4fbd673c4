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
// is read soon, which differs from whether a prefetched page is used before it leaves; and single pages, of which there
// are many guesses to choose from, come true less often than what is chosen of requests of many pages. So by bins of
// the probability, and on top of that by the size of the request, each believing what is above it until it has seen
// enough, and forgetting. The pages of a request come out alike: all n of them count like n^.4 single ones in what is
// common to all sizes, and like one within their size.
class Recalibration {
 public:
  static constexpr uint32_t kBins = 16;
  static constexpr uint32_t kSizes = 10;  // by bit width of the pages, the largest ones together
  struct Bin {
    double samples = 0;
    double bias = 0;
  };
  using Bins = std::array<Bin, kBins>;
  struct Learned {
    Bins common{};                     // to all sizes
    std::array<Bins, kSizes> sized{};  // on top of it
  };

  // All of the same page: what the filter said, the bit width of the pages of its request, and what came of it.
  // `for_all`: the others of its request are not followed, and it stands for them.
  void learn(double probability, uint32_t pages_width, bool used, bool for_all = false) {
    const double outcome = used ? 1.0 : 0.0;
    const uint32_t size = size_of(pages_width);
    const double pages = for_all ? 1 / kSizedShares[size] : 1;
    teach(learned_.sized[size][place(probability)], kSizedShares[size] * pages, outcome - common(probability),
          kSizedMemory);
    teach(learned_.common[place(probability)], kCommonShares[size] * pages, outcome - probability, kMemory);
  }
  // One taught as not used was used after all.
  void revise(double probability, uint32_t pages_width, bool for_all = false) {
    const uint32_t size = size_of(pages_width);
    const double pages = for_all ? 1 / kSizedShares[size] : 1;
    amend(learned_.sized[size][place(probability)], kSizedShares[size] * pages);
    amend(learned_.common[place(probability)], kCommonShares[size] * pages);
  }
  double correct(double probability, uint32_t pages_width) const {
    const Bin& sized = learned_.sized[size_of(pages_width)][place(probability)];
    return std::clamp(common(probability) + believed(sized, kSizedDoubt), 0.0, 1.0);
  }
  const Learned& learned() const { return learned_; }
  // What makes no sense is left out.
  void restore(const Learned& learned) {
    for (uint32_t i = 0; i < kBins; ++i) {
      learned_.common[i] = sound(learned.common[i], kMemory);
      for (uint32_t size = 0; size < kSizes; ++size)
        learned_.sized[size][i] = sound(learned.sized[size][i], kSizedMemory);
    }
  }

 private:
  static constexpr double kMemory = 5000, kDoubt = 150;
  static constexpr double kSizedMemory = 3000, kSizedDoubt = 90;

  // For how many single pages a page counts: n^-.6 and 1/n, where n is the least of that width.
  static constexpr std::array<double, kSizes> kCommonShares = {1,      1,      0.6598, 0.4353, 0.2872,
                                                               0.1895, 0.1250, 0.0825, 0.0544, 0.0359};
  static constexpr std::array<double, kSizes> kSizedShares = {1,        1,        1.0 / 2,  1.0 / 4,   1.0 / 8,
                                                              1.0 / 16, 1.0 / 32, 1.0 / 64, 1.0 / 128, 1.0 / 256};

  static uint32_t place(double probability) { return std::min(static_cast<uint32_t>(probability * kBins), kBins - 1); }
  static uint32_t size_of(uint32_t pages_width) { return std::min(pages_width, kSizes - 1); }
  static Bin sound(const Bin& bin, double memory) {
    const bool is_sound = bin.samples >= 0 && std::abs(bin.bias) <= 1;
    return is_sound ? Bin{std::min(bin.samples, memory), bin.bias} : Bin{};
  }
  static double believed(const Bin& bin, double doubt) { return bin.bias * bin.samples / (bin.samples + doubt); }
  double common(double probability) const {
    return std::clamp(probability + believed(learned_.common[place(probability)], kDoubt), 0.0, 1.0);
  }
  static void teach(Bin& bin, double share, double wrong, double memory) {
    bin.samples = std::min(bin.samples + share, memory);
    bin.bias += share / std::max(bin.samples, share) * (wrong - bin.bias);
  }
  static void amend(Bin& bin, double share) {
    bin.bias = std::min(bin.bias + share / std::max(bin.samples, share), 1.0);
  }

  Learned learned_;
};

}  // namespace foreshard::policy
