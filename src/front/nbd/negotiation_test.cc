// Proves that the handshake answers every option as the specification says, that malformed and overlong input
// is refused or ends the conversation, and that how the bytes are cut makes no difference.
#include "front/nbd/negotiation.h"

#include <gtest/gtest.h>

namespace foreshard::front::nbd {
namespace {

class TwoExports : public Catalogue {
 public:
  std::optional<Offer> find(std::string_view name) const override {
    if (name == "disk") return Offer{"disk", "a disk", 10 << 20, false};
    if (name == "image") return Offer{"image", "", 5 << 20, true};
    return std::nullopt;
  }
  std::vector<Offer> list() const override { return {*find("disk"), *find("image")}; }
  const char* full(const Offer& offer, std::string_view) const override {
    return full_ == offer.name ? "too many" : nullptr;
  }
  std::string full_ = "none";
};

template <class T>
std::string wire(T object) {
  return std::string(as_text(object_bytes(object)));
}
std::string u32(uint32_t value) { return wire(Be32(value)); }
std::string u16(uint16_t value) { return wire(Be16(value)); }
std::string option(uint32_t number, const std::string& data) {
  return wire(Be64(kOptionMagic)) + u32(number) + u32(static_cast<uint32_t>(data.size())) + data;
}
std::string sized(const std::string& text) { return u32(static_cast<uint32_t>(text.size())) + text; }
std::string go(const std::string& name) { return option(kOptGo, sized(name) + u16(0)); }

struct Reply {
  uint32_t option;
  uint32_t type;
  std::string data;
};

// Plays the client's bytes, given in pieces, and takes the answers apart.
struct Conversation {
  explicit Conversation(size_t piece_bytes = SIZE_MAX) : piece_bytes(piece_bytes) {
    EXPECT_EQ(negotiation.take_output(), wire(Be64(kGreetingMagic)) + wire(Be64(kOptionMagic)) + u16(3));
  }
  void say(const std::string& bytes) {
    for (size_t at = 0; at < bytes.size(); at += piece_bytes) {
      pending += bytes.substr(at, piece_bytes);
      size_t consumed = 1;
      while (consumed > 0) {
        consumed = negotiation.consume(as_bytes(pending));
        pending.erase(0, consumed);
      }
      output += negotiation.take_output();
    }
  }
  std::vector<Reply> replies() {
    std::vector<Reply> all;
    while (output.size() >= sizeof(OptionReplyHeader)) {
      const auto header = load_object<OptionReplyHeader>(as_bytes(output));
      EXPECT_EQ(uint64_t{header.magic}, kOptionReplyMagic);
      all.push_back(Reply{header.option, header.type, output.substr(sizeof(header), header.length)});
      output.erase(0, sizeof(header) + header.length);
    }
    return all;
  }
  // The only reply.
  Reply reply() {
    const std::vector<Reply> all = replies();
    EXPECT_EQ(all.size(), 1u);
    return all.empty() ? Reply{} : all[0];
  }
  TwoExports exports;
  Negotiation negotiation{exports};
  size_t piece_bytes;
  std::string pending;
  std::string output;
};

const std::string kFixed = u32(kHandshakeFixedNewstyle | kHandshakeNoZeroes);

TEST(NbdNegotiation, GoGivesTheExportAndItsBlockSizes) {
  for (size_t piece : {size_t{1}, size_t{7}, SIZE_MAX}) {
    Conversation client(piece);
    client.say(kFixed + option(kOptGo, sized("disk") + u16(2) + u16(kInfoName) + u16(kInfoDescription)));
    const std::vector<Reply> replies = client.replies();
    ASSERT_EQ(replies.size(), 5u);
    const uint16_t flags = kFlagHasFlags | kFlagSendFlush | kFlagSendFua | kFlagSendTrim | kFlagSendWriteZeroes |
                           kFlagSendDf | kFlagCanMultiConn | kFlagSendCache;
    EXPECT_EQ(replies[0].data, u16(kInfoExport) + wire(Be64(10 << 20)) + u16(flags));
    EXPECT_EQ(replies[1].data, u16(kInfoBlockSize) + u32(1) + u32(4096) + u32(32 << 20));
    EXPECT_EQ(replies[2].data, u16(kInfoName) + "disk");
    EXPECT_EQ(replies[3].data, u16(kInfoDescription) + "a disk");
    EXPECT_EQ(replies[4].type, uint32_t{kRepAck});
    EXPECT_EQ(client.negotiation.state(), Negotiation::State::kTransmission);
    EXPECT_EQ(client.negotiation.export_name(), "disk");
    EXPECT_FALSE(client.negotiation.agreement().structured_replies);
  }
}

TEST(NbdNegotiation, InfoDoesNotEnter) {
  Conversation client;
  client.say(kFixed + option(kOptInfo, sized("image") + u16(0)));
  const std::vector<Reply> replies = client.replies();
  ASSERT_EQ(replies.size(), 3u);
  const uint16_t flags = load_object<Be16>(as_bytes(replies[0].data).subspan(10));
  EXPECT_EQ(flags & (kFlagReadOnly | kFlagSendTrim | kFlagSendWriteZeroes), kFlagReadOnly);
  EXPECT_EQ(client.negotiation.state(), Negotiation::State::kOptions);
}

TEST(NbdNegotiation, UnknownExportAndFullExportAreRefusedAndTheClientMayGoOn) {
  Conversation client;
  client.exports.full_ = "disk";
  client.say(kFixed + go("nothing"));
  EXPECT_EQ(client.reply().type, uint32_t{kRepErrUnknown});
  client.say(go("disk"));
  EXPECT_EQ(client.reply().type, uint32_t{kRepErrPolicy});
  client.say(go("image"));
  EXPECT_EQ(client.negotiation.export_name(), "image");
}

TEST(NbdNegotiation, ExportNameOfOldClients) {
  Conversation plain;
  plain.say(u32(kHandshakeFixedNewstyle) + option(kOptExportName, "disk"));
  EXPECT_EQ(plain.output.size(), 10u + 124u);
  EXPECT_EQ(plain.negotiation.state(), Negotiation::State::kTransmission);
  Conversation short_reply;
  short_reply.say(kFixed + option(kOptExportName, "disk"));
  EXPECT_EQ(short_reply.output.size(), 10u);
  Conversation unknown;
  unknown.say(kFixed + option(kOptExportName, "nothing"));
  EXPECT_EQ(unknown.output, "");
  EXPECT_EQ(unknown.negotiation.state(), Negotiation::State::kClosed);
}

TEST(NbdNegotiation, ListsExports) {
  Conversation client;
  client.say(kFixed + option(kOptList, ""));
  const std::vector<Reply> replies = client.replies();
  ASSERT_EQ(replies.size(), 3u);
  EXPECT_EQ(replies[0].data, sized("disk") + "a disk");
  EXPECT_EQ(replies[1].data, sized("image"));
  EXPECT_EQ(replies[2].type, uint32_t{kRepAck});
  client.say(option(kOptList, "x"));
  EXPECT_EQ(client.reply().type, uint32_t{kRepErrInvalid});
}

TEST(NbdNegotiation, AllocationContextNeedsStructuredRepliesAndHoldsForItsExport) {
  const std::string set = option(kOptSetMetaContext, sized("disk") + u32(2) + sized("x:y") + sized("base:allocation"));
  Conversation client;
  client.say(kFixed + set);
  EXPECT_EQ(client.reply().type, uint32_t{kRepErrInvalid});
  client.say(option(kOptStructuredReply, ""));
  EXPECT_EQ(client.reply().type, uint32_t{kRepAck});
  client.say(set);
  const std::vector<Reply> replies = client.replies();
  ASSERT_EQ(replies.size(), 2u);
  EXPECT_EQ(replies[0].data, u32(kAllocationContextId) + "base:allocation");
  client.say(go("disk"));
  EXPECT_TRUE(client.negotiation.agreement().structured_replies);
  EXPECT_TRUE(client.negotiation.agreement().allocation_context);

  Conversation other;
  other.say(kFixed + option(kOptStructuredReply, "") + set + go("image"));
  EXPECT_FALSE(other.negotiation.agreement().allocation_context);
  Conversation taken_back;
  taken_back.say(kFixed + option(kOptStructuredReply, "") + set + option(kOptSetMetaContext, sized("disk") + u32(0)) +
                 go("disk"));
  EXPECT_FALSE(taken_back.negotiation.agreement().allocation_context);
}

TEST(NbdNegotiation, ListsContextsByWildcard) {
  Conversation client;
  client.say(kFixed + option(kOptListMetaContext, sized("disk") + u32(0)));
  EXPECT_EQ(client.replies().size(), 2u);
  client.say(option(kOptListMetaContext, sized("disk") + u32(1) + sized("base:")));
  EXPECT_EQ(client.replies().size(), 2u);
  client.say(option(kOptListMetaContext, sized("disk") + u32(1) + sized("qemu:")));
  EXPECT_EQ(client.reply().type, uint32_t{kRepAck});
}

TEST(NbdNegotiation, TlsAndUnknownOptionsAreUnsupported) {
  Conversation client;
  client.say(kFixed);
  for (uint32_t number : {4u, 5u, 11u, 12345u, 0u}) {
    client.say(option(number, ""));
    const Reply reply = client.reply();
    EXPECT_EQ(reply.type, uint32_t{kRepErrUnsupported});
    EXPECT_EQ(reply.option, number);
  }
  EXPECT_EQ(client.negotiation.state(), Negotiation::State::kOptions);
}

TEST(NbdNegotiation, AbortIsAcknowledged) {
  Conversation client;
  client.say(kFixed + option(kOptAbort, ""));
  EXPECT_EQ(client.reply().type, uint32_t{kRepAck});
  EXPECT_EQ(client.negotiation.state(), Negotiation::State::kClosed);
}

TEST(NbdNegotiation, MalformedOptionsAreInvalid) {
  const std::string bad[] = {option(kOptGo, ""),
                             option(kOptGo, u32(100) + "disk"),
                             option(kOptGo, sized("disk")),
                             option(kOptGo, sized("disk") + u16(2) + u16(1)),
                             option(kOptGo, sized("disk") + u16(0) + "x"),
                             option(kOptGo, u32(0xffffffff) + "disk" + u16(0)),
                             option(kOptStructuredReply, "x"),
                             option(kOptListMetaContext, sized("disk") + u32(0xffffffff)),
                             option(kOptListMetaContext, sized("disk") + u32(1) + u32(0xffffffff) + "base:")};
  for (const std::string& text : bad) {
    Conversation client;
    client.say(kFixed + text);
    EXPECT_EQ(client.reply().type, uint32_t{kRepErrInvalid});
    client.say(go("disk"));
    EXPECT_EQ(client.negotiation.state(), Negotiation::State::kTransmission);
  }
}

TEST(NbdNegotiation, OverlongOptionsAreSkippedUpToABound) {
  Conversation client(4096);
  client.say(kFixed + option(kOptInfo, std::string(kOptionBytesMax + 1, 'x')));
  EXPECT_EQ(client.reply().type, uint32_t{kRepErrTooBig});
  client.say(option(kOptInfo, sized(std::string(5000, 'n')) + u16(0)));
  EXPECT_EQ(client.reply().type, uint32_t{kRepErrTooBig});
  client.say(option(kOptInfo, std::string(kOptionBytesSkipped, 'x')));
  EXPECT_EQ(client.reply().type, uint32_t{kRepErrTooBig});
  client.say(option(kOptInfo, std::string(kOptionBytesSkipped + 1, 'x')));
  EXPECT_EQ(client.negotiation.state(), Negotiation::State::kClosed);
}

TEST(NbdNegotiation, WrongMagicUnknownFlagsAndEndlessOptionsEndIt) {
  Conversation flags;
  flags.say(u32(4));
  EXPECT_EQ(flags.negotiation.state(), Negotiation::State::kClosed);
  Conversation magic;
  magic.say(kFixed + std::string(16, 'm'));
  EXPECT_EQ(magic.negotiation.state(), Negotiation::State::kClosed);
  Conversation old;
  old.say(u32(0) + option(kOptList, ""));
  EXPECT_EQ(old.negotiation.state(), Negotiation::State::kClosed);
  Conversation endless;
  endless.say(kFixed);
  for (uint32_t i = 0; i < kOptionsMax; ++i) endless.say(option(kOptList, ""));
  EXPECT_EQ(endless.negotiation.state(), Negotiation::State::kOptions);
  endless.say(option(kOptList, ""));
  EXPECT_EQ(endless.negotiation.state(), Negotiation::State::kClosed);
}

}  // namespace
}  // namespace foreshard::front::nbd
