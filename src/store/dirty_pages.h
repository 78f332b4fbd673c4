// DirtyPages: which pages of one slot its durable dirty record names (R-DIRTY, R-TORN). Pure bookkeeping.
//
// A page that some durable or coming chunk record shows as data is written in place only after a dirty record
// naming it is durable. The record of a slot is always put as a whole, with what `named` is when the batch is
// handed to the index; batches become durable in that order. A checkpoint starts a round: from then on only
// the pages in flight are named, and a record composed in an earlier round says nothing about this one.
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
  Composed compose() const { return {named_, round_}; }
  void committed(const Composed& composed) {
    if (composed.round == round_) pending_ -= composed.pages;
  }
  void start_round(const PageSet& in_flight) {
    ++round_;
    named_ = pending_ = in_flight;
  }

 private:
  PageSet named_;
  PageSet pending_;  // part of named_
  uint64_t round_ = 0;
};

}  // namespace foreshard::store
