#include "policy/predict/near.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <utility>

#include "base/random.h"

namespace foreshard::policy {
namespace {

constexpr float kReadStep = 0.06f, kEndStep = 0.4f;
constexpr float kReadFirst = -1.0f, kEndFirst = -4.0f;  // what is said of any page at first
constexpr float kSquaresMax = 4000.0f;  // no step is smaller than with this sum: the present counts more
constexpr float kCompletes = 5.0f;      // pages that a request that is spared counts for, beside its own
constexpr float kNothingNew = 0.06f;    // nothing is learned from what was expected as closely as this
// A page that is read within so many reads was read soon: fewer at the start, or the first outcomes would all be good.
constexpr uint32_t kSoon = 150, kSoonFirst = 4, kSoonGrows = 8;
// From so many reads on one in so many of the pages further away is followed: to learn costs more than to ask.
constexpr uint32_t kYoung = 4096, kFollowedOf = 4;
constexpr uint32_t kEndsWithin = 2;  // reads
constexpr uint64_t kGapMax = 16, kChainPages = 40, kBesideMax = 2;
constexpr uint32_t kPagesToldApart = 63, kStreamPages = 16;  // of a request
constexpr uint64_t kReadPagesMax = 512;                      // of a request, that are looked at
// Where nothing was worth it for so many reads, one window in so many is looked at.
constexpr uint32_t kQuietReads = 1024, kQuietShare = 16;
constexpr uint32_t kAround = 4;  // pages on both sides of a page that describe it
static_assert(NearPredictor::kPagesAfter + kAround <= 64);

// To a thousandth or so.
float sigmoid(float x) {
  constexpr float kEnd = 8, kPlaces = 1024;
  static const auto table = [] {
    std::array<float, static_cast<size_t>(kPlaces) + 1> values{};
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = 1 / (1 + std::exp(kEnd - static_cast<float>(i) * 2 * kEnd / kPlaces));
    return values;
  }();
  return table[static_cast<size_t>((std::clamp(x, -kEnd, kEnd) + kEnd) * (kPlaces / (2 * kEnd)))];
}

void step(float& weight, float& squares, float wrong, float size) {
  squares = std::min(squares + wrong * wrong, kSquaresMax);
  weight += size * wrong / std::sqrt(squares);
}

}  // namespace

void NearPredictor::observe(const Observation& observation, std::vector<Candidate>& candidates) {
  if (!is_read(observation)) return;
  propose_before(observation, candidates);
  ++time_;
  if (!examples_.empty()) {
    learned_reads_ += learned_reads_ < kYoung;
    learn_from(observation);
    pass_time();
  }
  Window window;
  window.first = observation.first_page;
  window.end = observation.first_page + observation.pages;
  follow(window);
  // What was read before comes again as it came then, which other experts know.
  // A stream of large requests is looked ahead of much further than this by those who see it.
  if (window.in_stream || which_were_read(window.first, 1) != 0) return;
  if (time_ - proposed_at_ > kQuietReads && mix64(quiet_windows_++) % kQuietShare != 0) return;
  if (examples_.empty()) {
    weights_.resize(kFeatures * kCodes);
    weights_[place_of(0, 0)] = {.read = kReadFirst, .ends = kEndFirst};
    examples_.resize(kPending);
    heads_.assign(kHeads, kNone);
    chains_.reserve(kChains);
  }
  window.after = which_were_read(window.end, kPagesAfter + kAround);
  const auto before = static_cast<uint32_t>(std::min<uint64_t>(kPagesBefore + kAround, window.first));
  const uint64_t forward = which_were_read(window.first - before, before);
  for (uint32_t i = 0; i < before; ++i) window.before |= (forward >> (before - 1 - i) & 1) << i;
  propose(window, true, observation.threshold, candidates);
  propose(window, false, observation.threshold, candidates);
}

// What programs that map files and databases that walk backward read next; the filter is to judge it.
void NearPredictor::propose_before(const Observation& observation, std::vector<Candidate>& candidates) const {
  for (uint32_t before = 1; before <= kSinglesBefore && before <= observation.first_page; ++before) {
    Candidate candidate;
    candidate.first_page = observation.first_page - before;
    candidate.pages = 1;
    candidate.context = static_cast<uint16_t>(before * 64 + std::min(observation.pages, 63u));
    candidates.push_back(candidate);
  }
}

// A bit each, the first page's the lowest; 64 pages at most.
uint64_t NearPredictor::which_were_read(uint64_t first_page, uint32_t pages) const {
  uint64_t bits = 0;
  for (uint32_t done = 0; done < pages;) {
    const uint64_t page = first_page + done;
    const auto in_region = static_cast<uint32_t>(page % PageHistory::kRegionPages);
    const uint32_t here = std::min(PageHistory::kRegionPages - in_region, pages - done);
    if (const PageHistory::Region* region = history_.find(page)) {
      const uint64_t touched = static_cast<uint64_t>(region->touched) >> in_region & ((uint64_t{1} << here) - 1);
      bits |= touched << done;
    }
    done += here;
  }
  return bits;
}

// What has become of pages of earlier windows that are read now.
void NearPredictor::learn_from(const Observation& observation) {
  const uint64_t first = observation.first_page, end = first + observation.pages;
  for (uint64_t page = first; page < first + std::min<uint64_t>(observation.pages, kReadPagesMax); ++page) {
    for (uint32_t i = heads_[head_of(page)]; i != kNone; i = examples_[i].next) {
      Example& example = examples_[i];
      if (example.page != page) continue;
      if (example.may_be_read) learn_read(example, true);
      if (!example.may_be_end) continue;
      learn_end(example,
                example.after ? page + 1 == end && first > example.anchor : page == first && end <= example.anchor);
    }
  }
}

void NearPredictor::pass_time() {
  for (undecided_ = std::max(undecided_, oldest_); undecided_ < next_; ++undecided_) {
    Example& example = examples_[undecided_ % kPending];
    if (time_ - example.time < kEndsWithin) break;
    if (example.may_be_end) learn_end(example, false);
  }
  const uint32_t soon = std::min(kSoon, kSoonFirst + learned_reads_ / kSoonGrows);
  while (oldest_ < next_ && time_ - examples_[oldest_ % kPending].time > soon) drop(examples_[oldest_++ % kPending]);
}

NearPredictor::Example& NearPredictor::take(uint64_t page) {
  if (next_ - oldest_ == kPending) drop(examples_[oldest_++ % kPending]);
  const auto number = static_cast<uint32_t>(next_++ % kPending);
  Example& example = examples_[number];
  example.page = page;
  example.time = time_;
  example.may_be_read = example.may_be_end = true;
  example.next = std::exchange(heads_[head_of(page)], number);
  return example;
}

void NearPredictor::drop(Example& example) {
  if (example.may_be_end) learn_end(example, false);
  if (example.may_be_read) learn_read(example, false);
  const auto number = static_cast<uint32_t>(&example - examples_.data());
  uint32_t* link = &heads_[head_of(example.page)];
  while (*link != number) link = &examples_[*link].next;
  *link = example.next;
}

void NearPredictor::learn_read(Example& example, bool read) {
  example.may_be_read = false;
  learn(example, read, &Weight::read, &Weight::read_squares, kReadStep);
}

void NearPredictor::learn_end(Example& example, bool ends) {
  example.may_be_end = false;
  learn(example, ends, &Weight::ends, &Weight::ends_squares, kEndStep);
}

void NearPredictor::learn(const Example& example, bool outcome, float Weight::*value, float Weight::*squares,
                          float size) {
  float sum = 0;
  for (const uint16_t place : example.places) sum += weights_[place].*value;
  const float wrong = (outcome ? 1.0f : 0.0f) - sigmoid(sum);
  if (std::abs(wrong) < kNothingNew) return;
  for (const uint16_t place : example.places) step(weights_[place].*value, weights_[place].*squares, wrong, size);
}

// The chain that the request goes on with, the nearest one; else it begins one.
void NearPredictor::follow(Window& window) {
  Chain chain = {.first = window.first};
  const auto pages = static_cast<uint32_t>(std::min<uint64_t>(window.end - window.first, kPagesToldApart));
  size_t found = chains_.size();
  for (size_t i = chains_.size(); i-- > 0;) {
    const uint64_t gap = window.first - chains_[i].end;
    if (gap > kGapMax) continue;
    window.in_stream = window.in_stream || (gap == 0 && pages >= kStreamPages && chains_[i].pages == pages);
    if (window.end - chains_[i].first <= kChainPages && (found == chains_.size() || gap < chain.gap)) {
      found = i;
      chain = chains_[i];
      chain.gap = static_cast<uint32_t>(gap);
    } else if (gap <= kBesideMax) {
      window.beside = true;
      if (found == chains_.size()) chain.pages = chains_[i].pages;
    }
  }
  if (found != chains_.size()) {
    chains_.erase(chains_.begin() + static_cast<ptrdiff_t>(found));
    ++chain.length;
    window.beside = false;
  } else if (chains_.size() == kChains) {
    chains_.erase(chains_.begin());
  }
  chain.end = window.end;
  chain.pages_before = chain.pages;
  chain.pages = pages;
  chains_.push_back(chain);
  window.chain = chain;
}

void NearPredictor::describe(const Window& window, Example& example) const {
  const uint64_t page = example.page, distance = page - window.first + 64;
  const Chain& chain = window.chain;
  const uint64_t length = std::min(chain.length, 7u);
  const auto read_after = std::min<uint64_t>(static_cast<uint64_t>(std::countr_one(window.after)), 15);
  uint64_t around = 0;
  for (uint32_t i = 1; i <= kAround; ++i) {
    around = around << 2 | uint64_t{window.was_read(page + i)} << 1 | uint64_t{i <= page && window.was_read(page - i)};
  }
  uint32_t feature = 0;
  const auto add = [&](uint64_t code) {
    example.places[feature] = place_of(feature, code);
    ++feature;
  };
  add(0);
  add(distance);
  add(distance * 64 + chain.pages);
  add((distance * 32 + chain.gap) * 2 + uint64_t{chain.pages > 1});
  add((length * 64 + chain.pages) * 64 + chain.pages_before);
  add(page >> 12);
  add(distance * 16 + read_after);
  add(distance * 8 + length);
  add((distance * 64 + chain.pages) * 16 + length * 2 + uint64_t{window.beside});
  add(uint64_t{window.was_read(page)} * 16 + (around >> 4));
  add((around * 64 + chain.pages) * 2 + uint64_t{example.after});
}

void NearPredictor::propose(const Window& window, bool after, float threshold, std::vector<Candidate>& candidates) {
  float sum = 0, best = 0, expected = 0, expected_of_best = 0;
  uint32_t missing = 0, missing_of_best = 0, pages = 0;
  Example not_followed;  // only described
  const float completes = kCompletes * std::max(1 - threshold, 0.0f);
  for (uint32_t i = 1; i <= (after ? kPagesAfter : kPagesBefore); ++i) {
    if (!after && i > window.first) break;
    const uint64_t page = after ? window.end - 1 + i : window.first - i;
    if (there_(page)) continue;
    const bool follows =
        learned_reads_ < kYoung || i <= kPagesBefore || mix64(page ^ uint64_t{time_} << 32) % kFollowedOf == 0;
    not_followed.page = page;
    Example& example = follows ? take(page) : not_followed;
    example.anchor = window.first;
    example.after = after;
    describe(window, example);
    float read = 0, ends = 0;
    for (const uint16_t place : example.places) {
      read += weights_[place].read;
      ends += weights_[place].ends;
    }
    const float probability = sigmoid(read);
    sum += probability - threshold + completes * sigmoid(ends);
    expected += probability;
    ++missing;
    if (sum <= best) continue;
    best = sum;
    pages = i;
    expected_of_best = expected;
    missing_of_best = missing;
  }
  if (pages == 0) return;
  proposed_at_ = time_;
  Candidate candidate;
  candidate.first_page = after ? window.end : window.first - pages;
  candidate.pages = pages;
  candidate.is_chosen = true;
  candidate.rank = 1;  // the single pages are the first opinion
  candidate.confidence = expected_of_best / static_cast<float>(missing_of_best);
  candidate.context = static_cast<uint16_t>(after);
  candidate.detail =
      static_cast<uint16_t>(std::bit_width(pages) * 16 + static_cast<uint32_t>(candidate.confidence * 15));
  candidates.push_back(candidate);
}

}  // namespace foreshard::policy
