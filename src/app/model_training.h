// Making a model from recorded requests: vocabulary, tokens, training by the module, judged on what it has not seen.
// Blocking and long: to be called from a command, or from a thread of its own.
#pragma once

#include <functional>
#include <vector>

#include "app/train_module.h"
#include "policy/predict/neural/evaluation.h"
#include "policy/predict/neural/model.h"
#include "policy/predict/neural/training_data.h"

namespace foreshard::app {

// A shape that suits the kind; `vocabulary` is then the most symbols that it may hold.
policy::ModelShape default_model_shape(policy::ModelKind kind, policy::SymbolKind symbols);

// Makes a shape predict each stream of a volume by itself, within so many pages.
void look_near(policy::ModelShape& shape, uint32_t near_pages);

// The most reads that a model is trained and judged on: some 100 bytes of memory each.
inline constexpr uint64_t kTrainingAccessesMax = 8'000'000;

// Without a card. on_progress returns false to stop; what is best so far becomes the model.
Result<policy::Model> train_model(const TrainModule& module, const std::vector<policy::AccessSequence>& sequences,
                                  const policy::ModelShape& wanted, const TrainOptions& options,
                                  const std::function<bool(const TrainProgress&)>& on_progress);

// The loss of each answer that the model gives on the latest part; what else there is to say goes to `evaluation`.
// kCancelled when go_on said false.
Result<std::vector<float>> losses_of(const policy::Model& model, const std::vector<policy::AccessSequence>& sequences,
                                     policy::Evaluation& evaluation, const std::function<bool()>& go_on);

}  // namespace foreshard::app
