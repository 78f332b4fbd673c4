#include "volume/interval_table.h"

#include "base/planted.h"

namespace foreshard::volume {

bool IntervalTable::Place::conflicts(const Place& other) const {
  if (kind_ == Kind::kShared && other.kind_ == Kind::kShared) return false;
  if (PLANTED("read during write") && (kind_ == Kind::kShared || other.kind_ == Kind::kShared)) return false;
  return first_ < other.end_ && other.first_ < end_;
}

IntervalTable::Place::Place(IntervalTable& table, uint64_t first, uint64_t end, Kind kind)
    : table_(table), first_(first), end_(end), kind_(kind) {
  for (Place* other = table_.head_; other != nullptr; other = other->next_)
    if (conflicts(*other)) ++blockers_;
  previous_ = table_.tail_;
  (table_.tail_ != nullptr ? table_.tail_->next_ : table_.head_) = this;
  table_.tail_ = this;
  ++table_.size_;
}

IntervalTable::Place::~Place() {
  (previous_ != nullptr ? previous_->next_ : table_.head_) = next_;
  (next_ != nullptr ? next_->previous_ : table_.tail_) = previous_;
  --table_.size_;
  for (Place* later = next_; later != nullptr; later = later->next_) {
    if (!conflicts(*later) || --later->blockers_ > 0 || !later->waiter_) continue;
    table_.executor_.post(later->waiter_);
    later->waiter_ = nullptr;
  }
}

}  // namespace foreshard::volume
