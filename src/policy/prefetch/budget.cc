#include "policy/prefetch/budget.h"

namespace foreshard::policy {
namespace {

constexpr double kTokensFirst = 64;
constexpr double kTokensMax = 8192;
constexpr double kPrecisionStep = 1.0 / 1024;
constexpr uint64_t kOutcomesFirst = 128;     // before them precision is not known
constexpr uint64_t kOutcomesMax = 1u << 30;  // that are taken over: more say no more
constexpr double kThresholdStep = 1.0 / 8192;
constexpr double kThresholdMax = 1.3;

}  // namespace

BudgetSettings budget_settings(PrefetchBudget budget) {
  if (budget == PrefetchBudget::kFrugal) {
    return {.threshold = 0.7, .small_share = 0.5, .precision_min = 0.7, .waste_share_max = 0.25};
  }
  return {.threshold = 0.6, .precision_min = 0.35, .waste_share_max = 1.0};
}

std::string_view prefetch_budget_name(PrefetchBudget budget) {
  return budget == PrefetchBudget::kFrugal ? "frugal" : "normal";
}

void Threshold::learn(bool used) {
  ++outcomes_;
  const double step = std::max(kPrecisionStep, 1.0 / static_cast<double>(outcomes_));
  precision_ += ((used ? 1.0 : 0.0) - precision_) * step;
  if (outcomes_ < kOutcomesFirst) return;
  value_ += (precision_min_ - precision_) * kThresholdStep * 2;
  value_ = std::clamp(value_, base_, kThresholdMax);
}

void Threshold::restore(double value, double precision, uint64_t outcomes) {
  if (!(value >= 0 && value <= kThresholdMax && precision >= 0 && precision <= 1)) return;
  value_ = std::clamp(value, base_, kThresholdMax);
  precision_ = precision;
  outcomes_ = std::min(outcomes, kOutcomesMax);
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
