// Negotiation: the fixed newstyle handshake of one client, from the greeting to the first request. Pure: it is
// fed what arrived and gives what to send; the session does the I/O and keeps the deadline.
//
// Bounds: an option longer than kOptionBytesMax is skipped and refused; one longer than kOptionBytesSkipped,
// and more than kOptionsMax options, end the conversation.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "front/nbd/message.h"
#include "front/nbd/request.h"

namespace foreshard::front::nbd {

inline constexpr uint32_t kOptionBytesMax = 32u << 10;
inline constexpr uint32_t kOptionBytesSkipped = 1u << 20;
inline constexpr uint32_t kOptionsMax = 1024;

// What a client may learn of an export.
struct Offer {
  std::string name;
  std::string description;
  uint64_t size_bytes = 0;
  bool read_only = false;
};

// The exports as a negotiation sees them.
class Catalogue {
 public:
  virtual ~Catalogue() = default;
  // The empty name stands for the only export there is.
  virtual std::optional<Offer> find(std::string_view name) const = 0;
  virtual std::vector<Offer> list() const = 0;
  // Why one more client of this peer cannot enter now, for people; nullptr when it can.
  virtual const char* full(const Offer& offer, std::string_view peer) const = 0;
};

uint16_t transmission_flags(const Offer& offer);

class Negotiation {
 public:
  enum class State : uint8_t { kFlags, kOptions, kTransmission, kClosed };

  explicit Negotiation(const Catalogue& catalogue, std::string_view peer = "");

  // Consumes one element (the client's flags, an option, a piece of one that is skipped) from the front of
  // what arrived; 0 when it is not there in whole. A complete element has at most kElementBytesMax bytes.
  size_t consume(ConstByteSpan arrived);
  static constexpr size_t kElementBytesMax = sizeof(OptionHeader) + kOptionBytesMax;

  // To be sent, in order; sent also when the state is kClosed.
  std::string take_output() { return std::move(output_); }
  size_t output_bytes() const { return output_.size(); }
  State state() const { return state_; }
  bool ended() const { return state_ == State::kTransmission || state_ == State::kClosed; }
  // In kTransmission: what was agreed on.
  const std::string& export_name() const { return export_name_; }
  const Agreement& agreement() const { return agreement_; }

 private:
  class Cursor;

  void client_flags(uint32_t flags);
  void option(uint32_t option, ConstByteSpan data);
  void option_export_name(ConstByteSpan data);
  void option_list(ConstByteSpan data);
  void option_info(uint32_t option, ConstByteSpan data);
  void option_structured_reply(ConstByteSpan data);
  void option_meta_context(uint32_t option, ConstByteSpan data);
  void send_info(uint32_t option, const Offer& offer, bool name, bool description);
  void reply(uint32_t option, uint32_t type, ConstByteSpan data = {});
  void refuse(uint32_t option, uint32_t type, std::string_view message);
  void enter(const Offer& offer);
  void close() { state_ = State::kClosed; }

  const Catalogue& catalogue_;
  const std::string peer_;
  State state_ = State::kFlags;
  bool fixed_newstyle_ = false;
  bool no_zeroes_ = false;
  bool structured_replies_ = false;
  std::optional<std::string> context_export_;  // the export for which base:allocation is set
  uint32_t options_seen_ = 0;
  uint32_t skipping_option_ = 0;
  uint32_t skip_bytes_ = 0;
  std::string output_;
  std::string export_name_;
  Agreement agreement_;
};

}  // namespace foreshard::front::nbd
