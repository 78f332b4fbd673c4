#include "app/online_trainer.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "app/model_training.h"
#include "base/assert.h"
#include "base/log.h"
#include "policy/predict/neural/evaluation.h"
#include "policy/predict/neural/model_card.h"
#include "runtime/clocks.h"

namespace foreshard::app {
namespace {

using runtime::Task;

std::string card_text(const policy::Model& model, const policy::Evaluation& evaluation, const TrainModule& module,
                      const OnlineTrainerOptions& options, uint64_t reads) {
  policy::ModelCard card;
  card.program = "foreshard, online";
  card.libraries = module.libraries();
  card.instructions = policy::vector_instructions();
  card.data.push_back({"recent requests", reads, reads});
  card.split = options.split;
  card.seed = options.training.seed;
  card.epochs = options.training.epochs;
  return policy::model_card_text(card, model, evaluation);
}

}  // namespace

OnlineTrainer::OnlineTrainer(runtime::Executor& executor, const RequestRing& requests, OnlineTrainerOptions options,
                             OnModel on_model)
    : executor_(executor),
      requests_(requests),
      options_(std::move(options)),
      on_model_(std::move(on_model)),
      folder_(options_.folder, options_.shape.kind),
      stopped_(executor),
      gate_(executor) {
  ASSERT(options_.shape.symbols == policy::SymbolKind::kDelta);  // volumes only: files are not recorded yet
  if (options_.folder.empty()) return;
  std::optional<ModelFolder::Newest> newest = folder_.newest();
  if (!newest) return;
  model_ = std::make_shared<const policy::Model>(std::move(newest->model));
  if (on_model_) on_model_(model_);
}

// On the worker's thread; touches options_ and stopping_ only.
Result<OnlineTrainer::Trained> OnlineTrainer::train(std::vector<RequestRing::Request> recent,
                                                    std::shared_ptr<const policy::Model> present) {
  const uint64_t began_ns = runtime::thread_cpu_ns();
  TRY(const TrainModule module, TrainModule::load(options_.module));
  // Models that tell streams apart answer other questions than those that do not, and could not be compared.
  policy::ModelShape shape = options_.shape;
  if (present != nullptr && present->shape.near_pages != shape.near_pages) {
    shape = default_model_shape(policy::ModelKind::kLstm, policy::SymbolKind::kDelta);
    if (present->shape.near_pages != 0) look_near(shape, present->shape.near_pages);
  }
  const std::vector<policy::AccessSequence> sequences =
      sequences_of(recent, options_.labels, options_.split, shape.near_pages);
  const auto go_on = [this] { return !stopping_; };
  const auto on_progress = [&](const TrainProgress&) {
    const uint64_t passed_ns = runtime::thread_cpu_ns() - began_ns;
    return !stopping_ && static_cast<double>(passed_ns) < options_.cpu_seconds_max * 1e9;
  };
  TRY(policy::Model model, train_model(module, sequences, shape, options_.training, on_progress));
  if (stopping_) return fail(ErrorCode::kCancelled, "training");

  Trained trained;
  policy::Evaluation evaluation;
  TRY(const std::vector<float> fresh, losses_of(model, sequences, evaluation, go_on));
  policy::evaluate_baselines(model, sequences, policy::EvaluatedPart::kTest, evaluation);
  model.card = card_text(model, evaluation, module, options_, recent.size());
  if (present != nullptr) {
    policy::Evaluation of_present;
    TRY(const std::vector<float> now, losses_of(*present, sequences, of_present, go_on));
    trained.comparison = policy::compare_losses(now, fresh, options_.rule);
  } else {
    // Anything sound is better than nothing: what its guesses are worth is measured where they are used.
    trained.comparison.answers = fresh.size();
    if (fresh.size() >= options_.rule.answers_min) trained.comparison.verdict = policy::Comparison::Verdict::kReplace;
  }
  trained.model = std::make_shared<const policy::Model>(std::move(model));
  trained.present = std::move(present);
  return trained;
}

Result<void> OnlineTrainer::go_live(const Trained& trained) {
  const policy::Comparison& comparison = trained.comparison;
  const std::string outcome = trained.present == nullptr
                                  ? fmt::format("the first, judged on {} later answers", comparison.answers)
                                  : fmt::format("loss lower by {:.3f} +- {:.3f} on {} later answers", comparison.gain,
                                                comparison.deviation, comparison.answers);
  counters_.last = comparison;
  // Where another has become the present one meanwhile, nothing is known of the two.
  if (comparison.verdict != policy::Comparison::Verdict::kReplace || trained.present != model_) {
    ++counters_.kept;
    LOG_INFO("a model that was trained here does not go live: {}", outcome);
    return {};
  }
  if (!options_.folder.empty()) {
    TRY_VOID(folder_.add(*trained.model));
  }
  model_ = trained.model;
  ++counters_.replaced;
  LOG_INFO("a model that was trained here is live: {}", outcome);
  if (on_model_) on_model_(model_);
  return {};
}

Task<Result<policy::Comparison>> OnlineTrainer::train_once() {
  const auto pass = gate_.enter();
  if (!pass || stopping_) co_return fail(ErrorCode::kCancelled, "training: stopped");
  if (training_) co_return fail(ErrorCode::kBusy, "training: one is under way");
  training_ = true;
  ++counters_.trainings;
  recorded_at_training_ = requests_.recorded();
  if (worker_ == nullptr) {
    worker_ =
        std::make_unique<runtime::WorkerThread>(executor_, "training", runtime::WorkerThread::Priority::kBackground);
  }
  auto work = [this, data = requests_.latest(UINT64_MAX), present = model_]() mutable {
    const uint64_t began_ns = runtime::thread_cpu_ns();
    Outcome outcome{train(std::move(data), std::move(present)), 0};
    outcome.cpu_seconds = static_cast<double>(runtime::thread_cpu_ns() - began_ns) / 1e9;
    return outcome;
  };
  Outcome outcome = co_await worker_->run_blocking(std::move(work));
  training_ = false;
  counters_.cpu_seconds += outcome.cpu_seconds;
  Result<void> live;
  if (outcome.trained && !stopping_) live = go_live(*outcome.trained);
  if (!outcome.trained || !live) {
    ++counters_.failures;
    co_return fail(outcome.trained ? live.error() : outcome.trained.error());
  }
  co_return outcome.trained->comparison;
}

Task<void> OnlineTrainer::run() {
  const auto pass = gate_.enter();
  if (!pass) co_return;
  uint64_t not_before_ns = 0;
  while (!stopped_.is_set()) {
    const bool over = co_await stopped_.wait_until(executor_.now_ns() + options_.look_every_ns);
    if (over) co_return;
    const bool enough = requests_.recorded() - recorded_at_training_ >= options_.requests_min;
    if (!enough || executor_.now_ns() < not_before_ns) continue;
    const double before = counters_.cpu_seconds;
    const Result<policy::Comparison> trained = co_await train_once();
    if (!trained && trained.error().code == ErrorCode::kNotFound) {
      LOG_WARN("no online training: {}", trained.error().message());
      co_return;
    }
    if (!trained && trained.error().code != ErrorCode::kCancelled) {
      LOG_WARN("online training: {}", trained.error().message());
    }
    const double cpu_ns = (counters_.cpu_seconds - before) * 1e9;
    const double pause_ns = options_.cpu_share_max > 0 ? cpu_ns / options_.cpu_share_max : 1e18;
    not_before_ns = executor_.now_ns() + static_cast<uint64_t>(std::min(pause_ns, 1e18));
  }
}

void OnlineTrainer::begin_stop() {
  stopping_ = true;
  stopped_.set();
}

Task<void> OnlineTrainer::stop() {
  begin_stop();
  co_await gate_.close();
}

}  // namespace foreshard::app
