// FileCsvReader: traces of file operations as text, a header and a row for each call,
//
//     ts_us,pid,file_id,offset,size,op
//     1500,77,3,8192,4096,R
//
// op is R or `read`, M for a mapping of that range, which is taken for a read of it; W or `write`; O and every other
// name touch no pages. size is negative of a call that failed; pid may be empty. A file
// that is read or written is a volume of its own.
#pragma once

#include "policy/trace/line_reader.h"
#include "policy/trace/name_index.h"

namespace foreshard::policy {

class FileCsvReader final : public LineReader {
 public:
  static constexpr std::string_view kHeader = "ts_us,pid,file_id,offset,size,op";
  explicit FileCsvReader(Sink sink) : LineReader("file trace", std::move(sink)) {}

 private:
  Result<void> take_line(std::string_view line) override;
  NameIndex files_;
};

}  // namespace foreshard::policy
