// The brakes of prefetching. Threshold says how probable a page must be to be fetched; it goes down while nearly all
// that is fetched is used, and up while too little is, slowly and within bounds, since outcomes come late and in
// bursts. WasteBudget bounds what may be wasted in all. Owner: the Prefetcher. Plain arithmetic, no clock.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string_view>

namespace foreshard::policy {

// What a volume may spend: normal looks for the fewest misses, frugal wants three of four fetched pages used.
enum class PrefetchBudget : uint8_t { kNormal, kFrugal };

struct BudgetSettings {
  // Of the probability, for a large request: where it begins, and goes back to while precision is not above
  // precision_high.
  struct Level {
    double first = 0;
    double least = 0;
  };
  Level threshold;
  // Of that, at least, for a small one: where it begins, and how far it goes above precision_high and below
  // precision_low; stays in between.
  struct Range {
    double first = 0;
    double least = 0;
    double most = 0;
  };
  Range small_share;
  // A request that lacks so many pages is asked for half of the threshold: `usual` of them where what makes room is
  // worth what it usually is, in proportion fewer where it is worth more, and more where it is worth less.
  struct HalfPages {
    double usual = 2, least = 2;
    double most = 2, most_new = 2;  // the second for what was not read before: most of that is read once only
  };
  HalfPages half_pages;
  double half_share_min = 1;  // of that, while precision is low: so guesses go first, and large requests stay
  double precision_low = 0, precision_high = 1;
  double precision_min = 0;  // below it the threshold rises beyond all that, up to threshold_max
  double threshold_max = 0;
  double pace = 1;                   // of the threshold for large requests
  uint32_t stream_window_pages = 0;  // that a young stream looks ahead; more guesses (SequentialPredictor)
  double waste_share_max = 0;        // wasted pages as a share of the pages that the client read
};
BudgetSettings budget_settings(PrefetchBudget budget);
std::string_view prefetch_budget_name(PrefetchBudget budget);  // "normal", "frugal"

class Threshold {
 public:
  explicit Threshold(const BudgetSettings& settings)
      : settings_(settings), value_(settings.threshold.first), small_share_(settings.small_share.first) {}
  // Of a page whose request lacks so many pages, itself included. `displaced`: the share of what makes room for it that
  // comes back, of what usually does. Never so much that nothing could pass: it is only by what passes that the
  // threshold learns that times are better.
  double of(uint32_t missing, double displaced = 1, bool read_before = false) const;
  double value() const { return value_; }
  double precision() const { return precision_; }
  uint64_t outcomes() const { return outcomes_; }
  // Goes on from what another one has learned of the threshold for large requests; within its own bounds.
  void restore(double value, double precision, uint64_t outcomes);
  // What came of an issued page.
  void learn(bool used);
  // One that was not used at first was used after all.
  void revise();

 private:
  static constexpr double kSure = 0.97;  // what is as probable as this is always worth a fetch
  // A large request spares one wait like any other, and where it is not read a page for each of its pages is wasted:
  // from so many pages on each doubling is asked for so much more.
  static constexpr double kLargePages = 64, kLargeShare = 0.2;
  double precision_step() const;

  BudgetSettings settings_;
  double value_, small_share_, half_share_ = 1;
  double precision_ = 0;
  uint64_t outcomes_ = 0;
};

// Tokens are pages that may be wasted. Demand earns `share` of a token for each page read, a prefetched page that
// turns out unused costs one, and what is still open is expected to cost what its probability says.
class WasteBudget {
 public:
  explicit WasteBudget(double share);
  void earn(uint64_t demand_pages);
  void waste() { tokens_ -= 1; }
  // How many pages of this probability may be issued now, when so many prefetched ones are still open.
  uint64_t affordable(double probability, uint64_t open_pages) const;
  double tokens() const { return tokens_; }

 private:
  double share_;
  double tokens_;
};

}  // namespace foreshard::policy
