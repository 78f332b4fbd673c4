// Model: all that a neural expert needs to predict: its shape, its vocabulary and its weights, with a card that says
// to people where it comes from. A plain value; model_format.h brings it to bytes and back.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "policy/predict/neural/vocabulary.h"

namespace foreshard::policy {

enum class ModelKind : uint32_t {
  kLstm = 1,         // one recurrent layer, over block requests
  kTransformer = 2,  // causal attention over the last `context` accesses, over files
};
const char* model_kind_name(ModelKind kind);

// What symbols are of.
enum class SymbolKind : uint32_t {
  kDelta = 1,  // pages from the end of the previous request to the start of this one
  kFile = 2,   // the file that is read
};

// What a token is made of: each feature has so many values, and each value a row of the model's table. A token is the
// sum of its features' rows.
enum class Feature : uint32_t {
  kSymbol,      // 0: not in the vocabulary
  kHistory,     // what followed this position the last time; 0: other, 1: unknown
  kRegion,      // hashed 256 KiB neighbourhood of the first page, or hashed file
  kPage,        // hashed first page
  kOperation,   // read, or read after writes
  kLength,      // class of the request's size
  kGap,         // class of the time since the previous request
  kRun,         // how many times in a row history has been right
  kRecurrence,  // how often the position was seen, and whether its last two histories agree
  kWorkload,    // hashed type of workload, static
  kLabel,       // hashed label of the VM, static
  kPlace,       // files: whether it starts, continues, repeats or jumps
};
inline constexpr uint32_t kFeatures = 12;

// What is predicted.
enum class Head : uint32_t { kSymbol, kLength, kPlace };
inline constexpr uint32_t kHeads = 3;

// The first numbers that the symbol head can answer; the vocabulary's follow.
enum : uint32_t {
  kAnswerOther = 0,      // something that cannot be named
  kAnswerHistory = 1,    // what followed this position the last time
  kAnswerHistory2 = 2,   // what followed it the time before, where that differs
  kAnswerVocabulary = 3,
};

inline constexpr uint32_t kLengthClasses = 16;
inline constexpr uint32_t kPlaces = 4;

struct ModelShape {
  ModelKind kind = ModelKind::kLstm;
  SymbolKind symbols = SymbolKind::kDelta;
  uint32_t vocabulary = 0;      // symbols in it
  uint32_t regions = 256;       // hash buckets, powers of two
  uint32_t pages = 4096;
  uint32_t workloads = 16;
  uint32_t labels = 64;
  uint32_t width = 64;          // of a token
  uint32_t hidden = 128;        // LSTM: its state; Transformer: the inner layer of its blocks
  uint32_t layers = 1;          // Transformer only; 1 for an LSTM
  uint32_t attention_heads = 1;
  uint32_t context = 1;
  uint32_t history_entries = 65536;  // of the table of what followed, a power of two
  // Not 0: the streams interleaved in a volume are told apart by nearness (stream_splitter.h) and each predicted by
  // itself; what it answers is then where the stream goes on, or with kAnswerOther that it does not.
  uint32_t near_pages = 0;

  bool operator==(const ModelShape&) const = default;
  uint32_t feature_values(Feature feature) const;
  uint32_t table_rows() const;
  // Where a feature's rows begin.
  std::array<uint32_t, kFeatures> feature_offsets() const;
  uint32_t head_values(Head head) const;
  // What the heads read.
  uint32_t output_width() const { return kind == ModelKind::kLstm ? hidden : width; }
  uint64_t weights() const;
  uint64_t multiplications_per_step() const;
  // kInvalid or kTooLarge, saying what is out of bounds.
  Result<void> check() const;
};

inline constexpr uint32_t kModelWidthMax = 256;
inline constexpr uint32_t kModelHiddenMax = 512;
inline constexpr uint32_t kModelLayersMax = 4;
inline constexpr uint32_t kModelContextMax = 64;
inline constexpr uint32_t kModelTableRowsMax = 1u << 17;
inline constexpr uint32_t kModelNearPagesMax = 4096;
inline constexpr uint32_t kModelHistoryEntriesMax = 1u << 18;
inline constexpr uint64_t kModelWeightsMax = 4u << 20;                // 16 MiB
inline constexpr uint64_t kModelMultiplicationsPerStepMax = 1u << 20;  // some 100 us: no model can stall its host
inline constexpr float kModelWeightMax = 1000;  // beyond it nothing trained lies, and sums could leave the floats
inline constexpr uint64_t kModelCardBytesMax = 64u << 10;

struct Model {
  ModelShape shape;
  Vocabulary vocabulary;
  std::vector<float> weights;  // in the order of predict/torch/train_module.h
  std::string card;            // JSON text
  bool operator==(const Model&) const = default;
};

}  // namespace foreshard::policy
