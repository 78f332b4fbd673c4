// OnlineTrainer: learns from what a driver has been asked lately. Every now and then it trains a new model from the
// recent requests on a thread of its own, in the background and within a share of one CPU; the new one goes live, and
// into the folder if there is one, only if it beats the present one on the latest part of the data, which it was not
// trained on.
//
// Owner: DriverModels; its executor. One training at a time. stop() ends a training at its next step and waits
// for it. Without the training module, or without enough data, nothing happens but a line in the log. Memory: during a
// training some 200 bytes a request of the ring.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "app/model_folder.h"
#include "app/request_ring.h"
#include "app/train_module.h"
#include "policy/predict/neural/model_comparison.h"
#include "policy/predict/neural/training_data.h"
#include "runtime/executor.h"
#include "runtime/sync.h"
#include "runtime/task.h"
#include "runtime/worker_thread.h"

namespace foreshard::app {

struct OnlineTrainerOptions {
  std::string folder;        // where models are kept between runs; empty: nowhere
  std::string module;        // empty: where TrainModule::load looks
  policy::ModelShape shape;  // default_model_shape; its vocabulary is the most symbols
  policy::TokenStream::Labels labels;
  uint32_t requests_min = 20'000;  // new ones before a training
  uint64_t look_every_ns = 10'000'000'000;
  double cpu_share_max = 0.1;    // of one CPU, over time
  double cpu_seconds_max = 120;  // of one training
  TrainOptions training;
  policy::TrainingSplit split{0.7, 0.1};  // the rest decides
  policy::ComparisonRule rule;
};

struct OnlineTrainerCounters {
  uint64_t recorded = 0;
  uint64_t trainings = 0, failures = 0;
  uint64_t replaced = 0, kept = 0;  // what came of the trainings that ended
  policy::Comparison last;          // of the last of them; the first model has nothing to be compared with
  double cpu_seconds = 0;
};

class OnlineTrainer {
 public:
  using OnModel = std::function<void(std::shared_ptr<const policy::Model>)>;

  // Begins with the newest whole model of the folder, which on_model gets at once. on_model runs on the executor.
  // requests: what is recorded; it outlives this.
  OnlineTrainer(runtime::Executor& executor, const RequestRing& requests, OnlineTrainerOptions options,
                OnModel on_model);

  // Looks whether there is enough to train on, until stop().
  runtime::Task<void> run();
  // Trains on what is in the ring, now. kBusy while one is under way.
  runtime::Task<Result<policy::Comparison>> train_once();
  runtime::Task<void> stop();
  void begin_stop();  // the first half of it: no new training, and the one under way soon ends
  // Another present model than the last that was trained here. What is being trained to beat the one before is kept
  // from going live.
  void set_model(std::shared_ptr<const policy::Model> model) { model_ = std::move(model); }

  std::shared_ptr<const policy::Model> model() const { return model_; }
  OnlineTrainerCounters counters() const {
    OnlineTrainerCounters counters = counters_;
    counters.recorded = requests_.recorded();
    return counters;
  }

 private:
  struct Trained {
    std::shared_ptr<const policy::Model> model;
    std::shared_ptr<const policy::Model> present;  // that it was compared with
    policy::Comparison comparison;
  };
  struct Outcome {
    Result<Trained> trained;
    double cpu_seconds = 0;  // also of what came to nothing
  };
  Result<Trained> train(std::vector<RequestRing::Request> recent, std::shared_ptr<const policy::Model> present);
  Result<void> go_live(const Trained& trained);

  runtime::Executor& executor_;
  const RequestRing& requests_;
  const OnlineTrainerOptions options_;
  OnModel on_model_;
  ModelFolder folder_;
  std::shared_ptr<const policy::Model> model_;
  OnlineTrainerCounters counters_;
  uint64_t recorded_at_training_ = 0;
  bool training_ = false;
  std::atomic<bool> stopping_ = false;
  runtime::Signal stopped_;
  runtime::Gate gate_;
  std::unique_ptr<runtime::WorkerThread> worker_;  // made for the first training
};

}  // namespace foreshard::app
