#include "policy/prefetch/budget.h"

#include "policy/predict/sequential.h"

namespace foreshard::policy {
namespace {

constexpr double kTokensFirst = 64;
constexpr double kTokensMax = 8192;
constexpr double kPrecisionStep = 1.0 / 8192;
constexpr uint64_t kOutcomesFirst = 128;     // before them precision is not known
constexpr double kThresholdTaken = 1.3;      // at most that is taken over
constexpr uint64_t kOutcomesMax = 1u << 30;  // that are taken over: more say no more
constexpr double kRise = 1.0 / 4096;         // for each outcome, by how far precision is below the minimum
constexpr double kThresholdStep = 1.0 / 16384;
constexpr double kHalfShareStep = 1.0 / 8192;
constexpr double kDisplacedMin = 1e-6;

double towards(double goal, double value, double pace = 1) {
  return value + std::clamp(goal - value, -kThresholdStep * pace, kThresholdStep * pace);
}

}  // namespace

BudgetSettings budget_settings(PrefetchBudget budget) {
  if (budget == PrefetchBudget::kFrugal) {
    return {.threshold = {.first = 0.84, .least = 0.84},
            .small_share = {.first = 0.7, .least = 0.37, .most = 0.9},
            .half_pages = {},
            .precision_low = 0.76,
            .precision_high = 0.78,
            .precision_min = 0.75,
            .threshold_max = 0.95,
            .waste_share_max = 0.25};
  }
  return {.threshold = {.first = 0.62, .least = 0.45},
          .small_share = {},
          .half_pages = {.least = 1.4, .most = 8, .most_new = 2.2},
          .half_share_min = 0.7,
          .precision_low = 0.62,
          .precision_high = 0.8,
          .precision_min = 0.35,
          .threshold_max = 1.3,
          .stream_window_pages = SequentialPredictor::kWindowPagesMax,
          .waste_share_max = 1.0};
}

std::string_view prefetch_budget_name(PrefetchBudget budget) {
  return budget == PrefetchBudget::kFrugal ? "frugal" : "normal";
}

double Threshold::of(uint32_t missing, double displaced, bool read_before) const {
  const BudgetSettings::HalfPages& half = settings_.half_pages;
  // Where guesses have been bad all along, none may cost more for that.
  const double beyond = settings_.threshold_max - settings_.threshold.first;
  const double room = beyond <= 0 ? 1 : std::clamp((settings_.threshold_max - value_) / beyond, 0.0, 1.0);
  const double most = half.usual + ((read_before ? half.most : half.most_new) - half.usual) * room;
  const double pages = std::clamp(half.usual / std::max(displaced, kDisplacedMin), half.least, most) * half_share_;
  const double large = 1 + kLargeShare * std::log2(std::max(missing / kLargePages, 1.0));
  return std::min(value_ * large * std::max(missing / (pages + missing), small_share_), kSure);
}

double Threshold::precision_step() const {
  return std::max(kPrecisionStep, 1.0 / static_cast<double>(std::max<uint64_t>(outcomes_, 1)));
}

void Threshold::learn(bool used) {
  ++outcomes_;
  precision_ += ((used ? 1.0 : 0.0) - precision_) * precision_step();
  if (outcomes_ < kOutcomesFirst) return;
  double goal = settings_.threshold.first, half_step = kHalfShareStep;
  if (precision_ > settings_.precision_high) {
    goal = settings_.threshold.least;
    small_share_ = towards(settings_.small_share.least, small_share_);
  } else if (precision_ < settings_.precision_low) {
    half_step = -kHalfShareStep;
    small_share_ = towards(settings_.small_share.most, small_share_);
  }
  half_share_ = std::clamp(half_share_ + half_step, settings_.half_share_min, 1.0);
  if (precision_ < settings_.precision_min) {
    value_ =
        std::min(value_ + (settings_.precision_min - precision_) * kRise * settings_.pace, settings_.threshold_max);
  } else {
    value_ = towards(goal, value_, settings_.pace);
  }
}

void Threshold::revise() { precision_ = std::min(precision_ + precision_step(), 1.0); }

void Threshold::restore(double value, double precision, uint64_t outcomes) {
  if (!(value >= 0 && value <= kThresholdTaken && precision >= 0 && precision <= 1)) return;
  value_ = std::clamp(value, settings_.threshold.least, settings_.threshold_max);
  precision_ = precision;
  outcomes_ = std::min(outcomes, kOutcomesMax);
  if (outcomes_ >= kOutcomesFirst && precision < settings_.precision_low) half_share_ = settings_.half_share_min;
}

WasteBudget::WasteBudget(double share) : share_(share), tokens_(share > 0 ? kTokensFirst : 0) {}

void WasteBudget::earn(uint64_t demand_pages) {
  tokens_ = std::min(tokens_ + share_ * static_cast<double>(demand_pages), std::max(tokens_, kTokensMax));
}

uint64_t WasteBudget::affordable(double probability, uint64_t open_pages) const {
  const double cost = std::max(1 - probability, 1e-3);
  const double free = tokens_ - cost * static_cast<double>(open_pages);
  return free <= 0 ? 0 : static_cast<uint64_t>(std::min(free / cost, 4e9));
}

}  // namespace foreshard::policy
