#include "policy/predict/neural/model.h"

#include <bit>

namespace foreshard::policy {
namespace {

tl::unexpected<Error> out_of_bounds(const std::string& what, uint64_t value) {
  return fail(ErrorCode::kInvalid, "model", what + " is out of bounds: " + std::to_string(value));
}

}  // namespace

const char* model_kind_name(ModelKind kind) { return kind == ModelKind::kLstm ? "lstm" : "transformer"; }

uint32_t ModelShape::feature_values(Feature feature) const {
  switch (feature) {
    case Feature::kSymbol: return vocabulary + 1;
    case Feature::kHistory: return vocabulary + 2;
    case Feature::kRegion: return regions;
    case Feature::kPage: return pages;
    case Feature::kOperation: return 2;
    case Feature::kLength: return kLengthClasses;
    case Feature::kGap: return 8;
    case Feature::kRun: return 8;
    case Feature::kRecurrence: return 12;
    case Feature::kWorkload: return workloads;
    case Feature::kLabel: return labels;
    case Feature::kPlace: return kPlaces;
  }
  return 0;
}

std::array<uint32_t, kFeatures> ModelShape::feature_offsets() const {
  std::array<uint32_t, kFeatures> offsets{};
  uint32_t at = 0;
  for (uint32_t i = 0; i < kFeatures; ++i) {
    offsets[i] = at;
    at += feature_values(static_cast<Feature>(i));
  }
  return offsets;
}

uint32_t ModelShape::table_rows() const {
  return feature_offsets()[kFeatures - 1] + feature_values(static_cast<Feature>(kFeatures - 1));
}

uint32_t ModelShape::head_values(Head head) const {
  switch (head) {
    case Head::kSymbol: return kAnswerVocabulary + vocabulary;
    case Head::kLength: return kLengthClasses;
    case Head::kPlace: return kPlaces;
  }
  return 0;
}

uint64_t ModelShape::weights() const {
  const uint64_t w = width, h = hidden;
  uint64_t count = uint64_t{table_rows()} * w;
  if (kind == ModelKind::kLstm) {
    count += 4 * h * (w + h + 1);
  } else {
    // Two norms, attention and the inner layer of each block; distances; the last norm.
    count += layers * (4 * w + 4 * w * w + 4 * w + 2 * w * h + h + w + uint64_t{attention_heads} * context) + 2 * w;
  }
  for (uint32_t i = 0; i < kHeads; ++i) {
    count += (uint64_t{output_width()} + 1) * head_values(static_cast<Head>(i));
  }
  return count;
}

uint64_t ModelShape::multiplications_per_step() const {
  const uint64_t w = width, h = hidden;
  uint64_t count = kind == ModelKind::kLstm ? 4 * h * (w + h) : layers * (4 * w * w + 2 * w * h + 2 * w * context);
  for (uint32_t i = 0; i < kHeads; ++i) count += uint64_t{output_width()} * head_values(static_cast<Head>(i));
  return count;
}

Result<void> ModelShape::check() const {
  if (kind != ModelKind::kLstm && kind != ModelKind::kTransformer) {
    return out_of_bounds("kind", static_cast<uint32_t>(kind));
  }
  if (symbols != SymbolKind::kDelta && symbols != SymbolKind::kFile) {
    return out_of_bounds("kind of symbols", static_cast<uint32_t>(symbols));
  }
  if (vocabulary > Vocabulary::kSymbolsMax) return out_of_bounds("vocabulary", vocabulary);
  for (const uint32_t buckets : {regions, pages, workloads, labels}) {
    if (buckets > kModelTableRowsMax || !std::has_single_bit(buckets)) return out_of_bounds("hash buckets", buckets);
  }
  if (history_entries < 2 || history_entries > kModelHistoryEntriesMax || !std::has_single_bit(history_entries)) {
    return out_of_bounds("history", history_entries);
  }
  if (width == 0 || width > kModelWidthMax) return out_of_bounds("width", width);
  if (hidden == 0 || hidden > kModelHiddenMax) return out_of_bounds("hidden", hidden);
  if (layers == 0 || layers > kModelLayersMax) return out_of_bounds("layers", layers);
  if (context == 0 || context > kModelContextMax) return out_of_bounds("context", context);
  if (attention_heads == 0 || width % attention_heads != 0) return out_of_bounds("attention heads", attention_heads);
  if (kind == ModelKind::kLstm && (layers != 1 || attention_heads != 1 || context != 1)) {
    return out_of_bounds("layers of an LSTM", layers);
  }
  const bool can_be_near = kind == ModelKind::kLstm && symbols == SymbolKind::kDelta;
  if (near_pages > kModelNearPagesMax || (near_pages != 0 && !can_be_near)) {
    return out_of_bounds("nearness", near_pages);
  }
  // No sum of the above overflows 64 bits.
  if (table_rows() > kModelTableRowsMax) return out_of_bounds("rows of the table", table_rows());
  if (weights() > kModelWeightsMax) return out_of_bounds("weights", weights());
  if (multiplications_per_step() > kModelMultiplicationsPerStepMax) {
    return out_of_bounds("multiplications of a step", multiplications_per_step());
  }
  return {};
}

}  // namespace foreshard::policy
