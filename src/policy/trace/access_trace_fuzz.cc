// No input makes the parser crash, and every row that it accepts reads the same after being written again. The input
// is taken as it is; as rows behind a good header in which a byte from 0xc0 on stands for a run of the byte before it,
// so that lengths are reached; and as fields of rows, likely ones and those at which something may overflow.
#include <array>
#include <cstdlib>
#include <string>

#include "policy/trace/access_trace.h"

namespace foreshard::policy {
namespace {

constexpr size_t kRunBytes = 20;        // of the shortest run; the longest is twice a line
constexpr size_t kBytesMax = 8u << 10;  // many inputs count for more than large ones

std::string with_header(std::string_view text) {
  std::string out;
  append_access_trace_header(out);
  for (const char c : text) {
    if (out.size() > kBytesMax) break;
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0xc0) {
      out.push_back(c);
    } else {
      out.append((byte - 0xbf) * kRunBytes, out.back());
    }
  }
  return out;
}

std::string number(uint8_t byte) {
  constexpr std::array<uint64_t, 5> kOdd = {0, 1ull << 32, INT64_MAX, UINT64_MAX - 4096, UINT64_MAX};
  if (byte == 255) return "18446744073709551616";
  return byte < 240 ? std::to_string(byte * 512) : std::to_string(kOdd[byte % kOdd.size()]);
}

// Five bytes a row: time, volume, offset, size, operation.
std::string rows_of(std::string_view script) {
  std::string out;
  append_access_trace_header(out);
  for (; script.size() >= 5; script.remove_prefix(5)) {
    const auto at = [&](size_t i) { return static_cast<uint8_t>(script[i]); };
    if (at(0) >= 16) out += number(at(0));
    out += ',';
    out.append(at(1) % 64 == 0 ? 200 + at(1) : 1, static_cast<char>('a' + at(1) % 26));
    out += "," + number(at(2)) + "," + number(at(3)) + ",";
    out += "RW?X"[at(4) % 16 < 3 ? at(4) % 16 : at(4) % 32 == 31 ? 3 : 0];
    out += '\n';
  }
  return out;
}

void parse(std::string_view text, size_t cut) {
  std::string again;
  append_access_trace_header(again);
  uint64_t rows = 0;
  AccessTraceParser parser([&](const AccessRow& row) {
    append_access_trace_row(again, row);
    ++rows;
  });
  if (!parser.feed(text.substr(0, cut))) return;
  if (!parser.feed(text.substr(cut))) return;
  if (!parser.finish()) return;
  std::string third;
  append_access_trace_header(third);
  AccessTraceParser second([&](const AccessRow& row) { append_access_trace_row(third, row); });
  if (!second.feed(again) || !second.finish() || third != again || second.rows() != rows) std::abort();
}

}  // namespace
}  // namespace foreshard::policy

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace foreshard::policy;
  if (size == 0) return 0;
  // The first byte says where the input is cut in two.
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  parse(text, text.size() * data[0] / 256);
  for (const std::string& rows : {with_header(text), rows_of(text)}) parse(rows, rows.size() * data[0] / 256);
  return 0;
}
