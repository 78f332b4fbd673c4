#include "policy/predict/neural/sequence_model.h"

#include "base/assert.h"
#include "policy/predict/neural/lstm.h"
#include "policy/predict/neural/transformer.h"

namespace foreshard::policy {

std::unique_ptr<SequenceModel> SequenceModel::create(const Model& model) {
  ASSERT(model.shape.check() && model.weights.size() == model.shape.weights(), model.weights.size());
  if (model.shape.kind == ModelKind::kLstm) return std::make_unique<Lstm>(model);
  return std::make_unique<Transformer>(model);
}

void SequenceModel::scores(const SequenceState& state, Head head, std::span<float> out) const {
  heads_[static_cast<uint32_t>(head)].multiply(state.values.data(), out.data());
}

void SequenceModel::probabilities(const SequenceState& state, Head head, std::span<float> out) const {
  scores(state, head, out);
  softmax(out.data(), answers(head));
}

}  // namespace foreshard::policy
