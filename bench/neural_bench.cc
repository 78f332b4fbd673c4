// neural_bench: what a step of the neural experts costs, in ns of one core: our kernel and libtorch one token at a
// time, side by side in one run; libtorch over a whole sequence at once for comparison; the expert as a whole.
// Prints the median of 5 runs of each. Usage: neural_bench [MODULE]
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <vector>

#include "app/model_training.h"
#include "app/train_module.h"
#include "policy/predict/neural/model_testing.h"
#include "policy/predict/neural/neural_predictor.h"

using namespace foreshard;
using namespace foreshard::policy;

namespace {

constexpr int kRuns = 5;
constexpr size_t kSteps = 2000;

// CPU time, since other work on the machine should not count.
double cpu_ns() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

template <class Body>
double ns_per_step(size_t steps, Body body) {
  std::vector<double> runs;
  for (int run = 0; run < kRuns; ++run) {
    const double start_ns = cpu_ns();
    body();
    runs.push_back((cpu_ns() - start_ns) / static_cast<double>(steps));
  }
  std::sort(runs.begin(), runs.end());
  return runs[kRuns / 2];
}

void measure(const ModelShape& shape, const Result<app::TrainModule>& module) {
  const Model model = random_model(shape, 1);
  const auto network = SequenceModel::create(model);
  Random random(2);
  std::vector<Token> tokens;
  for (size_t i = 0; i < kSteps; ++i) tokens.push_back(random_token(shape, random));
  std::vector<float> out(network->answer_room(Head::kSymbol));
  SequenceState state = network->begin();
  const double step = ns_per_step(kSteps, [&] {
    for (const Token& token : tokens) network->step(token, state);
  });
  const double with_heads = ns_per_step(kSteps, [&] {
    for (const Token& token : tokens) {
      network->step(token, state);
      for (uint32_t head = 0; head < kHeads; ++head) network->probabilities(state, static_cast<Head>(head), out);
    }
  });
  fmt::print("{:<12} {:>7} multiplications, {:>7} weights, {} KiB packed, state {} B: step {:.0f}, with heads {:.0f}",
             model_kind_name(shape.kind), shape.multiplications_per_step(), shape.weights(),
             network->memory_bytes() / 1024, network->state_floats() * sizeof(float), step, with_heads);
  if (module) {
    const double one_by_one =
        ns_per_step(kSteps, [&] { (void)module->forward(shape, model.weights, tokens, true); });
    const double at_once = ns_per_step(kSteps, [&] { (void)module->forward(shape, model.weights, tokens, false); });
    fmt::print("; {} with heads: one by one {:.0f} ({:.1f} times), all at once {:.0f}", module->libraries(), one_by_one,
               one_by_one / with_heads, at_once);
  }
  fmt::print("\n");
}

void measure_expert(const ModelShape& shape, uint32_t steps_ahead) {
  NeuralOptions options;
  options.steps_ahead = steps_ahead;
  options.follow_min = steps_ahead > 1 ? 0 : 1;
  options.confidence_min = 0;
  NeuralPredictor predictor(shape.kind, std::make_shared<RunnableModel>(random_model(shape, 1)), options);
  std::vector<Candidate> candidates;
  Random random(3);
  const double ns = ns_per_step(kSteps, [&] {
    for (size_t i = 0; i < kSteps; ++i) {
      Observation observation;
      observation.first_page = random.below(1 << 20);
      observation.pages = observation.missed_pages = 1;
      candidates.clear();
      predictor.observe(observation, candidates);
    }
  });
  const NeuralCounters& counters = predictor.counters();
  fmt::print("  expert {}, looking up to {} ahead: {:.0f} a read, {:.2f} steps each, {} KiB\n", predictor.name(),
             steps_ahead, ns, static_cast<double>(counters.steps) / static_cast<double>(counters.observed),
             predictor.memory_bytes_max() / 1024);
}

}  // namespace

int main(int argc, char** argv) {
  const Result<app::TrainModule> module = app::TrainModule::load(argc > 1 ? argv[1] : "");
  if (!module) fmt::print("{}\n", module.error().message());
  fmt::print("instructions: {}; ns of CPU, median of {} runs of {} steps\n", vector_instructions(), kRuns, kSteps);
  for (const ModelKind kind : {ModelKind::kLstm, ModelKind::kTransformer}) {
    const SymbolKind symbols = kind == ModelKind::kLstm ? SymbolKind::kDelta : SymbolKind::kFile;
    const ModelShape shape = app::default_model_shape(kind, symbols);
    measure(shape, module);
    measure_expert(shape, 1);
    measure_expert(shape, 4);
  }
}
