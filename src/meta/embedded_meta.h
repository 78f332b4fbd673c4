// EmbeddedMeta: the metadata store of one machine, over an index. All keys are kept in memory (bounded by a
// setting), so reads wait for nothing; the index makes changes durable. Opened and owned by the process that
// serves the region; close() it before destroying it.
//
// Changes go through one committer coroutine: it takes what has been submitted, checks each transaction against
// the state with those before it, writes all in one synced batch, and only then shows and answers them. So what
// anyone has seen is durable, and many concurrent transactions share a sync.
//
// Leases are durable; how long one still runs is not: after a restart each has its whole term again. They end by
// this process's clock. After an error of the index the store accepts nothing more (kUnavailable) and failed() is set:
// the owner closes it and opens it anew, over a fresh index.
#pragma once

#include <memory>

#include "index/index.h"
#include "meta/meta.h"
#include "runtime/sync.h"

namespace foreshard::meta {

struct EmbeddedMetaOptions {
  uint64_t bytes_max = 512u << 20;          // of keys and values; a change beyond it is kNoSpace
  uint64_t history_events_max = 100'000;    // kept for watches that resume
  uint64_t history_bytes_max = 64u << 20;
  uint64_t leases_max = 65'536;
  uint64_t waiting_max = 4096;              // transactions submitted and not yet answered; more are kBusy
};

class EmbeddedMeta : public Meta {
 public:
  // Takes over the index, freshly opened. kCorrupt when it holds what this did not write.
  static runtime::Task<Result<std::unique_ptr<EmbeddedMeta>>> open(runtime::Runtime& runtime,
                                                                   std::unique_ptr<index::Index> index,
                                                                   EmbeddedMetaOptions options = {});
  // Answers what was submitted, ends watches (kUnavailable), closes the index.
  virtual runtime::Task<Result<void>> close() = 0;
  virtual Revision revision() const = 0;
  virtual runtime::Signal& failed() = 0;
};

}  // namespace foreshard::meta
