#include "app/online_trainer.h"

#include <sys/resource.h>

#include <algorithm>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "app/model_training.h"
#include "base/assert.h"
#include "base/log.h"
#include "policy/predict/neural/evaluation.h"
#include "policy/predict/neural/model_card.h"

namespace foreshard::app {
namespace {

using runtime::Task;

// CPU of the calling thread. It bounds work, and decides nothing that another run would have to repeat.
double thread_cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Losses on the latest part.
std::vector<float> losses_of(const policy::Model& model, const std::vector<policy::AccessSequence>& sequences,
                             policy::Evaluation& evaluation) {
  std::vector<float> losses;
  const auto network = policy::SequenceModel::create(model);
  evaluation = policy::evaluate(*network, model, sequences, policy::EvaluatedPart::kTest, {}, &losses);
  return losses;
}

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

OnlineTrainer::OnlineTrainer(runtime::Executor& executor, OnlineTrainerOptions options, OnModel on_model)
    : executor_(executor), options_(std::move(options)), on_model_(std::move(on_model)),
      folder_(options_.folder, options_.shape.kind), ring_(options_.requests_max), stopped_(executor), gate_(executor) {
  ASSERT(options_.shape.symbols == policy::SymbolKind::kDelta);  // volumes only: files are not recorded yet
  std::optional<ModelFolder::Newest> newest = folder_.newest();
  if (!newest) return;
  model_ = std::make_shared<const policy::Model>(std::move(newest->model));
  if (on_model_) on_model_(model_);
}

std::vector<OnlineTrainer::Recorded> OnlineTrainer::recent() const {
  std::vector<Recorded> recent;
  const uint64_t count = std::min<uint64_t>(counters_.recorded, ring_.size());
  recent.reserve(count);
  for (uint64_t i = counters_.recorded - count; i < counters_.recorded; ++i) recent.push_back(ring_[i % ring_.size()]);
  return recent;
}

// On the worker's thread; touches options_ and stopping_ only.
Result<OnlineTrainer::Trained> OnlineTrainer::train(std::vector<Recorded> recent,
                                                    std::shared_ptr<const policy::Model> present) {
  const double began = thread_cpu_seconds();
  TRY(const TrainModule module, TrainModule::load(options_.module));
  policy::SequenceBuilder builder(options_.shape.symbols, 0);
  std::map<std::pair<uint64_t, uint64_t>, uint32_t> streams;
  for (const Recorded& one : recent) {
    const auto stream = static_cast<uint32_t>(streams.size());
    const auto known = streams.try_emplace({one.vm.value, one.volume.value}, stream).first;
    policy::Access access;
    access.time_ns = one.time_ns;
    access.position = one.first_page;
    access.pages = std::min(one.pages, policy::kLengthPagesMax);
    builder.add(known->second, access, one.write);
  }
  std::vector<policy::AccessSequence> sequences;
  builder.finish(options_.labels, options_.split, options_.shape.near_pages, sequences);
  const auto on_progress = [&](const TrainProgress&) {
    return !stopping_ && thread_cpu_seconds() - began < options_.cpu_seconds_max;
  };
  TRY(policy::Model model, train_model(module, sequences, options_.shape, options_.training, on_progress));
  if (stopping_) return fail(ErrorCode::kCancelled, "training");

  Trained trained;
  policy::Evaluation evaluation;
  const std::vector<float> fresh = losses_of(model, sequences, evaluation);
  policy::evaluate_baselines(model, sequences, policy::EvaluatedPart::kTest, evaluation);
  model.card = card_text(model, evaluation, module, options_, recent.size());
  if (present != nullptr) {
    policy::Evaluation of_present;
    trained.comparison = policy::compare_losses(losses_of(*present, sequences, of_present), fresh, options_.rule);
  } else {
    // Anything sound is better than nothing: what its guesses are worth is measured where they are used.
    trained.comparison.answers = fresh.size();
    if (fresh.size() >= options_.rule.answers_min) trained.comparison.verdict = policy::Comparison::Verdict::kReplace;
  }
  trained.model = std::make_shared<const policy::Model>(std::move(model));
  trained.cpu_seconds = thread_cpu_seconds() - began;
  return trained;
}

Result<void> OnlineTrainer::go_live(const Trained& trained) {
  if (trained.comparison.verdict != policy::Comparison::Verdict::kReplace) {
    ++counters_.kept;
    return {};
  }
  TRY(const uint64_t number, folder_.add(*trained.model));
  model_ = trained.model;
  ++counters_.replaced;
  LOG_INFO("model {} is live: loss lower by {:.3f} on {} later answers", folder_.path(number), trained.comparison.gain,
           trained.comparison.answers);
  if (on_model_) on_model_(model_);
  return {};
}

Task<Result<policy::Comparison>> OnlineTrainer::train_once() {
  const auto pass = gate_.enter();
  if (!pass) co_return fail(ErrorCode::kCancelled, "training: stopped");
  if (training_) co_return fail(ErrorCode::kBusy, "training: one is under way");
  training_ = true;
  ++counters_.trainings;
  recorded_at_training_ = counters_.recorded;
  if (worker_ == nullptr) worker_ = std::make_unique<runtime::WorkerThread>(executor_, "training");
  auto work = [this, data = recent(), present = model_]() mutable {
    return train(std::move(data), std::move(present));
  };
  Result<Trained> trained = co_await worker_->run_blocking(std::move(work));
  training_ = false;
  if (trained) counters_.cpu_seconds += trained->cpu_seconds;
  Result<void> live;
  if (trained) live = go_live(*trained);
  if (!trained || !live) {
    ++counters_.failures;
    co_return fail(trained ? live.error() : trained.error());
  }
  co_return trained->comparison;
}

Task<void> OnlineTrainer::run() {
  const auto pass = gate_.enter();
  if (!pass) co_return;
  uint64_t not_before_ns = 0;
  while (!stopped_.is_set()) {
    const bool over = co_await stopped_.wait_until(executor_.now_ns() + options_.look_every_ns);
    if (over) co_return;
    const bool enough = counters_.recorded - recorded_at_training_ >= options_.requests_min;
    if (!enough || executor_.now_ns() < not_before_ns) continue;
    const double before = counters_.cpu_seconds;
    const Result<policy::Comparison> trained = co_await train_once();
    if (!trained && trained.error().code == ErrorCode::kNotFound) {
      LOG_WARN("no online training: {}", trained.error().message());
      co_return;
    }
    if (!trained) LOG_WARN("online training: {}", trained.error().message());
    const double cpu_ns = (counters_.cpu_seconds - before) * 1e9;
    const double pause_ns = options_.cpu_share_max > 0 ? cpu_ns / options_.cpu_share_max : 1e18;
    not_before_ns = executor_.now_ns() + static_cast<uint64_t>(std::min(pause_ns, 1e18));
  }
}

Task<void> OnlineTrainer::stop() {
  stopping_ = true;
  stopped_.set();
  co_await gate_.close();
}

}  // namespace foreshard::app
