#include "front/nbd/negotiation.h"

#include <algorithm>

namespace foreshard::front::nbd {
namespace {

template <class T>
void append(std::string& out, const T& object) {
  out.append(as_text(object_bytes(object)));
}

}  // namespace

// Reads fields off the front of an option's data; once one is missing, `ok` stays false.
class Negotiation::Cursor {
 public:
  explicit Cursor(ConstByteSpan data) : rest_(data) {}
  uint32_t u32() { return number<Be32, uint32_t>(); }
  uint16_t u16() { return number<Be16, uint16_t>(); }
  std::string_view text(uint32_t bytes) {
    if (bytes > rest_.size()) return fail(), std::string_view();
    const ConstByteSpan taken = rest_.first(bytes);
    rest_ = rest_.subspan(bytes);
    return as_text(taken);
  }
  bool ok() const { return ok_; }
  bool finished() const { return ok_ && rest_.empty(); }

 private:
  template <class Wire, class Number>
  Number number() {
    if (rest_.size() < sizeof(Wire)) return fail(), Number{0};
    const Number value = load_object<Wire>(rest_);
    rest_ = rest_.subspan(sizeof(Wire));
    return value;
  }
  void fail() { ok_ = false; }
  ConstByteSpan rest_;
  bool ok_ = true;
};

uint16_t transmission_flags(const Offer& offer) {
  uint16_t flags = kFlagHasFlags | kFlagSendFlush | kFlagSendFua | kFlagSendDf | kFlagCanMultiConn | kFlagSendCache;
  if (offer.read_only) {
    flags |= kFlagReadOnly;
  } else {
    flags |= kFlagSendTrim | kFlagSendWriteZeroes;
  }
  return flags;
}

Negotiation::Negotiation(const Catalogue& catalogue, std::string_view peer) : catalogue_(catalogue), peer_(peer) {
  Greeting greeting;
  greeting.magic = kGreetingMagic;
  greeting.option_magic = kOptionMagic;
  greeting.flags = static_cast<uint16_t>(kHandshakeFixedNewstyle | kHandshakeNoZeroes);
  append(output_, greeting);
}

size_t Negotiation::consume(ConstByteSpan arrived) {
  if (ended() || arrived.empty()) return 0;
  if (skip_bytes_ > 0) {
    const size_t piece = std::min<size_t>(skip_bytes_, arrived.size());
    skip_bytes_ -= static_cast<uint32_t>(piece);
    if (skip_bytes_ == 0) refuse(skipping_option_, kRepErrTooBig, "option too long");
    return piece;
  }
  if (state_ == State::kFlags) {
    if (arrived.size() < sizeof(Be32)) return 0;
    client_flags(load_object<Be32>(arrived));
    return sizeof(Be32);
  }
  if (arrived.size() < sizeof(OptionHeader)) return 0;
  const auto header = load_object<OptionHeader>(arrived);
  const uint32_t length = header.length;
  if (header.magic != kOptionMagic || length > kOptionBytesSkipped || ++options_seen_ > kOptionsMax) {
    close();
    return sizeof(OptionHeader);
  }
  if (length > kOptionBytesMax) {
    // An overlong export name has no error reply, only the end.
    if (header.option == kOptExportName) close();
    skipping_option_ = header.option;
    skip_bytes_ = length;
    return sizeof(OptionHeader);
  }
  if (arrived.size() - sizeof(OptionHeader) < length) {
    --options_seen_;
    return 0;
  }
  option(header.option, arrived.subspan(sizeof(OptionHeader), length));
  return sizeof(OptionHeader) + length;
}

void Negotiation::client_flags(uint32_t flags) {
  if ((flags & ~uint32_t{kHandshakeFixedNewstyle | kHandshakeNoZeroes}) != 0) return close();
  fixed_newstyle_ = (flags & kHandshakeFixedNewstyle) != 0;
  no_zeroes_ = (flags & kHandshakeNoZeroes) != 0;
  state_ = State::kOptions;
}

void Negotiation::option(uint32_t option, ConstByteSpan data) {
  if (option == kOptExportName) return option_export_name(data);
  if (!fixed_newstyle_) return close();  // such a client could not read a reply
  switch (option) {
    case kOptAbort: reply(option, kRepAck); return close();
    case kOptList: return option_list(data);
    case kOptInfo:
    case kOptGo: return option_info(option, data);
    case kOptStructuredReply: return option_structured_reply(data);
    case kOptListMetaContext:
    case kOptSetMetaContext: return option_meta_context(option, data);
    default: return refuse(option, kRepErrUnsupported, "option not supported");
  }
}

void Negotiation::option_export_name(ConstByteSpan data) {
  const std::optional<Offer> offer = catalogue_.find(as_text(data));
  if (!offer || catalogue_.full(*offer, peer_) != nullptr) return close();
  ExportNameReply answer;
  answer.size = offer->size_bytes;
  answer.flags = transmission_flags(*offer);
  append(output_, answer);
  if (!no_zeroes_) output_.append(kExportNameZeroes, '\0');
  enter(*offer);
}

void Negotiation::option_list(ConstByteSpan data) {
  if (!data.empty()) return refuse(kOptList, kRepErrInvalid, "LIST takes no data");
  for (const Offer& offer : catalogue_.list()) {
    std::string body;
    append(body, Be32(static_cast<uint32_t>(offer.name.size())));
    body += offer.name;
    body += offer.description;
    reply(kOptList, kRepServer, as_bytes(body));
  }
  reply(kOptList, kRepAck);
}

void Negotiation::option_info(uint32_t option, ConstByteSpan data) {
  Cursor cursor(data);
  const uint32_t name_bytes = cursor.u32();
  const std::string_view name = cursor.text(name_bytes);
  const uint16_t wanted = cursor.u16();
  bool with_name = false;
  bool with_description = false;
  for (uint32_t i = 0; i < wanted && cursor.ok(); ++i) {
    const uint16_t type = cursor.u16();
    with_name |= type == kInfoName;
    with_description |= type == kInfoDescription;
  }
  if (!cursor.finished()) return refuse(option, kRepErrInvalid, "malformed option");
  if (name.size() > kNameBytesMax) return refuse(option, kRepErrTooBig, "export name too long");
  const std::optional<Offer> offer = catalogue_.find(name);
  if (!offer) return refuse(option, kRepErrUnknown, "no such export");
  if (option == kOptGo) {
    if (const char* why = catalogue_.full(*offer, peer_)) return refuse(option, kRepErrPolicy, why);
  }
  send_info(option, *offer, with_name, with_description);
  reply(option, kRepAck);
  if (option == kOptGo) enter(*offer);
}

void Negotiation::send_info(uint32_t option, const Offer& offer, bool name, bool description) {
  InfoExport info;
  info.type = kInfoExport;
  info.size = offer.size_bytes;
  info.flags = transmission_flags(offer);
  reply(option, kRepInfo, object_bytes(info));
  InfoBlockSize block;
  block.type = kInfoBlockSize;
  block.minimum = kBlockBytesMin;
  block.preferred = kBlockBytesPreferred;
  block.maximum = kPayloadBytesMax;
  reply(option, kRepInfo, object_bytes(block));
  const auto send_text = [&](InfoType type, std::string_view text) {
    std::string body;
    append(body, Be16(type));
    body += text;
    reply(option, kRepInfo, as_bytes(body));
  };
  if (name) send_text(kInfoName, offer.name);
  if (description && !offer.description.empty()) send_text(kInfoDescription, offer.description);
}

void Negotiation::option_structured_reply(ConstByteSpan data) {
  if (!data.empty()) return refuse(kOptStructuredReply, kRepErrInvalid, "STRUCTURED_REPLY takes no data");
  structured_replies_ = true;
  reply(kOptStructuredReply, kRepAck);
}

void Negotiation::option_meta_context(uint32_t option, ConstByteSpan data) {
  const bool set = option == kOptSetMetaContext;
  if (set) context_export_.reset();
  Cursor cursor(data);
  const uint32_t name_bytes = cursor.u32();
  const std::string_view name = cursor.text(name_bytes);
  const uint32_t queries = cursor.u32();
  bool matched = !set && queries == 0;
  for (uint32_t i = 0; i < queries && cursor.ok(); ++i) {
    const uint32_t bytes = cursor.u32();
    const std::string_view query = cursor.text(bytes);
    matched |= cursor.ok() && (query == kAllocationContext || (!set && query == "base:"));
  }
  if (!cursor.finished()) return refuse(option, kRepErrInvalid, "malformed option");
  if (set && !structured_replies_) return refuse(option, kRepErrInvalid, "structured replies come first");
  if (name.size() > kNameBytesMax) return refuse(option, kRepErrTooBig, "export name too long");
  const std::optional<Offer> offer = catalogue_.find(name);
  if (!offer) return refuse(option, kRepErrUnknown, "no such export");
  if (matched) {
    std::string body;
    append(body, Be32(set ? kAllocationContextId : 0));
    body += kAllocationContext;
    reply(option, kRepMetaContext, as_bytes(body));
    if (set) context_export_ = offer->name;
  }
  reply(option, kRepAck);
}

void Negotiation::reply(uint32_t option, uint32_t type, ConstByteSpan data) {
  OptionReplyHeader header;
  header.magic = kOptionReplyMagic;
  header.option = option;
  header.type = type;
  header.length = static_cast<uint32_t>(data.size());
  append(output_, header);
  output_.append(as_text(data));
}

void Negotiation::refuse(uint32_t option, uint32_t type, std::string_view message) {
  reply(option, type, as_bytes(message));
}

void Negotiation::enter(const Offer& offer) {
  export_name_ = offer.name;
  agreement_.size_bytes = offer.size_bytes;
  agreement_.read_only = offer.read_only;
  agreement_.structured_replies = structured_replies_;
  agreement_.allocation_context = context_export_ == offer.name;
  state_ = State::kTransmission;
}

}  // namespace foreshard::front::nbd
