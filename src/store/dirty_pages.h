// DirtyPages: which pages of one chunk's slot are durably named as dirty (R-DIRTY, R-TORN). Pure bookkeeping.
//
// A page that some durable or coming chunk record shows as data is written in place only after a record of the
// dirty log naming it is durable. A checkpoint starts a round: its chunk record voids the names of the rounds
// before, so from then on only the pages in flight are named, and those anew; a record composed in an earlier
// round says nothing about this one.
#pragma once

#include <cstdint>

#include "store/page_set.h"

namespace foreshard::store {

class DirtyPages {
 public:
  struct Composed {
    PageSet pages;
    uint64_t round = 0;
  };

  // Of these pages, those not yet durably named.
  PageSet missing(const PageSet& pages) const { return (pages - named_) | (pages & pending_); }
  void name(const PageSet& pages) {
    pending_ |= pages - named_;
    named_ |= pages;
  }
  const PageSet& named() const { return named_; }
  // What a record of the log has to say now.
  const PageSet& pending() const { return pending_; }
  Composed compose() const { return {pending_, round_}; }
  // What a record that stands for all earlier ones has to say.
  Composed compose_all() const { return {named_, round_}; }
  void committed(const Composed& composed) {
    if (composed.round == round_) pending_ -= composed.pages;
  }
  void start_round(const PageSet& in_flight) {
    ++round_;
    named_ = pending_ = in_flight;
  }

 private:
  PageSet named_;
  PageSet pending_;  // part of named_: not known to be durable
  uint64_t round_ = 0;
};

}  // namespace foreshard::store
