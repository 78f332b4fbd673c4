// Shows that the expert proposes what its model says with the probability that it says, also a few steps ahead; that
// it is silent without a model, with one of the wrong kind and when it is out of CPU; and keeps to its bounds.
// The models here have weights set by hand: their bias says "as the last time", whatever came before.
#include "policy/predict/neural/neural_predictor.h"

#include <gtest/gtest.h>

#include "policy/predict/neural/evaluation.h"
#include "policy/predict/neural/model_testing.h"

namespace foreshard::policy {
namespace {

// What the softmax of that bias says: of the last history, and together with the one before when that is the same.
constexpr float kLast = 0.8339f;  // e^3 / (e^3 + 4)
constexpr float kSure = 0.8754f;  // (e^3 + 1) / (e^3 + 4)

Observation read(uint64_t page, uint32_t pages = 1) {
  Observation observation;
  observation.first_page = page;
  observation.pages = pages;
  observation.missed_pages = pages;
  return observation;
}

std::shared_ptr<RunnableModel> runnable(Model model) { return std::make_shared<RunnableModel>(std::move(model)); }

TEST(NeuralPredictor, ProposesWhatTheModelSaysAndAFewStepsAhead) {
  NeuralOptions options;
  options.answers_max = 1;
  options.steps_ahead = 3;
  NeuralPredictor predictor(ModelKind::kLstm, runnable(history_model()), options);
  std::vector<Candidate> candidates;
  const std::vector<uint64_t> loop = {10, 500, 30, 77};
  for (int round = 0; round < 3; ++round) {
    for (const uint64_t page : loop) predictor.observe(read(page), candidates);
  }
  candidates.clear();
  predictor.observe(read(10), candidates);
  ASSERT_EQ(candidates.size(), 3u);
  EXPECT_EQ(candidates[0].first_page, 500u);
  EXPECT_EQ(candidates[1].first_page, 30u);
  EXPECT_EQ(candidates[2].first_page, 77u);
  EXPECT_NEAR(candidates[0].confidence, kSure, 1e-3);
  EXPECT_NEAR(candidates[2].confidence, kSure * kSure * kSure, 1e-3);
  EXPECT_EQ(candidates[0].pages, 1u);
  EXPECT_EQ(predictor.name(), "lstm");
}

TEST(NeuralPredictor, TransformerNamesFiles) {
  NeuralOptions options;
  options.answers_max = 1;
  options.steps_ahead = 1;
  options.file_pages_log2 = 20;
  Model model = history_model(ModelKind::kTransformer, SymbolKind::kFile);
  NeuralPredictor predictor(ModelKind::kTransformer, runnable(std::move(model)), options);
  EXPECT_EQ(predictor.name(), "transformer");
  std::vector<Candidate> candidates;
  for (int round = 0; round < 3; ++round) {
    candidates.clear();
    for (const uint64_t file : {3, 9, 5}) predictor.observe(read(file << 20, 2), candidates);
  }
  ASSERT_EQ(candidates.size(), 3u);
  EXPECT_EQ(candidates[0].first_page, 9u << 20);
  EXPECT_EQ(candidates[2].first_page, 3u << 20);
}

TEST(NeuralPredictor, IsSilentWithoutAModelOrWithOneOfAnotherKind) {
  std::vector<Candidate> candidates;
  NeuralPredictor none(ModelKind::kLstm, nullptr, {});
  NeuralPredictor other(ModelKind::kTransformer, runnable(history_model()), {});
  for (uint64_t i = 0; i < 100; ++i) {
    none.observe(read(i % 3), candidates);
    other.observe(read(i % 3), candidates);
  }
  EXPECT_TRUE(candidates.empty());
  none.set_model(runnable(history_model()));
  for (uint64_t i = 0; i < 100; ++i) none.observe(read(i % 3), candidates);
  EXPECT_FALSE(candidates.empty());
}

TEST(NeuralPredictor, WritesAndPlainHitsAreNoSteps) {
  NeuralPredictor predictor(ModelKind::kLstm, runnable(history_model()), {});
  std::vector<Candidate> candidates;
  predictor.observe(read(1), candidates);
  Observation write = read(2);
  write.write = true;
  Observation hit = read(3);
  hit.missed_pages = 0;
  predictor.observe(write, candidates);
  predictor.observe(hit, candidates);
  EXPECT_EQ(predictor.counters().observed, 1u);
}

// A step that takes half a millisecond of a CPU of which it may have a hundredth.
TEST(NeuralPredictor, KeepsToItsShareOfTheCpu) {
  uint64_t now_ns = 1'000'000'000;
  const auto clock = [&] { return now_ns += 500'000; };
  NeuralOptions options;
  options.cpu_share_max = 0.01;
  options.steps_ahead = 1;
  NeuralPredictor predictor(ModelKind::kLstm, runnable(history_model()), options, clock);
  std::vector<Candidate> candidates;
  const uint64_t began_ns = now_ns;
  for (uint64_t i = 0; i < 20'000; ++i) {
    now_ns += 100'000;
    predictor.observe(read(i % 5), candidates);
  }
  const NeuralCounters& counters = predictor.counters();
  EXPECT_EQ(counters.observed, 20'000u);
  EXPECT_GT(counters.skipped, counters.steps);
  EXPECT_GT(counters.steps, 10u);
  EXPECT_LE(static_cast<double>(counters.cpu_ns),
            0.01 * static_cast<double>(now_ns - began_ns) + CpuBudget::kSavedNsMax + 1'000'000);
}

// Where steps are measured by a clock of their own, waiting costs nothing.
TEST(NeuralPredictor, PaysForItsWorkAndNotForTheTime) {
  uint64_t now_ns = 1'000'000'000, work_ns = 0;
  NeuralOptions options;
  options.cpu_share_max = 0.01;
  options.steps_ahead = 1;
  const auto clock = [&] { return now_ns += 500'000; };
  NeuralPredictor predictor(ModelKind::kLstm, runnable(history_model()), options, clock, "", [&] { return work_ns; });
  std::vector<Candidate> candidates;
  for (uint64_t i = 0; i < 1000; ++i) predictor.observe(read(i % 5), candidates);
  EXPECT_EQ(predictor.counters().skipped, 0u);
  EXPECT_EQ(predictor.counters().cpu_ns, 0u);
}

TEST(NeuralPredictor, StreamsAreBoundedAndApart) {
  NeuralOptions options;
  options.streams_max = 4;
  NeuralPredictor predictor(ModelKind::kLstm, runnable(history_model()), options);
  const uint64_t bytes = predictor.memory_bytes_max();
  std::vector<Candidate> candidates;
  for (uint64_t i = 0; i < 1000; ++i) {
    Observation observation = read(i % 7);
    observation.vm = VmId{i % 10 + 1};
    predictor.observe(observation, candidates);
  }
  EXPECT_EQ(predictor.memory_bytes_max(), bytes);
}

// Of the sizes that the model thinks possible, the longest that is more likely reached than not.
TEST(NeuralPredictor, ProposesAsMuchAsIsLikelyRead) {
  Model model = history_model();
  float* const lengths = model.weights.data() + model.weights.size() -
                         (model.shape.output_width() + 1) * model.shape.head_values(Head::kPlace) - kLengthClasses;
  std::fill_n(lengths, kLengthClasses, -9.0f);
  lengths[length_class(2)] = 0;                // .32
  lengths[length_class(4)] = 0.1f;             // .35
  lengths[length_class(128)] = 0;              // .32
  NeuralOptions options;
  options.answers_max = options.steps_ahead = 1;
  NeuralPredictor predictor(ModelKind::kLstm, runnable(std::move(model)), options);
  std::vector<Candidate> candidates;
  for (int round = 0; round < 3; ++round) {
    for (const uint64_t page : {10, 500}) predictor.observe(read(page), candidates);
  }
  ASSERT_FALSE(candidates.empty());
  EXPECT_EQ(candidates.back().pages, 4u);
}

// A model that looks near keeps what is interleaved apart: to each stream its own next place.
TEST(NeuralPredictor, NearStreamsAreFollowedApart) {
  Model model = history_model();
  model.shape.near_pages = 16;
  model.vocabulary = Vocabulary({2, 5});
  // Its bias says: five pages behind the end.
  const size_t outputs = model.shape.head_values(Head::kSymbol);
  size_t at = model.weights.size();
  for (uint32_t head = 0; head < kHeads; ++head) {
    at -= (model.shape.output_width() + 1) * model.shape.head_values(static_cast<Head>(head));
  }
  const size_t bias = at + model.shape.output_width() * outputs;
  model.weights[bias + kAnswerHistory] = 0;
  model.weights[bias + kAnswerVocabulary + 1] = 4;
  NeuralOptions options;
  options.answers_max = 1;
  options.steps_ahead = 2;
  NeuralPredictor predictor(ModelKind::kLstm, runnable(std::move(model)), options, {}, "lstm-near");
  EXPECT_EQ(predictor.name(), "lstm-near");
  for (uint64_t i = 0; i < 100; ++i) {
    std::vector<Candidate> candidates;
    const uint64_t first = (i % 3 + 1) * 100'000 + i;
    predictor.observe(read(first, 2), candidates);
    ASSERT_EQ(candidates.size(), 2u);
    ASSERT_EQ(candidates[0].first_page, first + 2 + 5);
    ASSERT_EQ(candidates[1].first_page, first + 2 + 5 + 1 + 5);
  }
}

// Any volume, any place, any model that a file may hold.
TEST(NeuralPredictor, AnythingObservedStaysWithinBounds) {
  for (const ModelKind kind : {ModelKind::kLstm, ModelKind::kTransformer}) {
    ModelShape shape;
    shape.kind = kind;
    shape.symbols = kind == ModelKind::kLstm ? SymbolKind::kDelta : SymbolKind::kFile;
    shape.vocabulary = 100;
    shape.width = 16;
    shape.hidden = 16;
    shape.history_entries = 64;
    NeuralOptions options;
    options.confidence_min = 0;
    options.follow_min = 0;
    NeuralPredictor predictor(kind, runnable(random_model(shape, 3)), options);
    Random random(4);
    for (int i = 0; i < 3000; ++i) {
      Observation observation = read(random.next() >> random.below(64), static_cast<uint32_t>(random.next() >> 32));
      observation.time_ns = random.next() >> random.below(64);
      std::vector<Candidate> candidates;
      predictor.observe(observation, candidates);
      ASSERT_LE(candidates.size(), options.answers_max + options.steps_ahead);
      for (const Candidate& candidate : candidates) {
        ASSERT_GE(candidate.confidence, 0);
        ASSERT_LE(candidate.confidence, 1);
        ASSERT_LE(candidate.pages, kLengthPagesMax);
        ASSERT_GE(candidate.pages, 1u);
      }
    }
  }
}

// The evaluation of the same model on the same loop agrees: always right once the loop is known, .88 sure.
TEST(Evaluation, CountsWhatIsRightAndHowSureItWas) {
  const Model model = history_model();
  SequenceBuilder builder(SymbolKind::kDelta, 0);
  const std::vector<uint64_t> loop = {10, 500, 30, 77};
  for (uint64_t i = 0; i < 1000; ++i) {
    Access access;
    access.position = loop[i % loop.size()];
    builder.add(0, access, false);
  }
  std::vector<AccessSequence> sequences;
  builder.finish({}, {}, 0, sequences);
  const auto network = SequenceModel::create(model);
  Evaluation evaluation = evaluate(*network, model, sequences, EvaluatedPart::kTest);
  evaluate_baselines(model, sequences, EvaluatedPart::kTest, evaluation);
  EXPECT_EQ(evaluation.answers, 300u);
  EXPECT_EQ(evaluation.model.top1, 300u);
  EXPECT_EQ(evaluation.history.top1, 300u);
  EXPECT_EQ(evaluation.markov.top1, 300u);
  EXPECT_EQ(evaluation.commonest.top_k, 300u);
  EXPECT_NEAR(evaluation.mean_log_loss(), -std::log(kLast), 1e-3);
  EXPECT_NEAR(evaluation.calibration_error(), 1 - kSure, 1e-3);
  EXPECT_NEAR(evaluation.mean_brier(), (1 - kSure) * (1 - kSure), 1e-3);
}

}  // namespace
}  // namespace foreshard::policy
