#include "app/driver_models.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "app/model_training.h"
#include "base/log.h"
#include "policy/predict/neural/model_format.h"

namespace foreshard::app {

using runtime::Task;
using Verdict = policy::Comparison::Verdict;

namespace {

constexpr uint64_t kWatchAgainNs = 1'000'000'000;
constexpr uint64_t kNewRequestsMin = 500;  // since a comparison that had too few

RequestRing ring_of(const DriverModelsOptions& options) {
  return RequestRing(options.from_region || options.train ? options.requests_max : 0);
}

}  // namespace

DriverModels::DriverModels(runtime::Runtime& runtime, meta::Meta& meta, DriverModelsOptions options, SetModel set_model)
    : runtime_(runtime),
      options_(std::move(options)),
      set_model_(std::move(set_model)),
      models_(runtime, meta),
      requests_(ring_of(options_)),
      present_(options_.present),
      stopped_(runtime.executor()),
      first_(runtime.executor()),
      wake_(runtime.executor()),
      gate_(runtime.executor()) {
  status_.from_region = options_.from_region;
}

runtime::WorkerThread& DriverModels::worker() {
  if (worker_ == nullptr) {
    worker_ = std::make_unique<runtime::WorkerThread>(runtime_.executor(), "models",
                                                      runtime::WorkerThread::Priority::kBackground);
  }
  return *worker_;
}

Task<void> DriverModels::start() {
  if (options_.from_region) {
    runtime_.executor().spawn(watch(*gate_.enter()));
    runtime_.executor().spawn(follow(*gate_.enter()));
    const bool looked = co_await first_.wait_until(runtime_.now_ns() + options_.first_wait_ns);
    if (!looked) {
      LOG_WARN("volume {}: the region's models do not come; it is served without one until they do", options_.volume);
    } else if (present_ == nullptr) {
      LOG_WARN("volume {}: the region has no sound model; the first that it gets will be taken", options_.volume);
    }
  }
  if (options_.train) start_training();
}

// ---- models of the region

Task<void> DriverModels::watch(runtime::Gate::Pass pass) {
  while (!stopping_) {
    Result<std::unique_ptr<meta::Watch>> watch = co_await models_.watch();
    if (watch && !stopping_) {
      watch_ = std::move(*watch);
      for (;;) {
        // Also before the first event: what came before the watch is looked at, too.
        changed_ = true;
        wake_.wake_all();
        const Result<std::vector<meta::Event>> events = co_await watch_->next();
        if (!events || stopping_) break;
      }
      watch_.reset();
    }
    co_await stopped_.wait_until(runtime_.now_ns() + kWatchAgainNs);
  }
}

Task<void> DriverModels::follow(runtime::Gate::Pass pass) {
  while (!stopping_) {
    co_await look();
    if (!first_.is_set()) first_.set();
    if (stopping_) co_return;
    if (!changed_) co_await wake_.wait_until(runtime_.now_ns() + options_.look_every_ns);
  }
}

Task<void> DriverModels::look() {
  if (std::exchange(changed_, false)) {
    const Result<void> found = co_await find_candidate();
    if (!found && !stopping_) {
      LOG_DEBUG("volume {}: the region's models: {}", options_.volume, found.error().message());
      co_await stopped_.wait_until(runtime_.now_ns() + kWatchAgainNs);
      changed_ = true;
    }
  }
  if (candidate_ && !stopping_) co_await judge();
}

// The newest whole one that is newer than what has had its chance.
Task<Result<void>> DriverModels::find_candidate() {
  std::vector<meta::Revision> senseless;
  CO_TRY(std::vector<RegionModels::Listed> listed, co_await models_.list(&senseless));
  std::reverse(listed.begin(), listed.end());
  const meta::Revision known = std::max(considered_, candidate_ ? candidate_->created : 0);
  for (const RegionModels::Listed& one : listed) {
    if (one.created <= known || stopping_) break;
    if (one.model.kind() != policy::model_kind_name(policy::ModelKind::kLstm)) continue;
    if (one.model.symbols() != symbols_name(policy::SymbolKind::kDelta)) continue;
    Result<policy::Model> model = co_await read(one.model);
    if (model) {
      candidate_ = Candidate{one.model.number(), one.created, std::make_shared<const policy::Model>(std::move(*model))};
      compared_at_ = 0;
      break;
    }
    const ErrorCode code = model.error().code;
    if (code == ErrorCode::kUnavailable || code == ErrorCode::kTimeout || code == ErrorCode::kCancelled) {
      co_return fail(model.error());
    }
    ++status_.damaged;
    LOG_WARN("volume {}: model {} of the region is passed over: {}", options_.volume, one.model.number(),
             model.error().message());
  }
  // Damaged ones have had their chance.
  std::erase_if(senseless, [this](meta::Revision created) { return created <= considered_; });
  status_.damaged += senseless.size();
  for (const meta::Revision created : senseless) considered_ = std::max(considered_, created);
  if (!listed.empty()) considered_ = std::max(considered_, listed.front().created);
  if (candidate_) considered_ = std::max(considered_, candidate_->created);
  co_return Result<void>();
}

Task<Result<policy::Model>> DriverModels::read(meta::pb::Model record) {
  CO_TRY(std::vector<std::byte> file, co_await models_.get(std::move(record)));
  auto decode = [file = std::move(file)]() -> Result<policy::Model> {
    TRY(policy::Model model, policy::decode_model(file));
    TRY_VOID(check_for_volumes(model));
    return model;
  };
  co_return co_await worker().run_blocking(std::move(decode));
}

// On the worker's thread.
Result<policy::Comparison> DriverModels::compare(const policy::Model& present, const policy::Model& fresh,
                                                 const std::vector<RequestRing::Request>& requests) const {
  // The latest fifth: what was trained here has not seen it.
  const std::vector<policy::AccessSequence> sequences =
      sequences_of(requests, options_.labels, options_.training.split, present.shape.near_pages);
  const auto go_on = [this] { return !stopping_; };
  policy::Evaluation evaluation;
  TRY(const std::vector<float> of_present, losses_of(present, sequences, evaluation, go_on));
  TRY(const std::vector<float> of_fresh, losses_of(fresh, sequences, evaluation, go_on));
  return policy::compare_losses(of_present, of_fresh, options_.rule);
}

void DriverModels::drop_candidate() {
  candidate_.reset();
  status_.waiting = 0;
}

void DriverModels::set_present(std::shared_ptr<const policy::Model> model) {
  present_ = std::move(model);
  if (trainer_ != nullptr) trainer_->set_model(present_);
}

Task<void> DriverModels::judge() {
  const Candidate candidate = *candidate_;
  const std::string name = fmt::format("region:{}", candidate.number);
  if (present_ == nullptr) {
    drop_candidate();
    ++status_.adopted;
    set_present(candidate.model);
    LOG_INFO("volume {}: model {} of the region is live", options_.volume, candidate.number);
    co_await go_live(name);
    co_return;
  }
  if (*present_ == *candidate.model) {
    drop_candidate();
    co_return;
  }
  if (present_->shape.near_pages != candidate.model->shape.near_pages) {
    drop_candidate();
    ++status_.refused;
    LOG_INFO("volume {}: model {} of the region answers other questions than the present one, which stays",
             options_.volume, candidate.number);
    co_return;
  }
  status_.waiting = candidate.number;
  if (requests_.recorded() < std::max(options_.rule.answers_min, compared_at_ + kNewRequestsMin)) co_return;
  compared_at_ = requests_.recorded();
  auto work = [this, present = present_, fresh = candidate.model, requests = requests_.latest(options_.compared_max)] {
    return compare(*present, *fresh, requests);
  };
  const std::shared_ptr<const policy::Model> present = present_;
  const Result<policy::Comparison> compared = co_await worker().run_blocking(std::move(work));
  // Where another has become the present one meanwhile, nothing is known of the two: they are compared next time.
  if (!compared || stopping_ || present_ != present || compared->verdict == Verdict::kTooLittle) co_return;
  drop_candidate();
  const bool better = compared->verdict == Verdict::kReplace;
  LOG_INFO("volume {}: model {} of the region {}: loss lower by {:.3f} +- {:.3f} on {} of its own requests",
           options_.volume, candidate.number, better ? "is live" : "is no better than the present one, which stays",
           compared->gain, compared->deviation, compared->answers);
  ++(better ? status_.adopted : status_.refused);
  if (!better) co_return;
  set_present(candidate.model);
  co_await go_live(name);
}

Task<void> DriverModels::go_live(std::string name) {
  // Packing the weights takes milliseconds.
  const std::shared_ptr<const policy::Model> model = present_;
  auto pack = [model] { return std::make_shared<policy::RunnableModel>(*model); };
  std::shared_ptr<policy::RunnableModel> runnable = co_await worker().run_blocking(pack);
  if (!stopping_ && present_ == model) set_model_(std::move(runnable), std::move(name));
}

// ---- training

void DriverModels::start_training() {
  const Result<std::string> module = TrainModule::find(options_.training.module);
  if (!module) {
    status_.training_fault = module.error().message();
    LOG_WARN("volume {}: no online training: {}", options_.volume, status_.training_fault);
    return;
  }
  OnlineTrainerOptions training = options_.training;
  training.labels = options_.labels;
  training.rule = options_.rule;
  const auto on_model = [this](std::shared_ptr<const policy::Model> model) {
    std::optional<runtime::Gate::Pass> pass = gate_.enter();
    present_ = model;
    if (pass) runtime_.executor().spawn(take_trained(std::move(model), std::move(*pass)));
  };
  trainer_ = std::make_unique<OnlineTrainer>(runtime_.executor(), requests_, std::move(training), on_model);
  trainer_->set_model(present_);
  status_.training = true;
  runtime_.executor().spawn(trainer_->run());
}

Task<void> DriverModels::take_trained(std::shared_ptr<const policy::Model> model, runtime::Gate::Pass pass) {
  if (present_ == model) co_await go_live("trained here");
  auto encode = [model] { return policy::encode_model(*model); };
  std::vector<std::byte> file = co_await worker().run_blocking(encode);
  if (stopping_) co_return;
  std::string summary = fmt::format("trained online on volume {}", options_.volume);
  const Result<meta::pb::Model> added =
      co_await models_.add(*model, std::move(file), std::move(summary), options_.publish_timeout_ns, true);
  if (!added) {
    LOG_WARN("volume {}: what was trained here is not put into the region: {}", options_.volume,
             added.error().message());
    co_return;
  }
  ++status_.published;
}

// ---- the end

void DriverModels::begin_stop() {
  stopping_ = true;
  stopped_.set();
  wake_.wake_all();
  if (watch_ != nullptr) watch_->cancel();
  if (trainer_ != nullptr) trainer_->begin_stop();
}

Task<void> DriverModels::stop() {
  begin_stop();
  if (trainer_ != nullptr) co_await trainer_->stop();
  co_await gate_.close();
}

DriverModelsStatus DriverModels::status() const {
  DriverModelsStatus status = status_;
  if (trainer_ != nullptr) status.trained = trainer_->counters();
  return status;
}

}  // namespace foreshard::app
