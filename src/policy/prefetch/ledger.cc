#include "policy/prefetch/ledger.h"

#include <algorithm>
#include <bit>

#include "base/assert.h"
#include "base/linear_probing.h"

namespace foreshard::policy {
namespace {

constexpr double kResidenceStep = 0.01;
constexpr uint64_t kResidenceDoubt = 16;    // pages that what is expected counts for: the first to leave may be odd
constexpr uint64_t kLookAhead = 8;          // records whose turn comes soon
constexpr uint64_t kPassedAtOnceMax = 512;  // where the horizon came down at once, the rest follows soon

}  // namespace

PrefetchLedger::PrefetchLedger(uint64_t issued_max, uint64_t shadow_max, uint64_t residence)
    : residence_(static_cast<double>(residence)) {
  ASSERT(std::max(issued_max, shadow_max) <= uint64_t{1} << 29, issued_max, shadow_max);
  issued_.records.resize(std::bit_ceil(std::max<uint64_t>(issued_max, 16)));
  shadow_.records.resize(std::bit_ceil(std::max<uint64_t>(shadow_max, 16)));
  table_.resize(std::bit_ceil(2 * (issued_.records.size() + shadow_.records.size())));
}

PrefetchLedger::Record& PrefetchLedger::record_at(Ring& ring, const Entry& entry) {
  return ring.records[(entry.sequence - 1) % ring.records.size()];
}

uint32_t PrefetchLedger::record_of(const Entry& entry) const {
  const bool shadow = entry.state == State::kShadow;
  const auto slot = static_cast<uint32_t>((entry.sequence - 1) % ring_of(entry).records.size());
  return shadow ? static_cast<uint32_t>(issued_.records.size()) + slot : slot;
}

uint64_t PrefetchLedger::locate(uint64_t page) const {
  const uint64_t mask = table_.size() - 1;
  uint64_t position = home(page);
  while (table_[position].sequence != 0 && table_[position].page != page) position = (position + 1) & mask;
  return position;
}

std::optional<uint32_t> PrefetchLedger::open_shadow(uint64_t page) const {
  if (live_ == 0) return std::nullopt;
  const Entry& entry = table_[locate(page)];
  if (entry.sequence == 0 || entry.state != State::kShadow || entry.settled) return std::nullopt;
  return record_of(entry);
}

PrefetchLedger::Entry* PrefetchLedger::find(uint64_t page) {
  if (live_ == 0) return nullptr;
  Entry& entry = table_[locate(page)];
  return entry.sequence == 0 ? nullptr : &entry;
}

uint32_t PrefetchLedger::issue(uint64_t page, uint8_t expert, uint8_t confidence, bool shadow, uint8_t tag) {
  ASSERT(expert < kExpertsMax, expert);
  Ring& ring = shadow ? shadow_ : issued_;
  if (ring.next - ring.oldest == ring.records.size()) write_off_oldest(ring);
  if (Entry* old = find(page)) {
    ASSERT(old->state == State::kShadow, page);
    --shadow_waiting_;
    --counts_[old->expert].shadow_waiting;
    --counts_[old->expert].shadow_issued;
    remove(*old);
  }
  Entry& entry = table_[locate(page)];
  entry.page = page;
  entry.sequence = ring.sequence_of(ring.next);
  entry.state = shadow ? State::kShadow : State::kInFlight;
  entry.expert = expert;
  entry.confidence = confidence & kConfidenceMax;
  entry.settled = false;
  entry.tag = tag;
  ring.records[ring.next % ring.records.size()] = {page, clock_};
  ++ring.next;
  ++live_;
  PrefetchCounts& counts = counts_[expert];
  ++(shadow ? counts.shadow_issued : counts.issued);
  ++(shadow ? counts.shadow_waiting : counts.in_flight);
  ++(shadow ? shadow_waiting_ : in_flight_);
  open_ += !shadow;
  return record_of(entry);
}

void PrefetchLedger::write_off_oldest(Ring& ring) {
  expect(ring.records[(ring.oldest + kLookAhead) % ring.records.size()].page);
  const Record& record = ring.records[ring.oldest % ring.records.size()];
  Entry* entry = find(record.page);
  if (entry != nullptr && &ring_of(*entry) == &ring && entry->sequence == ring.sequence_of(ring.oldest)) {
    end(*entry, false);
  }
  ++ring.oldest;
  ring.horizon_cursor = std::max(ring.horizon_cursor, ring.oldest);
}

void PrefetchLedger::fetched(uint64_t page) {
  Entry* entry = find(page);
  if (entry == nullptr || entry->state != State::kInFlight) return;
  entry->state = State::kWaiting;
  --in_flight_;
  --counts_[entry->expert].in_flight;
  ++counts_[entry->expert].waiting;
}

void PrefetchLedger::dropped(uint64_t page) {
  Entry* entry = find(page);
  if (entry == nullptr || entry->state != State::kInFlight) return;
  --in_flight_;
  --counts_[entry->expert].in_flight;
  ++counts_[entry->expert].dropped;
  open_ -= !entry->settled;
  remove(*entry);
}

void PrefetchLedger::demanded(uint64_t page) {
  Entry* entry = find(page);
  if (entry == nullptr || entry->state == State::kWaiting) return;
  if (entry->state == State::kInFlight) ++counts_[entry->expert].late;
  end(*entry, true);
}

void PrefetchLedger::used(uint64_t page) {
  Entry* entry = find(page);
  if (entry != nullptr && entry->state == State::kWaiting) end(*entry, true);
}

void PrefetchLedger::wasted(uint64_t page, bool evicted) {
  Entry* entry = find(page);
  // One may go before the rest of its range has come.
  if (entry == nullptr || entry->state == State::kShadow) return;
  if (evicted) {
    const auto stayed = static_cast<double>(clock_ - issued_.records[record_of(*entry)].clock);
    const double step = 1 / static_cast<double>(kResidenceDoubt + ++left_);
    residence_ += (stayed - residence_) * std::max(step, kResidenceStep);
  }
  end(*entry, false);
}

void PrefetchLedger::overwritten(uint64_t page) {
  Entry* entry = find(page);
  if (entry != nullptr && entry->state == State::kShadow) end(*entry, false);
}

void PrefetchLedger::demanded_range(uint64_t first_page, uint64_t pages) {
  each(first_page, pages, &PrefetchLedger::demanded);
}

void PrefetchLedger::overwritten_range(uint64_t first_page, uint64_t pages) {
  each(first_page, pages, &PrefetchLedger::overwritten);
}

void PrefetchLedger::each(uint64_t first_page, uint64_t pages, void (PrefetchLedger::*settle)(uint64_t)) {
  if (pages <= issued_.next - issued_.oldest + shadow_.next - shadow_.oldest) {
    for (uint64_t i = 0; i < pages; ++i) (this->*settle)(first_page + i);
    return;
  }
  // A client may trim or write zeroes over gigabytes at once.
  for (const Ring* ring : {&issued_, &shadow_}) {
    for (uint64_t number = ring->oldest; number < ring->next; ++number) {
      const uint64_t page = ring->records[number % ring->records.size()].page;
      if (page - first_page < pages) (this->*settle)(page);
    }
  }
}

void PrefetchLedger::advance(uint64_t pages, uint64_t horizon) {
  clock_ += pages;
  pass_horizon(issued_, horizon);
  pass_horizon(shadow_, horizon);
}

void PrefetchLedger::pass_horizon(Ring& ring, uint64_t horizon) {
  const uint64_t last = std::min(ring.next, ring.horizon_cursor + kPassedAtOnceMax);
  for (; ring.horizon_cursor < last; ++ring.horizon_cursor) {
    const Record& record = ring.records[ring.horizon_cursor % ring.records.size()];
    expect(ring.records[(ring.horizon_cursor + kLookAhead) % ring.records.size()].page);
    if (record.clock + horizon > clock_) return;
    Entry* entry = find(record.page);
    if (entry == nullptr || &ring_of(*entry) != &ring) continue;
    if (entry->sequence != ring.sequence_of(ring.horizon_cursor)) continue;
    if (entry->state == State::kShadow && !outlives_horizon(record.page)) {
      end(*entry, false);
    } else {
      give_outcome(*entry, false);
    }
  }
}

void PrefetchLedger::give_outcome(Entry& entry, bool used) {
  if (entry.settled && !used) return;
  open_ -= !entry.settled && entry.state != State::kShadow;
  outcomes_.push_back({.record = record_of(entry),
                       .expert = entry.expert,
                       .confidence = static_cast<uint8_t>(entry.confidence),
                       .used = used,
                       .shadow = entry.state == State::kShadow,
                       .late = entry.settled,
                       .tag = entry.tag,
                       .awaited = used && entry.state == State::kInFlight});
  entry.settled = true;
}

void PrefetchLedger::count_end(const Entry& entry, bool used) {
  PrefetchCounts& counts = counts_[entry.expert];
  switch (entry.state) {
    case State::kShadow:
      --shadow_waiting_;
      --counts.shadow_waiting;
      ++(used ? counts.shadow_used : counts.shadow_wasted);
      return;
    case State::kInFlight:
      --in_flight_;
      --counts.in_flight;
      break;
    case State::kWaiting: --counts.waiting; break;
  }
  ++(used ? counts.used : counts.wasted);
}

void PrefetchLedger::end(Entry& entry, bool used) {
  // Late ones say nothing of when they would have been used.
  const bool timely = entry.state == State::kWaiting || (entry.state == State::kShadow && outlives_horizon(entry.page));
  if (used && timely) delays_.add(clock_ - record_at(ring_of(entry), entry).clock);
  give_outcome(entry, used);
  count_end(entry, used);
  remove(entry);
}

void PrefetchLedger::remove(Entry& entry) {
  take_out(
      table_, static_cast<size_t>(&entry - table_.data()), [this](const Entry& other) { return home(other.page); },
      [](const Entry& other) { return other.sequence == 0; });
  --live_;
}

}  // namespace foreshard::policy
