// VscsiCsvReader: traces of a virtual SCSI disk as CloudPhysics published them and libCacheSim reads them as text:
//
//     version,time,op,size,lbn
//     1,33898,2a,512,42932745
//
// time in seconds, op the SCSI command in hexadecimal digits, size in bytes, lbn in sectors of 512 bytes. Columns are
// found by their names in the header, in any order; others are ignored. Commands that move no data touch no pages.
#pragma once

#include "policy/trace/line_reader.h"

namespace foreshard::policy {

class VscsiCsvReader final : public LineReader {
 public:
  explicit VscsiCsvReader(Sink sink) : LineReader("VSCSI trace", std::move(sink)) {}
  // Whether the line is a header that names the columns needed.
  static bool is_header(std::string_view line);

 private:
  static constexpr size_t kColumnsMax = 16;
  struct Columns {
    size_t count = 0;
    size_t time = kColumnsMax, op = kColumnsMax, size = kColumnsMax, lbn = kColumnsMax;
    bool complete() const { return op != kColumnsMax && size != kColumnsMax && lbn != kColumnsMax; }
  };
  static Columns columns_of(std::string_view line);
  Result<void> take_line(std::string_view line) override;
  Columns columns_;
};

}  // namespace foreshard::policy
