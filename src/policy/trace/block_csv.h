// BlockCsvReader: the block traces of access_trace.h as requests of a replay.
#pragma once

#include "policy/trace/access_trace.h"
#include "policy/trace/name_index.h"
#include "policy/trace/trace_reader.h"

namespace foreshard::policy {

class BlockCsvReader final : public TraceReader {
 public:
  explicit BlockCsvReader(Sink sink);
  Result<void> feed(std::string_view bytes) override;
  Result<void> finish() override;

 private:
  void take(const AccessRow& row);
  Result<void> faultless(const Result<void>& parsed) const;
  Sink sink_;
  AccessTraceParser parser_;
  NameIndex volumes_;
  uint64_t rows_ = 0;
  std::string fault_;  // of the first row that is out of bounds
};

}  // namespace foreshard::policy
