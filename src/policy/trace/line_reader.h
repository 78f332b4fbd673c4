// LineReader: the part that readers of text share: cuts bytes that come in pieces into lines, counts them, bounds their
// length, and words errors. Fields are views into the line.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "policy/trace/trace_reader.h"

namespace foreshard::policy {

class LineReader : public TraceReader {
 public:
  static constexpr size_t kLineBytesMax = 1024;

  Result<void> feed(std::string_view bytes) final;
  Result<void> finish() final;

 protected:
  LineReader(const char* format, Sink sink) : sink_(std::move(sink)), format_(format) {}
  // One line without its newline.
  virtual Result<void> take_line(std::string_view line) = 0;
  // kInvalid: "line N: WHAT: 'TEXT'".
  tl::unexpected<Error> wrong(std::string_view what, std::string_view text) const;
  uint64_t lines() const { return lines_; }
  // Checks the bounds of what every format has in common, then hands it on.
  Result<void> hand_on(const TraceRequest& request, std::string_view line);

 private:
  Result<void> take(std::string_view line);
  Sink sink_;
  const char* format_;
  std::string partial_;
  uint64_t lines_ = 0;
};

// Digits only, without a sign, all of the text.
bool parse_digits(std::string_view text, uint64_t& value);
bool parse_hex_digits(std::string_view text, uint64_t& value);
// "12", "12.5": in thousandths of a millionth, so that seconds come out as nanoseconds. False beyond 64 bits.
bool parse_seconds_ns(std::string_view text, uint64_t& ns);
// Cuts at every `separator`; returns how many fields there are, of which the first fields.size() are stored.
size_t split_fields(std::string_view line, char separator, std::span<std::string_view> fields);
// Cuts at runs of blanks, which may stand at the ends too.
size_t split_words(std::string_view line, std::span<std::string_view> words);
// What of the input an error may quote.
std::string quote_input(std::string_view text);
// Empty when the request is within the bounds of a trace, else what is not.
std::string_view request_fault(const TraceRequest& request);

}  // namespace foreshard::policy
