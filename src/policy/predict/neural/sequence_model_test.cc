// Shows that the vectorised networks calculate what a plain implementation in doubles does, also for sizes that fill
// no whole vectors and beyond the Transformer's window, and that a copied state goes its own way.
#include "policy/predict/neural/sequence_model.h"

#include <gtest/gtest.h>

#include <cmath>

#include "policy/predict/neural/model_testing.h"

namespace foreshard::policy {
namespace {

using Values = std::vector<double>;

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// W x + b, W row by row.
Values linear(std::span<const float> w, std::span<const float> b, const Values& x) {
  Values y(b.begin(), b.end());
  for (size_t i = 0; i < y.size(); ++i) {
    for (size_t j = 0; j < x.size(); ++j) y[i] += static_cast<double>(w[i * x.size() + j]) * x[j];
  }
  return y;
}

Values norm(const Values& x, std::span<const float> gain, std::span<const float> bias) {
  double mean = 0, variance = 0;
  for (const double v : x) mean += v / static_cast<double>(x.size());
  for (const double v : x) variance += (v - mean) * (v - mean) / static_cast<double>(x.size());
  Values y;
  for (size_t i = 0; i < x.size(); ++i) y.push_back((x[i] - mean) / std::sqrt(variance + 1e-5) * gain[i] + bias[i]);
  return y;
}

Values embedded(const Model& model, const Token& token) {
  const size_t width = model.shape.width;
  Values x(width);
  for (const uint32_t row : token) {
    for (size_t i = 0; i < width; ++i) x[i] += model.weights[row * width + i];
  }
  return x;
}

// What the heads read after each token.
std::vector<Values> plain_lstm(const Model& model, const std::vector<Token>& tokens) {
  const size_t w = model.shape.width, h = model.shape.hidden;
  WeightReader reader(model.weights);
  reader.take(model.shape.table_rows() * w);
  const auto of_input = reader.take(4 * h * w), of_state = reader.take(4 * h * h), bias = reader.take(4 * h);
  const std::vector<float> none(4 * h);
  Values state(h), cell(h);
  std::vector<Values> all;
  for (const Token& token : tokens) {
    const Values a = linear(of_input, bias, embedded(model, token)), b = linear(of_state, none, state);
    for (size_t i = 0; i < h; ++i) {
      const auto gate = [&](size_t which) { return a[which * h + i] + b[which * h + i]; };
      cell[i] = sigmoid(gate(1)) * cell[i] + sigmoid(gate(0)) * std::tanh(gate(2));
      state[i] = sigmoid(gate(3)) * std::tanh(cell[i]);
    }
    all.push_back(state);
  }
  return all;
}

// Layer by layer over the whole sequence, as the textbook has it.
std::vector<Values> plain_transformer(const Model& model, const std::vector<Token>& tokens) {
  const size_t w = model.shape.width, h = model.shape.hidden, heads = model.shape.attention_heads;
  const size_t context = model.shape.context, size = w / heads;
  WeightReader reader(model.weights);
  reader.take(model.shape.table_rows() * w);
  std::vector<Values> x;
  for (const Token& token : tokens) x.push_back(embedded(model, token));
  for (uint32_t layer = 0; layer < model.shape.layers; ++layer) {
    const auto gain = reader.take(w), bias = reader.take(w);
    const auto qkv = reader.take(3 * w * w), qkv_bias = reader.take(3 * w);
    const auto out = reader.take(w * w), out_bias = reader.take(w), distance = reader.take(heads * context);
    const auto inner_gain = reader.take(w), inner_bias_of_norm = reader.take(w), inner = reader.take(h * w);
    const auto inner_bias = reader.take(h), outer = reader.take(w * h), outer_bias = reader.take(w);
    std::vector<Values> parts;
    for (const Values& one : x) parts.push_back(linear(qkv, qkv_bias, norm(one, gain, bias)));
    for (size_t t = 0; t < x.size(); ++t) {
      Values mixed(w);
      for (size_t head = 0; head < heads; ++head) {
        Values weights;
        double sum = 0;
        for (size_t back = 0; back < context && back <= t; ++back) {
          double score = 0;
          for (size_t i = 0; i < size; ++i) score += parts[t][head * size + i] * parts[t - back][w + head * size + i];
          weights.push_back(std::exp(score / std::sqrt(static_cast<double>(size)) + distance[head * context + back]));
          sum += weights.back();
        }
        for (size_t back = 0; back < weights.size(); ++back) {
          for (size_t i = 0; i < size; ++i) {
            mixed[head * size + i] += weights[back] / sum * parts[t - back][2 * w + head * size + i];
          }
        }
      }
      const Values added = linear(out, out_bias, mixed);
      for (size_t i = 0; i < w; ++i) x[t][i] += added[i];
    }
    for (Values& one : x) {
      Values wide = linear(inner, inner_bias, norm(one, inner_gain, inner_bias_of_norm));
      for (double& v : wide) v = std::max(v, 0.0);
      const Values added = linear(outer, outer_bias, wide);
      for (size_t i = 0; i < w; ++i) one[i] += added[i];
    }
  }
  const auto gain = reader.take(w), bias = reader.take(w);
  for (Values& one : x) one = norm(one, gain, bias);
  return x;
}

void compare(const ModelShape& shape, uint64_t seed) {
  ASSERT_TRUE(shape.check());
  const Model model = random_model(shape, seed);
  const std::unique_ptr<SequenceModel> network = SequenceModel::create(model);
  Random random(seed + 1);
  std::vector<Token> tokens;
  for (int i = 0; i < 100; ++i) tokens.push_back(random_token(shape, random));
  const std::vector<Values> expected =
      shape.kind == ModelKind::kLstm ? plain_lstm(model, tokens) : plain_transformer(model, tokens);
  SequenceState state = network->begin();
  std::vector<float> scores(network->answer_room(Head::kSymbol)), probabilities(scores.size());
  const size_t values = shape.head_values(Head::kSymbol);
  for (size_t t = 0; t < tokens.size(); ++t) {
    network->step(tokens[t], state);
    for (size_t i = 0; i < shape.output_width(); ++i) ASSERT_NEAR(state.values[i], expected[t][i], 1e-4) << t;
    // The first head's weights lie before those of the others.
    size_t at = model.weights.size();
    for (uint32_t head = 0; head < kHeads; ++head) {
      at -= (shape.output_width() + 1) * shape.head_values(static_cast<Head>(head));
    }
    const std::span<const float> all(model.weights);
    const Values y = linear(all.subspan(at), all.subspan(at + values * shape.output_width(), values), expected[t]);
    network->scores(state, Head::kSymbol, scores);
    network->probabilities(state, Head::kSymbol, probabilities);
    double sum = 0;
    for (const double v : y) sum += std::exp(v);
    for (size_t i = 0; i < values; ++i) {
      ASSERT_NEAR(scores[i], y[i], 1e-4);
      ASSERT_NEAR(probabilities[i], std::exp(y[i]) / sum, 1e-5);
    }
  }
}

ModelShape small_shape(ModelKind kind, uint32_t width, uint32_t hidden) {
  ModelShape shape;
  shape.kind = kind;
  shape.vocabulary = 37;
  shape.regions = shape.pages = shape.workloads = shape.labels = 8;
  shape.width = width;
  shape.hidden = hidden;
  shape.history_entries = 16;
  return shape;
}

TEST(SequenceModel, LstmIsThePlainOne) {
  compare(small_shape(ModelKind::kLstm, 64, 128), 1);
  compare(small_shape(ModelKind::kLstm, 13, 21), 2);
  compare(small_shape(ModelKind::kLstm, 1, 1), 3);
}

TEST(SequenceModel, TransformerIsThePlainOneBeyondItsWindow) {
  for (const auto& [width, hidden, heads, layers, context] :
       {std::array<uint32_t, 5>{64, 256, 4, 2, 32}, {24, 50, 3, 3, 7}, {6, 5, 1, 1, 1}}) {
    ModelShape shape = small_shape(ModelKind::kTransformer, width, hidden);
    shape.symbols = SymbolKind::kFile;
    shape.attention_heads = heads;
    shape.layers = layers;
    shape.context = context;
    compare(shape, width);
  }
}

TEST(SequenceModel, CopiedStateGoesItsOwnWay) {
  const ModelShape shape = small_shape(ModelKind::kLstm, 16, 16);
  const Model model = random_model(shape, 5);
  const std::unique_ptr<SequenceModel> network = SequenceModel::create(model);
  Random random(6);
  SequenceState state = network->begin();
  network->step(random_token(shape, random), state);
  const SequenceState before = state;
  SequenceState copy = state;
  network->step(random_token(shape, random), copy);
  EXPECT_EQ(state.values, before.values);
  EXPECT_NE(copy.values, before.values);
}

// The largest weights that a file may hold must not leave the floats, whatever the tokens.
TEST(SequenceModel, ExtremeWeightsStayFinite) {
  for (const ModelKind kind : {ModelKind::kLstm, ModelKind::kTransformer}) {
    ModelShape shape = small_shape(kind, 64, 256);
    if (kind == ModelKind::kTransformer) shape.layers = 4, shape.context = 8;
    Model model = random_model(shape, 7);
    Random random(8);
    for (float& weight : model.weights) weight = random.chance(0.5) ? kModelWeightMax : -kModelWeightMax;
    const std::unique_ptr<SequenceModel> network = SequenceModel::create(model);
    SequenceState state = network->begin();
    std::vector<float> probabilities(network->answer_room(Head::kSymbol));
    for (int i = 0; i < 50; ++i) {
      network->step(random_token(shape, random), state);
      network->probabilities(state, Head::kSymbol, probabilities);
      for (const float p : probabilities) ASSERT_TRUE(p >= 0 && p <= 1.001f) << p;
    }
  }
}

}  // namespace
}  // namespace foreshard::policy
