#include "app/model_training.h"

#include <algorithm>
#include <cmath>

#include "policy/predict/neural/initial_weights.h"

namespace foreshard::app {
namespace {

// Values of features that the data did not show (a time where none was recorded, an unknown label) become the mean of
// those that they did, so that they say nothing.
void fill_unseen_rows(policy::Model& model, const policy::TokenData& data) {
  const size_t width = model.shape.width;
  std::vector<bool> seen(model.shape.table_rows());
  for (const policy::Token& token : data.tokens) {
    for (const uint32_t row : token) seen[row] = true;
  }
  const auto offsets = model.shape.feature_offsets();
  for (uint32_t feature = 0; feature < policy::kFeatures; ++feature) {
    const uint32_t begin = offsets[feature];
    const uint32_t end = begin + model.shape.feature_values(static_cast<policy::Feature>(feature));
    std::vector<double> mean(width);
    size_t rows = 0;
    for (uint32_t row = begin; row < end; ++row) {
      if (!seen[row]) continue;
      ++rows;
      for (size_t i = 0; i < width; ++i) mean[i] += model.weights[row * width + i];
    }
    for (uint32_t row = begin; row < end && rows > 0; ++row) {
      if (seen[row]) continue;
      for (size_t i = 0; i < width; ++i) {
        model.weights[row * width + i] = static_cast<float>(mean[i] / static_cast<double>(rows));
      }
    }
  }
}

}  // namespace

policy::ModelShape default_model_shape(policy::ModelKind kind, policy::SymbolKind symbols) {
  policy::ModelShape shape;
  shape.kind = kind;
  shape.symbols = symbols;
  shape.vocabulary = 1024;
  if (kind == policy::ModelKind::kTransformer) {
    shape.hidden = 256;
    shape.layers = 2;
    shape.attention_heads = 4;
    shape.context = 32;
  }
  return shape;
}

void look_near(policy::ModelShape& shape, uint32_t near_pages) {
  shape.near_pages = near_pages;
  shape.vocabulary = std::min(shape.vocabulary, 2 * near_pages + 1);
  shape.pages = 1;  // a stream is at a place once only
  shape.history_entries = 2;
}

Result<policy::Model> train_model(const TrainModule& module, const std::vector<policy::AccessSequence>& sequences,
                                  const policy::ModelShape& wanted, const TrainOptions& options,
                                  const std::function<bool(const TrainProgress&)>& on_progress) {
  policy::Model model;
  model.shape = wanted;
  model.vocabulary = policy::learn_vocabulary(sequences, wanted.symbols, wanted.vocabulary);
  model.shape.vocabulary = model.vocabulary.size();
  TRY_VOID(model.shape.check());
  policy::TokenData train, validation;
  policy::tokenize(sequences, model.shape, model.vocabulary, train, validation);
  model.weights = policy::initial_weights(model.shape, options.seed);
  TRY(const double loss, module.train(model.shape, options, train, validation, model.weights, on_progress));
  fill_unseen_rows(model, train);
  const auto sound = [](float weight) { return std::fabs(weight) <= policy::kModelWeightMax; };
  if (!std::isfinite(loss) || !std::all_of(model.weights.begin(), model.weights.end(), sound)) {
    return fail(ErrorCode::kInvalid, "training", std::string("it did not converge; try a lower --rate, or more data"));
  }
  return model;
}

Result<std::vector<float>> losses_of(const policy::Model& model, const std::vector<policy::AccessSequence>& sequences,
                                     policy::Evaluation& evaluation, const std::function<bool()>& go_on) {
  std::vector<float> losses;
  const auto network = policy::SequenceModel::create(model);
  const auto on_progress = [&go_on](uint64_t, uint64_t) { return go_on(); };
  evaluation = policy::evaluate(*network, model, sequences, policy::EvaluatedPart::kTest, on_progress, &losses);
  if (!go_on()) return fail(ErrorCode::kCancelled, "judging a model");
  return losses;
}

}  // namespace foreshard::app
