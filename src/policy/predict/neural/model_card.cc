#include "policy/predict/neural/model_card.h"

#include <algorithm>

#include <fmt/format.h>

namespace foreshard::policy {
namespace {

constexpr size_t kNameBytesMax = 200;
constexpr size_t kDataMax = 100;

// As JSON wants it; what is not printable becomes a dot.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text.substr(0, kNameBytesMax)) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '.' : c;
  }
  return out + "\"";
}

std::string accuracy_text(const Evaluation& evaluation, const Accuracy& accuracy) {
  return fmt::format("{{\"top_1\": {:.4f}, \"top_{}\": {:.4f}}}", evaluation.share(accuracy.top1), kEvaluatedAnswers,
                     evaluation.share(accuracy.top_k));
}

}  // namespace

std::string model_card_text(const ModelCard& card, const Model& model, const Evaluation& evaluation) {
  const ModelShape& shape = model.shape;
  std::string text = fmt::format("{{\n  \"kind\": \"{}\",\n  \"symbols\": \"{}\",\n  \"created\": {},\n",
                                 model_kind_name(shape.kind), shape.symbols == SymbolKind::kFile ? "files" : "deltas",
                                 quoted(card.created));
  text += fmt::format("  \"versions\": {{\"program\": {}, \"libraries\": {}, \"instructions\": {}}},\n",
                      quoted(card.program), quoted(card.libraries), quoted(card.instructions));
  text += "  \"data\": [";
  for (size_t i = 0; i < std::min(card.data.size(), kDataMax); ++i) {
    const ModelCard::Data& data = card.data[i];
    text += fmt::format("{}\n    {{\"name\": {}, \"requests\": {}, \"reads_used\": {}}}", i == 0 ? "" : ",",
                        quoted(data.name), data.requests, data.reads_used);
  }
  text += "\n  ],\n";
  const double test = 1 - card.split.train - card.split.validation;
  text += fmt::format(
      "  \"split\": {{\"by\": \"time\", \"train\": {:.2f}, \"validation\": {:.2f}, \"test\": {:.2f}}},\n",
      card.split.train, card.split.validation, test);
  text += fmt::format(
      "  \"training\": {{\"misses_of_cache_share\": {:.3f}, \"seed\": {}, \"epochs\": {}, \"cpu_seconds\": {:.1f}}},\n",
      card.cache_share, card.seed, card.epochs, card.cpu_seconds);
  text += fmt::format(
      "  \"shape\": {{\"vocabulary\": {}, \"width\": {}, \"hidden\": {}, \"layers\": {}, \"context\": {}, "
      "\"history_entries\": {}, \"weights\": {}, \"multiplications_per_step\": {}}},\n",
      shape.vocabulary, shape.width, shape.hidden, shape.layers, shape.context, shape.history_entries, shape.weights(),
      shape.multiplications_per_step());
  uint64_t said = 0;
  const Accuracy sure = evaluation.confident(0.5, said);
  text += fmt::format(
      "  \"test\": {{\n    \"answers\": {},\n    \"model\": {},\n    \"commonest\": {},\n    \"markov\": {},\n"
      "    \"history\": {},\n    \"log_loss\": {:.4f},\n    \"calibration_error\": {:.4f},\n    \"brier\": {:.4f},\n"
      "    \"confident\": {{\"probability_min\": 0.5, \"share\": {:.4f}, \"right\": {:.4f}}},\n"
      "    \"length\": {:.4f}\n  }}\n}}\n",
      evaluation.answers, accuracy_text(evaluation, evaluation.model), accuracy_text(evaluation, evaluation.commonest),
      accuracy_text(evaluation, evaluation.markov), accuracy_text(evaluation, evaluation.history),
      evaluation.mean_log_loss(), evaluation.calibration_error(), evaluation.mean_brier(), evaluation.share(said),
      said == 0 ? 0 : static_cast<double>(sure.top1) / static_cast<double>(said),
      evaluation.share(evaluation.length_right));
  return text;
}

}  // namespace foreshard::policy
