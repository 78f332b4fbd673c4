// EventHistory: the newest changes of a metadata store, for watches. Bounded by events and bytes; the oldest go
// first, always whole revisions, so that whoever resumes finds all of a revision or learns that it is gone.
// Events are numbered without gaps; a watch remembers the number where it goes on.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <vector>

#include "meta/key_space.h"
#include "meta/meta.h"

namespace foreshard::meta {

class EventHistory {
 public:
  // Knows everything after `known_after`, nothing up to it.
  EventHistory(Revision known_after, uint64_t events_max, uint64_t bytes_max)
      : forgotten_(known_after), events_max_(events_max), bytes_max_(bytes_max) {}

  void append(std::vector<Event> events) {
    for (Event& event : events) {
      bytes_ += KeySpace::bytes_of(event.entry);
      events_.push_back(std::move(event));
    }
    while (!events_.empty() && (events_.size() > events_max_ || bytes_ > bytes_max_)) forget_oldest_revision();
  }
  // The newest revision of which nothing is known any more.
  Revision forgotten() const { return forgotten_; }
  uint64_t first_number() const { return first_number_; }
  uint64_t end_number() const { return first_number_ + events_.size(); }
  const Event& at(uint64_t number) const { return events_[number - first_number_]; }
  // The number of the first known event with a revision >= from.
  uint64_t number_from(Revision from) const {
    const auto found = std::lower_bound(events_.begin(), events_.end(), from,
                                        [](const Event& event, Revision r) { return event.entry.modified < r; });
    return first_number_ + static_cast<uint64_t>(found - events_.begin());
  }

 private:
  void forget_oldest_revision() {
    forgotten_ = events_.front().entry.modified;
    while (!events_.empty() && events_.front().entry.modified == forgotten_) {
      bytes_ -= KeySpace::bytes_of(events_.front().entry);
      events_.pop_front();
      ++first_number_;
    }
  }
  std::deque<Event> events_;
  uint64_t first_number_ = 0;
  uint64_t bytes_ = 0;
  Revision forgotten_;
  uint64_t events_max_;
  uint64_t bytes_max_;
};

}  // namespace foreshard::meta
