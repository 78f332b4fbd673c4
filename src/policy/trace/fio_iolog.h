// FioIologReader: fio's iologs, as write_iolog= leaves them. The first line names the version; then, of version 2,
//
//     FILE add | FILE open | FILE close
//     FILE read|write|trim|sync|datasync OFFSET LENGTH
//     FILE wait MICROSECONDS LENGTH
//
// and of version 3 the same with the microseconds since the begin in front, without waits. Times of version 2 are the
// sum of the waits so far; before the first there are none.
#pragma once

#include "policy/trace/line_reader.h"
#include "policy/trace/name_index.h"

namespace foreshard::policy {

class FioIologReader final : public LineReader {
 public:
  static constexpr std::string_view kHeader2 = "fio version 2 iolog";
  static constexpr std::string_view kHeader3 = "fio version 3 iolog";
  explicit FioIologReader(Sink sink) : LineReader("fio iolog", std::move(sink)) {}

 private:
  Result<void> take_line(std::string_view line) override;
  Result<void> take_action(std::span<const std::string_view> words, TraceRequest request, std::string_view line);
  NameIndex files_;
  bool has_times_ = false;  // version 3
  std::optional<uint64_t> waited_ns_;
};

}  // namespace foreshard::policy
