// Shows that our networks calculate what libtorch's do, to 1e-4, that training learns what can be learned, and that
// the same seed gives the same model. Skipped where the module was not built, except with CI=true.
#include "app/train_module.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string_view>

#include "app/model_training.h"
#include "policy/predict/neural/model_testing.h"
#include "policy/predict/neural/sequence_model.h"

namespace foreshard::app {
namespace {

using policy::Head;
using policy::ModelKind;
using policy::ModelShape;

bool in_ci() {
  const char* const ci = std::getenv("CI");
  return ci != nullptr && std::string_view(ci) == "true";
}

#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool kSanitized = true;  // libtorch is not, and the module is not built then
#else
constexpr bool kSanitized = false;
#endif

#define NEED_MODULE(module)                                                                \
  const Result<TrainModule> module = TrainModule::load();                                  \
  if (!module && (kSanitized || !in_ci())) GTEST_SKIP() << module.error().message();       \
  ASSERT_TRUE(module) << module.error().message()

void compare_with_libtorch(const TrainModule& module, const ModelShape& shape) {
  ASSERT_TRUE(shape.check());
  const policy::Model model = policy::random_model(shape, 11);
  const auto network = policy::SequenceModel::create(model);
  Random random(12);
  std::vector<policy::Token> tokens;
  for (int i = 0; i < 100; ++i) tokens.push_back(policy::random_token(shape, random));
  const Result<std::vector<float>> expected = module.forward(shape, model.weights, tokens);
  ASSERT_TRUE(expected) << expected.error().message();
  policy::SequenceState state = network->begin();
  size_t at = 0;
  for (const policy::Token& token : tokens) {
    network->step(token, state);
    for (uint32_t head = 0; head < policy::kHeads; ++head) {
      std::vector<float> scores(network->answer_room(static_cast<Head>(head)));
      network->scores(state, static_cast<Head>(head), scores);
      for (size_t i = 0; i < network->answers(static_cast<Head>(head)); ++i) {
        ASSERT_NEAR(scores[i], (*expected)[at++], 1e-4);
      }
    }
  }
  EXPECT_EQ(at, expected->size());
}

TEST(TrainModule, LstmIsLibtorchs) {
  NEED_MODULE(module);
  compare_with_libtorch(*module, default_model_shape(ModelKind::kLstm, policy::SymbolKind::kDelta));
  ModelShape odd;
  odd.vocabulary = 9;
  odd.width = 11;
  odd.hidden = 19;
  compare_with_libtorch(*module, odd);
}

TEST(TrainModule, TransformerIsLibtorchs) {
  NEED_MODULE(module);
  compare_with_libtorch(*module, default_model_shape(ModelKind::kTransformer, policy::SymbolKind::kFile));
}

// A walk that turns by what came two requests ago: no table of single distances can tell, a memory can.
std::vector<policy::AccessSequence> walk(uint64_t seed) {
  Random random(seed);
  policy::SequenceBuilder builder(policy::SymbolKind::kDelta, 0);
  std::vector<uint64_t> steps = {3, 5};
  uint64_t page = 1000;
  for (int i = 0; i < 6000; ++i) {
    policy::Access access;
    access.position = page;
    builder.add(0, access, false);
    const uint64_t turned = 8 - steps[steps.size() - 2];
    steps.push_back(random.chance(0.95) ? turned : 8 - turned);
    page += steps.back();
  }
  std::vector<policy::AccessSequence> sequences;
  builder.finish({}, {}, 0, sequences);
  return sequences;
}

ModelShape small_shape(ModelKind kind) {
  ModelShape shape = default_model_shape(kind, policy::SymbolKind::kDelta);
  shape.vocabulary = 8;
  shape.regions = shape.pages = 2;
  shape.width = 16;
  shape.hidden = 64;
  shape.history_entries = 64;
  return shape;
}

TEST(TrainModule, LearnsWhatTablesCannotTell) {
  NEED_MODULE(module);
  for (const ModelKind kind : {ModelKind::kLstm, ModelKind::kTransformer}) {
    const auto sequences = walk(1);
    TrainOptions options;
    options.epochs = 8;
    options.lanes = 4;
    options.chunk = 16;
    options.learning_rate = 0.01f;
    const Result<policy::Model> model = train_model(*module, sequences, small_shape(kind), options, {});
    ASSERT_TRUE(model) << model.error().message();
    const auto network = policy::SequenceModel::create(*model);
    auto evaluation = policy::evaluate(*network, *model, sequences, policy::EvaluatedPart::kTest);
    policy::evaluate_baselines(*model, sequences, policy::EvaluatedPart::kTest, evaluation);
    EXPECT_GT(evaluation.share(evaluation.model.top1), 0.85) << policy::model_kind_name(kind);
    EXPECT_LT(evaluation.share(evaluation.markov.top1), 0.6);
  }
}

TEST(TrainModule, SameSeedSameModel) {
  NEED_MODULE(module);
  const auto sequences = walk(2);
  TrainOptions options;
  options.epochs = 2;
  const auto once = train_model(*module, sequences, small_shape(ModelKind::kLstm), options, {});
  const auto again = train_model(*module, sequences, small_shape(ModelKind::kLstm), options, {});
  options.seed = 2;
  const auto other = train_model(*module, sequences, small_shape(ModelKind::kLstm), options, {});
  ASSERT_TRUE(once && again && other);
  EXPECT_EQ(*once, *again);
  EXPECT_NE(*once, *other);
}

TEST(TrainModule, StopsWhenToldAndKeepsWhatItHas) {
  NEED_MODULE(module);
  const auto sequences = walk(3);
  TrainOptions options;
  options.epochs = 1000;
  uint64_t told = 0;
  const auto model = train_model(*module, sequences, small_shape(ModelKind::kLstm), options,
                                 [&](const TrainProgress&) { return ++told < 20; });
  EXPECT_TRUE(model);
  EXPECT_LE(told, 22u);
}

TEST(TrainModule, AMissingModuleIsNamed) {
  const Result<TrainModule> module = TrainModule::load("/nowhere/module.so");
  ASSERT_FALSE(module);
  EXPECT_EQ(module.error().code, ErrorCode::kNotFound);
  EXPECT_NE(module.error().detail.find("/nowhere/module.so"), std::string::npos);
}

TEST(TrainModule, TooLittleDataIsAnError) {
  NEED_MODULE(module);
  const Result<policy::Model> model = train_model(*module, {}, small_shape(ModelKind::kLstm), {}, {});
  EXPECT_FALSE(model);
}

}  // namespace
}  // namespace foreshard::app
