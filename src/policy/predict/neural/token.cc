#include "policy/predict/neural/token.h"

#include <algorithm>
#include <bit>

#include "base/random.h"

namespace foreshard::policy {
namespace {

constexpr std::array<uint32_t, kLengthClasses> kLengthPages = {1,  2,  3,  4,  5,  6,  7,   8,
                                                               12, 16, 24, 32, 64, 128, 256, 512};
constexpr uint32_t kRegionPagesLog2 = 6;  // 256 KiB
constexpr uint32_t kRunMax = 127;

enum : uint32_t { kPlaceStart, kPlaceContinues, kPlaceRepeats, kPlaceJumps };

// 0: not known; then a class for each factor of 10 from 10 us on.
uint32_t gap_class(bool known, uint64_t gap_ns) {
  if (!known) return 0;
  uint32_t at = 1;
  for (uint64_t limit_ns = 10'000; at < 7 && gap_ns >= limit_ns; limit_ns *= 10) ++at;
  return at;
}

uint32_t log_class(uint32_t value) { return std::min(7u, static_cast<uint32_t>(std::bit_width(value))); }

// Classes are wide. Where the last request there was of the class, the next one will be as long.
void set_remembered_pages(Target& target, uint32_t length, const History::Entry* entry) {
  if (entry == nullptr || entry->end_page <= entry->first_page) return;
  const uint32_t pages = entry->end_page - entry->first_page;
  if (length_class(pages) == length && pages <= target.pages) target.pages = pages;
}

}  // namespace

uint32_t length_class(uint32_t pages) {
  const auto at = std::lower_bound(kLengthPages.begin(), kLengthPages.end(), pages);
  return std::min<uint32_t>(static_cast<uint32_t>(at - kLengthPages.begin()), kLengthClasses - 1);
}

uint32_t pages_of_length_class(uint32_t length) { return kLengthPages[std::min(length, kLengthClasses - 1)]; }

uint64_t label_hash(std::string_view label) {
  uint64_t hash = 0;
  for (const char c : label) hash = mix64(hash ^ static_cast<unsigned char>(c)) | 1;
  return hash;
}

TokenStream::TokenStream(const ModelShape& shape, const Vocabulary& vocabulary, Labels labels)
    : shape_(&shape), vocabulary_(&vocabulary), offsets_(shape.feature_offsets()), labels_(labels) {}

int64_t TokenStream::symbol_of(const Access& access) const {
  if (shape_->symbols == SymbolKind::kFile) return static_cast<int64_t>(access.position);
  return static_cast<int64_t>(access.position) - static_cast<int64_t>(end_);
}

uint32_t TokenStream::bucket(Feature feature, uint64_t value, uint32_t buckets) const {
  return row(feature, static_cast<uint32_t>(mix64(value) & (buckets - 1)));
}

uint32_t TokenStream::place_of(const Access& access, const History::Entry* entry) const {
  if (shape_->symbols == SymbolKind::kDelta) return std::min(std::countr_zero(access.position | 64) / 2, 3);
  const auto first = static_cast<uint32_t>(access.first_page);
  const bool known = entry != nullptr && entry->end_page != 0;
  // Reads by bytes end within a page that the next one begins with.
  if (known && first != 0 && (first == entry->end_page || first + 1 == entry->end_page)) return kPlaceContinues;
  if (known && first == entry->first_page) return kPlaceRepeats;
  return first == 0 ? kPlaceStart : kPlaceJumps;
}

Answer TokenStream::answer_for(const Access& access, const History& history) const {
  Answer answer{kNoAnswer, kNoAnswer, kNoAnswer};
  if (!started_) return answer;
  const int64_t symbol = symbol_of(access);
  uint32_t number = kAnswerOther;
  if (remembered_.next == symbol) {
    number = kAnswerHistory;
  } else if (remembered_.next_before == symbol) {
    number = kAnswerHistory2;
  } else if (const std::optional<uint32_t> known = vocabulary_->find(symbol)) {
    number = kAnswerVocabulary + *known;
  }
  answer[static_cast<uint32_t>(Head::kSymbol)] = static_cast<int32_t>(number);
  answer[static_cast<uint32_t>(Head::kLength)] = static_cast<int32_t>(length_class(access.pages));
  if (shape_->symbols == SymbolKind::kFile) {
    answer[static_cast<uint32_t>(Head::kPlace)] =
        static_cast<int32_t>(place_of(access, history.find(access.position)));
  }
  return answer;
}

Token TokenStream::token(const Access& access, int64_t symbol, uint32_t place, uint64_t gap_ns) const {
  Token token;
  const auto set = [&token](Feature feature, uint32_t value) { token[static_cast<uint32_t>(feature)] = value; };
  const std::optional<uint32_t> known = started_ ? vocabulary_->find(symbol) : std::nullopt;
  set(Feature::kSymbol, row(Feature::kSymbol, known ? *known + 1 : 0));
  uint32_t history = 1;
  if (remembered_.next) {
    const std::optional<uint32_t> next = vocabulary_->find(*remembered_.next);
    history = next ? *next + 2 : 0;
  }
  set(Feature::kHistory, row(Feature::kHistory, history));
  const bool files = shape_->symbols == SymbolKind::kFile;
  const uint64_t region = files ? access.position : access.position >> kRegionPagesLog2;
  set(Feature::kRegion, bucket(Feature::kRegion, region, shape_->regions));
  set(Feature::kPage, bucket(Feature::kPage, access.position + 0x10001, shape_->pages));
  set(Feature::kOperation, row(Feature::kOperation, static_cast<uint32_t>(access.operation)));
  set(Feature::kLength, row(Feature::kLength, length_class(access.pages)));
  set(Feature::kGap, row(Feature::kGap, gap_class(started_ && access.time_ns != 0 && time_ns_ != 0, gap_ns)));
  set(Feature::kRun, row(Feature::kRun, log_class(run_)));
  const uint32_t agreement = !remembered_.next_before ? 0 : remembered_.next == remembered_.next_before ? 1 : 2;
  set(Feature::kRecurrence, row(Feature::kRecurrence, std::min(log_class(remembered_.followed), 3u) * 3 + agreement));
  set(Feature::kWorkload, bucket(Feature::kWorkload, labels_.workload, shape_->workloads));
  set(Feature::kLabel, bucket(Feature::kLabel, labels_.vm, shape_->labels));
  set(Feature::kPlace, row(Feature::kPlace, place));
  return token;
}

// The entry is that of the access's position, as it was before.
Token TokenStream::advance(const Access& access, uint32_t place, const History::Entry* entry) {
  const int64_t symbol = symbol_of(access);
  if (started_) run_ = remembered_.next == symbol ? std::min(run_ + 1, kRunMax) : 0;
  remembered_ = Remembered{};
  if (entry != nullptr) {
    remembered_.followed = entry->followed;
    if (entry->followed > 0) remembered_.next = entry->next;
    if (entry->followed > 1) remembered_.next_before = entry->next_before;
  }
  const uint64_t gap_ns = access.time_ns > time_ns_ ? access.time_ns - time_ns_ : 0;
  const Token made = token(access, symbol, place, gap_ns);
  started_ = true;
  position_ = access.position;
  end_ = access.position + access.pages;
  time_ns_ = access.time_ns;
  return made;
}

Token TokenStream::take(const Access& access, History& history) {
  if (started_) {
    History::Entry& before = history.find_or_add(position_);
    before.next_before = before.next;
    before.next = symbol_of(access);
    before.followed = std::min<uint32_t>(before.followed + 1, 7);
  }
  const bool files = shape_->symbols == SymbolKind::kFile;
  const History::Entry* entry = history.find(access.position);
  const Token made = advance(access, place_of(access, entry), entry);
  const uint64_t first_page = files ? access.first_page : 0;
  History::Entry& now = history.find_or_add(access.position);
  now.first_page = static_cast<uint32_t>(first_page);
  now.end_page = static_cast<uint32_t>(std::min<uint64_t>(first_page + access.pages, UINT32_MAX));
  return made;
}

Token TokenStream::suppose(const Access& access, const History& history) {
  const History::Entry* entry = history.find(access.position);
  return advance(access, place_of(access, entry), entry);
}

std::optional<int64_t> TokenStream::symbol_of_answer(uint32_t answer) const {
  if (answer == kAnswerHistory) return remembered_.next;
  if (answer == kAnswerHistory2) return remembered_.next_before;
  if (answer < kAnswerVocabulary || answer - kAnswerVocabulary >= vocabulary_->size()) return std::nullopt;
  return vocabulary_->symbol(answer - kAnswerVocabulary);
}

std::optional<Target> TokenStream::target(uint32_t symbol, uint32_t length, uint32_t place,
                                          const History& history) const {
  const std::optional<int64_t> value = symbol_of_answer(symbol);
  if (!started_ || !value) return std::nullopt;
  Target target;
  target.pages = pages_of_length_class(length);
  if (shape_->symbols == SymbolKind::kDelta) {
    // Foreign models may hold any distance.
    if (*value > static_cast<int64_t>(kPositionsMax) || *value < -static_cast<int64_t>(kPositionsMax)) {
      return std::nullopt;
    }
    const int64_t position = static_cast<int64_t>(end_) + *value;
    if (position < 0 || position >= static_cast<int64_t>(kPositionsMax)) return std::nullopt;
    target.position = static_cast<uint64_t>(position);
    set_remembered_pages(target, length, history.find(target.position));
    return target;
  }
  if (*value < 0) return std::nullopt;
  target.position = static_cast<uint64_t>(*value);
  const History::Entry* entry = history.find(target.position);
  if (place == kPlaceJumps) return std::nullopt;
  if (place != kPlaceStart && entry == nullptr) return std::nullopt;
  if (place == kPlaceContinues) target.first_page = entry->end_page;
  if (place == kPlaceRepeats) target.first_page = entry->first_page;
  if (place != kPlaceContinues) set_remembered_pages(target, length, entry);
  return target;
}

}  // namespace foreshard::policy
