#include "policy/predict/neural/model_format.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/assert.h"
#include "base/crc32c.h"

namespace foreshard::policy {
namespace {

tl::unexpected<Error> damaged(std::string what) { return fail(ErrorCode::kCorrupt, "model file", std::move(what)); }

uint32_t checksum_of(ModelHeader header, ConstByteSpan rest) {
  header.checksum = 0;
  return crc32c(rest, crc32c(object_bytes(header)));
}

constexpr int kCardDepthMax = 32;

bool is_plain_text(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte == '\n' || (byte >= 0x20 && byte != 0x7f);
  });
}

// Deeper than any card is; readers of JSON recurse, and what they write is indented.
bool is_shallow(std::string_view json) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (c == '"') in_string = !in_string;
    if (in_string) {
      i += c == '\\';  // what follows is no end
      continue;
    }
    if (c == '[' || c == '{') ++depth;
    if (c == ']' || c == '}') --depth;
    if (depth > kCardDepthMax) return false;
  }
  return true;
}

ModelShape shape_of(const ModelHeader& header) {
  ModelShape shape;
  shape.kind = static_cast<ModelKind>(header.kind);
  shape.symbols = static_cast<SymbolKind>(header.symbols);
  shape.vocabulary = header.vocabulary;
  shape.regions = header.regions;
  shape.pages = header.pages;
  shape.workloads = header.workloads;
  shape.labels = header.labels;
  shape.width = header.width;
  shape.hidden = header.hidden;
  shape.layers = header.layers;
  shape.attention_heads = header.attention_heads;
  shape.context = header.context;
  shape.history_entries = header.history_entries;
  shape.near_pages = header.near_pages;
  return shape;
}

// Whether the lengths that the header states are the file's; so that nothing is taken that is not there.
Result<void> check_sizes(const ModelHeader& header, const ModelShape& shape, uint64_t bytes) {
  if (header.file_bytes != bytes) {
    return damaged("it is " + std::to_string(bytes) + " bytes and says " + std::to_string(header.file_bytes));
  }
  if (header.card_bytes > kModelCardBytesMax) return damaged("its card is too long");
  if (header.weights != shape.weights()) return damaged("its weights are not as many as its shape wants");
  const uint64_t expected = sizeof(ModelHeader) + uint64_t{header.vocabulary} * sizeof(int64_t) +
                            header.weights * sizeof(float) + header.card_bytes;
  if (expected != bytes) return damaged("its parts do not add up to its length");
  return {};
}

}  // namespace

std::vector<std::byte> encode_model(const Model& model) {
  ASSERT(model.shape.check() && model.weights.size() == model.shape.weights(), model.weights.size());
  ASSERT(model.vocabulary.size() == model.shape.vocabulary, model.vocabulary.size());
  ASSERT(model.card.size() <= kModelCardBytesMax && is_plain_text(model.card), model.card.size());
  ModelHeader header;
  header.weights = model.weights.size();
  header.card_bytes = static_cast<uint32_t>(model.card.size());
  header.kind = static_cast<uint32_t>(model.shape.kind);
  header.symbols = static_cast<uint32_t>(model.shape.symbols);
  header.vocabulary = model.shape.vocabulary;
  header.regions = model.shape.regions;
  header.pages = model.shape.pages;
  header.workloads = model.shape.workloads;
  header.labels = model.shape.labels;
  header.width = model.shape.width;
  header.hidden = model.shape.hidden;
  header.layers = model.shape.layers;
  header.attention_heads = model.shape.attention_heads;
  header.context = model.shape.context;
  header.history_entries = model.shape.history_entries;
  header.near_pages = model.shape.near_pages;
  const size_t vocabulary_bytes = model.vocabulary.size() * sizeof(int64_t);
  const size_t weight_bytes = model.weights.size() * sizeof(float);
  header.file_bytes = sizeof(header) + vocabulary_bytes + weight_bytes + model.card.size();
  std::vector<std::byte> bytes(header.file_bytes);
  std::byte* at = bytes.data() + sizeof(header);
  std::memcpy(at, model.vocabulary.values().data(), vocabulary_bytes);
  std::memcpy(at + vocabulary_bytes, model.weights.data(), weight_bytes);
  std::memcpy(at + vocabulary_bytes + weight_bytes, model.card.data(), model.card.size());
  header.checksum = checksum_of(header, ConstByteSpan(bytes).subspan(sizeof(header)));
  std::memcpy(bytes.data(), &header, sizeof(header));
  return bytes;
}

Result<Model> decode_model(ConstByteSpan bytes) {
  if (bytes.size() < sizeof(ModelHeader)) return damaged("it is too short");
  const auto header = load_object<ModelHeader>(bytes);
  if (header.magic != kModelMagic) return damaged("this is no model of foreshard");
  if (header.format_version > kModelFormatVersion) {
    return fail(ErrorCode::kUnsupported, "model file",
                "it is of format " + std::to_string(header.format_version) + ", this program knows up to " +
                    std::to_string(kModelFormatVersion) + "; train it anew, or use a newer foreshard");
  }
  if (header.format_version == 0) return damaged("it is of format 0");
  if (bytes.size() > kModelFileBytesMax) return damaged("it is too long");
  Model model;
  model.shape = shape_of(header);
  if (const Result<void> checked = model.shape.check(); !checked) return damaged(checked.error().detail);
  TRY_VOID(check_sizes(header, model.shape, bytes.size()));
  if (header.checksum != checksum_of(header, bytes.subspan(sizeof(header)))) return damaged("its checksum is wrong");
  if (header.reserved != decltype(header.reserved){}) return damaged("what is reserved is not zero");

  const std::byte* at = bytes.data() + sizeof(header);
  std::vector<int64_t> symbols(header.vocabulary);
  std::memcpy(symbols.data(), at, symbols.size() * sizeof(int64_t));
  at += symbols.size() * sizeof(int64_t);
  if (!Vocabulary::is_valid(symbols)) return damaged("its vocabulary does not ascend");
  model.vocabulary = Vocabulary(std::move(symbols));
  model.weights.resize(header.weights);
  std::memcpy(model.weights.data(), at, model.weights.size() * sizeof(float));
  at += model.weights.size() * sizeof(float);
  // Not finite compares false too.
  const auto sound = [](float weight) { return std::fabs(weight) <= kModelWeightMax; };
  if (!std::all_of(model.weights.begin(), model.weights.end(), sound)) {
    return damaged("a weight is not a number, or beyond every bound");
  }
  model.card.assign(reinterpret_cast<const char*>(at), header.card_bytes);
  if (!is_plain_text(model.card)) return damaged("its card is not plain text");
  if (!is_shallow(model.card)) return damaged("its card is nested too deeply");
  return model;
}

}  // namespace foreshard::policy
