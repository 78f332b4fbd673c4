// No input makes the parser crash, and every row that it accepts reads the same after being written again.
#include <cstdlib>
#include <string>

#include "policy/trace/access_trace.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace foreshard::policy;
  if (size == 0) return 0;
  // The first byte says where the input is cut in two.
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t cut = text.size() * data[0] / 256;
  std::string again;
  append_access_trace_header(again);
  uint64_t rows = 0;
  AccessTraceParser parser([&](const AccessRow& row) {
    append_access_trace_row(again, row);
    ++rows;
  });
  if (!parser.feed(text.substr(0, cut))) return 0;
  if (!parser.feed(text.substr(cut))) return 0;
  if (!parser.finish()) return 0;
  std::string third;
  append_access_trace_header(third);
  AccessTraceParser second([&](const AccessRow& row) { append_access_trace_row(third, row); });
  if (!second.feed(again) || !second.finish() || third != again || second.rows() != rows) std::abort();
  return 0;
}
