// DirtyPages: which pages of one slot its durable dirty record names (R-DIRTY, R-TORN). Pure bookkeeping.
//
// A page that some durable or coming chunk record shows as data is written in place only after a dirty record
// naming it is durable. The record of a slot is always put as a whole; batches become durable in the order in
// which they are handed to the index. A checkpoint starts a round: from then on only the pages in flight are
// named, and a record composed in an earlier round says nothing about this one. The names of the earlier
// round stay in every record until the checkpoint's own batch, which has the checksums that make up for them.
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
  // What the slot's record has to say now.
  PageSet recorded() const { return named_ | dropping_; }
  Composed compose() const { return {named_, round_}; }
  void committed(const Composed& composed) {
    if (composed.round == round_) pending_ -= composed.pages;
  }
  void start_round(const PageSet& in_flight) {
    ++round_;
    dropping_ |= named_;
    named_ = pending_ = in_flight;
  }
  // The batch that is being composed has the checksums of the snapshot.
  void end_round() { dropping_ = PageSet(); }
  // The chunk has let go of the slot.
  void reset() {
    start_round({});
    end_round();
  }

 private:
  PageSet named_;
  PageSet pending_;   // part of named_: not known to be durable
  PageSet dropping_;  // of the earlier round
  uint64_t round_ = 0;
};

}  // namespace foreshard::store
