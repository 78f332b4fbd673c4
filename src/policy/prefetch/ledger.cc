#include "policy/prefetch/ledger.h"

#include <algorithm>
#include <bit>

#include "base/assert.h"
#include "base/random.h"

namespace foreshard::policy {

PrefetchLedger::PrefetchLedger(uint64_t records_max) {
  const uint64_t records = std::bit_ceil(std::max<uint64_t>(records_max, 16));
  ASSERT(records <= uint64_t{1} << 30, records);
  ring_.resize(records);
  table_.resize(records * 2);
}

uint64_t PrefetchLedger::locate(uint64_t page) const {
  const uint64_t mask = table_.size() - 1;
  uint64_t position = mix64(page) & mask;
  while (table_[position].sequence != 0 && table_[position].page != page) position = (position + 1) & mask;
  return position;
}

PrefetchLedger::Entry* PrefetchLedger::find(uint64_t page) {
  if (live_ == 0) return nullptr;
  Entry& entry = table_[locate(page)];
  return entry.sequence == 0 ? nullptr : &entry;
}

void PrefetchLedger::issue(uint64_t page, uint8_t expert, uint8_t bucket, bool shadow) {
  ASSERT(expert < kExpertsMax, expert);
  if (next_ - oldest_ == ring_.size()) write_off_oldest();
  if (Entry* old = find(page)) {
    ASSERT(old->state == State::kShadow, page);
    --shadow_waiting_;
    --counts_[old->expert].shadow_waiting;
    --counts_[old->expert].shadow_issued;
    remove(*old);
  }
  Entry& entry = table_[locate(page)];
  entry.page = page;
  entry.sequence = sequence_of(next_);
  entry.state = shadow ? State::kShadow : State::kInFlight;
  entry.expert = expert;
  entry.bucket = bucket & 0x7f;
  entry.settled = false;
  ring_[next_ % ring_.size()] = {page, clock_};
  ++next_;
  ++live_;
  PrefetchCounts& counts = counts_[expert];
  ++(shadow ? counts.shadow_issued : counts.issued);
  ++(shadow ? counts.shadow_waiting : counts.in_flight);
  ++(shadow ? shadow_waiting_ : in_flight_);
  open_ += !shadow;
}

void PrefetchLedger::write_off_oldest() {
  const Record& record = ring_[oldest_ % ring_.size()];
  Entry* entry = find(record.page);
  if (entry != nullptr && entry->sequence == sequence_of(oldest_)) end(*entry, false);
  ++oldest_;
  horizon_cursor_ = std::max(horizon_cursor_, oldest_);
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

void PrefetchLedger::wasted(uint64_t page) {
  Entry* entry = find(page);
  if (entry != nullptr && entry->state == State::kWaiting) end(*entry, false);
}

void PrefetchLedger::overwritten(uint64_t page) {
  Entry* entry = find(page);
  if (entry != nullptr && entry->state == State::kShadow) end(*entry, false);
}

void PrefetchLedger::advance(uint64_t pages, uint64_t horizon) {
  clock_ += pages;
  while (horizon_cursor_ < next_) {
    const Record& record = ring_[horizon_cursor_ % ring_.size()];
    if (record.clock + horizon > clock_) return;
    Entry* entry = find(record.page);
    if (entry != nullptr && entry->sequence == sequence_of(horizon_cursor_)) {
      if (entry->state == State::kShadow) {
        end(*entry, false);
      } else {
        give_outcome(*entry, false);
      }
    }
    ++horizon_cursor_;
  }
}

void PrefetchLedger::give_outcome(Entry& entry, bool used) {
  if (entry.settled) return;
  entry.settled = true;
  open_ -= entry.state != State::kShadow;
  outcomes_.push_back({entry.expert, static_cast<uint8_t>(entry.bucket), used, entry.state == State::kShadow});
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
    case State::kWaiting:
      --counts.waiting;
      break;
  }
  ++(used ? counts.used : counts.wasted);
}

void PrefetchLedger::end(Entry& entry, bool used) {
  give_outcome(entry, used);
  count_end(entry, used);
  remove(entry);
}

// Linear probing without tombstones.
void PrefetchLedger::remove(Entry& entry) {
  const uint64_t mask = table_.size() - 1;
  uint64_t hole = static_cast<uint64_t>(&entry - table_.data());
  for (uint64_t next = (hole + 1) & mask; table_[next].sequence != 0; next = (next + 1) & mask) {
    const uint64_t from_home = (next - mix64(table_[next].page)) & mask;
    const uint64_t from_hole = (next - hole) & mask;
    if (from_home >= from_hole) {
      table_[hole] = table_[next];
      hole = next;
    }
  }
  table_[hole] = Entry{};
  --live_;
}

}  // namespace foreshard::policy
