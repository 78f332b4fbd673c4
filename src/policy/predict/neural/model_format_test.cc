// Shows that a model survives its file, and that damaged, cut, foreign, newer and hostile files are refused with the
// reason: every flipped bit, every length, and out-of-bounds values behind a right checksum.
#include "policy/predict/neural/model_format.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "base/crc32c.h"
#include "policy/predict/neural/model_testing.h"

namespace foreshard::policy {
namespace {

Model small_model() {
  ModelShape shape;
  shape.vocabulary = 5;
  shape.regions = shape.pages = shape.workloads = shape.labels = 2;
  shape.width = 3;
  shape.hidden = 4;
  shape.history_entries = 4;
  return random_model(shape, 1);
}

// The file with one change, and a checksum that fits it.
template <class Change>
Result<Model> decode_changed(Change change) {
  std::vector<std::byte> bytes = encode_model(small_model());
  auto header = load_object<ModelHeader>(bytes);
  change(header, bytes);
  header.checksum = 0;
  header.checksum = crc32c(ConstByteSpan(bytes).subspan(sizeof(header)), crc32c(object_bytes(header)));
  std::memcpy(bytes.data(), &header, sizeof(header));
  return decode_model(bytes);
}

TEST(ModelFormat, SurvivesItsFile) {
  const Model model = small_model();
  const Result<Model> again = decode_model(encode_model(model));
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(*again, model);
  EXPECT_TRUE(decode_changed([](auto&, auto&) {}));
}

TEST(ModelFormat, EveryFlippedBitIsRefused) {
  const std::vector<std::byte> good = encode_model(small_model());
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::vector<std::byte> bytes = good;
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    ASSERT_FALSE(decode_model(bytes)) << "bit " << bit;
  }
}

TEST(ModelFormat, EveryOtherLengthIsRefused) {
  std::vector<std::byte> bytes = encode_model(small_model());
  for (size_t length = 0; length < bytes.size(); ++length) {
    ASSERT_FALSE(decode_model(ConstByteSpan(bytes).first(length))) << length;
  }
  bytes.push_back(std::byte{0});
  EXPECT_FALSE(decode_model(bytes));
}

TEST(ModelFormat, NewerFormatIsNamedWithBothNumbers) {
  const Result<Model> model = decode_changed([](ModelHeader& header, auto&) { header.format_version = 7; });
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(model.error().detail.find("7"), std::string::npos);
  EXPECT_NE(model.error().detail.find("up to 1"), std::string::npos);
}

TEST(ModelFormat, ShapesOutOfBoundsAreRefused) {
  const std::vector<uint32_t ModelHeader::*> fields = {
      &ModelHeader::kind,   &ModelHeader::symbols, &ModelHeader::vocabulary, &ModelHeader::regions,
      &ModelHeader::pages,  &ModelHeader::workloads, &ModelHeader::labels,   &ModelHeader::width,
      &ModelHeader::hidden, &ModelHeader::layers,  &ModelHeader::attention_heads, &ModelHeader::context,
      &ModelHeader::history_entries, &ModelHeader::card_bytes, &ModelHeader::near_pages};
  for (const auto field : fields) {
    for (const uint32_t value : {0u, 3u, 0x7fffffffu, 0x80000000u, UINT32_MAX}) {
      if (field == &ModelHeader::near_pages && value == 3) continue;  // as good as any
      const Result<Model> model = decode_changed([&](ModelHeader& header, auto&) {
        if (header.*field == value)
          header.*field = UINT32_MAX;
        else
          header.*field = value;
      });
      ASSERT_FALSE(model) << value;
      ASSERT_EQ(model.error().code, ErrorCode::kCorrupt);
    }
  }
  EXPECT_FALSE(decode_changed([](ModelHeader& header, auto&) { header.weights = UINT64_MAX; }));
  EXPECT_FALSE(decode_changed([](ModelHeader& header, auto&) { header.reserved[3] = 1; }));
}

TEST(ModelFormat, UnsoundWeightsAreRefused) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float weight : {std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity, 1e30f, -1001.0f}) {
    const Result<Model> model = decode_changed([&](const ModelHeader& header, std::vector<std::byte>& bytes) {
      std::memcpy(bytes.data() + sizeof(header) + header.vocabulary * sizeof(int64_t) + 40, &weight, sizeof(weight));
    });
    ASSERT_FALSE(model) << weight;
  }
}

TEST(ModelFormat, VocabularyMustAscend) {
  const Result<Model> model = decode_changed([](const ModelHeader& header, std::vector<std::byte>& bytes) {
    std::memcpy(bytes.data() + sizeof(header), bytes.data() + sizeof(header) + sizeof(int64_t), sizeof(int64_t));
  });
  ASSERT_FALSE(model);
  EXPECT_NE(model.error().detail.find("ascend"), std::string::npos);
}

// A card is printed to a terminal.
TEST(ModelFormat, CardMustBePlainText) {
  EXPECT_FALSE(decode_changed([](auto&, std::vector<std::byte>& bytes) { bytes.back() = std::byte{0x1b}; }));
}

// Readers of JSON recurse; brackets within its texts neither count nor make up for others.
TEST(ModelFormat, CardMustBeShallow) {
  const auto with_card = [](std::string card) {
    Model model = small_model();
    model.card = std::move(card);
    return decode_model(encode_model(model));
  };
  const std::string open(40, '['), close(40, ']');
  EXPECT_TRUE(with_card(R"({"note": ")" + open + R"(\""})"));
  EXPECT_FALSE(with_card(open + close));
  EXPECT_FALSE(with_card(R"([")" + close + R"(", )" + open + close + "]"));
  EXPECT_FALSE(with_card(R"(["\")" + close + R"(", )" + open + close + "]"));
}

// No shape that is accepted takes long, or much memory.
TEST(ModelFormat, BoundsHoldTogether) {
  ModelShape shape;
  shape.vocabulary = Vocabulary::kSymbolsMax;
  shape.hidden = kModelHiddenMax;
  EXPECT_FALSE(shape.check());
  shape.hidden = 128;
  EXPECT_TRUE(shape.check());
  EXPECT_LE(shape.multiplications_per_step(), kModelMultiplicationsPerStepMax);
}

}  // namespace
}  // namespace foreshard::policy
