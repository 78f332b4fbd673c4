// A model as a file:
//   ModelHeader; vocabulary: int64 each, ascending; weights: float32 each, in the order of torch/train_module.h; card:
//   JSON text for people.
// Little-endian. The decoder takes files from anywhere: what is damaged, out of bounds, not finite or newer than it
// knows is refused with the reason, before memory is taken for it; nothing it accepts can make a step slow or wrong
// beyond a bad guess.
#pragma once

#include <array>
#include <cstdint>

#include "base/bytes.h"
#include "base/result.h"
#include "policy/predict/neural/model.h"

namespace foreshard::policy {

inline constexpr uint64_t kModelMagic = 0x316c65646f6d7366ull;  // "fsmodel1"
inline constexpr uint32_t kModelFormatVersion = 1;

// The first four fields keep their place and meaning in every format.
struct ModelHeader {
  uint64_t magic = kModelMagic;
  uint32_t format_version = kModelFormatVersion;
  uint32_t checksum = 0;  // CRC32C of the whole file with this field zero
  uint64_t file_bytes = 0;
  uint64_t weights = 0;
  uint32_t card_bytes = 0;
  uint32_t kind = 0;
  uint32_t symbols = 0;
  uint32_t vocabulary = 0;
  uint32_t regions = 0;
  uint32_t pages = 0;
  uint32_t workloads = 0;
  uint32_t labels = 0;
  uint32_t width = 0;
  uint32_t hidden = 0;
  uint32_t layers = 0;
  uint32_t attention_heads = 0;
  uint32_t context = 0;
  uint32_t history_entries = 0;
  uint32_t near_pages = 0;
  std::array<uint8_t, 36> reserved{};  // zero
};
static_assert(sizeof(ModelHeader) == 128);

inline constexpr uint64_t kModelFileBytesMax = sizeof(ModelHeader) + Vocabulary::kSymbolsMax * sizeof(int64_t) +
                                               kModelWeightsMax * sizeof(float) + kModelCardBytesMax;

// The model must be within its bounds; its card may hold printable text and line ends only.
std::vector<std::byte> encode_model(const Model& model);
// kUnsupported: a newer format; kCorrupt: anything else that is wrong with it.
Result<Model> decode_model(ConstByteSpan bytes);

}  // namespace foreshard::policy
