// OnlineTrainer: learns from what a driver has been asked lately. It keeps the recent requests in a ring, and every now
// and then trains a new model from them on a thread of its own, within a share of one CPU; the new one goes live, and
// into the folder, only if it beats the present one on the latest part of the data, which it was not trained on.
//
// Owner: the driver's process; its executor. One training at a time. stop() ends a training at its next step and waits
// for it. Without the training module, or without enough data, nothing happens but a line in the log. Memory: 40 bytes
// a request of the ring, and during a training some 150 more.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "app/model_folder.h"
#include "app/train_module.h"
#include "policy/predict/neural/model_comparison.h"
#include "policy/predict/neural/training_data.h"
#include "policy/predict/predictor.h"
#include "runtime/executor.h"
#include "runtime/sync.h"
#include "runtime/task.h"
#include "runtime/worker_thread.h"

namespace foreshard::app {

struct OnlineTrainerOptions {
  std::string folder;                     // of models
  std::string module;                     // empty: where TrainModule::load looks
  policy::ModelShape shape;               // default_model_shape; its vocabulary is the most symbols
  policy::TokenStream::Labels labels;
  uint32_t requests_max = 1u << 17;       // in the ring
  uint32_t requests_min = 20'000;         // new ones before a training
  uint64_t look_every_ns = 60'000'000'000;
  double cpu_share_max = 0.1;             // of one CPU, over time
  double cpu_seconds_max = 120;           // of one training
  TrainOptions training;
  policy::TrainingSplit split{0.7, 0.1};  // the rest decides
  policy::ComparisonRule rule;
};

struct OnlineTrainerCounters {
  uint64_t recorded = 0;
  uint64_t trainings = 0, failures = 0;
  uint64_t replaced = 0, kept = 0;  // what came of the trainings that ended
  double cpu_seconds = 0;
};

class OnlineTrainer {
 public:
  using OnModel = std::function<void(std::shared_ptr<const policy::Model>)>;

  // Begins with the newest whole model of the folder, which on_model gets at once. on_model runs on the executor.
  OnlineTrainer(runtime::Executor& executor, OnlineTrainerOptions options, OnModel on_model);

  // One request as the experts are shown it; cheap.
  void record(const policy::Observation& observation) {
    if (observation.pages == 0 || ring_.empty()) return;
    ring_[counters_.recorded++ % ring_.size()] = {observation.time_ns, observation.vm, observation.volume,
                                                  observation.first_page, observation.pages, observation.write};
  }
  // Looks whether there is enough to train on, until stop().
  runtime::Task<void> run();
  // Trains on what is in the ring, now. kBusy while one is under way.
  runtime::Task<Result<policy::Comparison>> train_once();
  runtime::Task<void> stop();

  std::shared_ptr<const policy::Model> model() const { return model_; }
  const OnlineTrainerCounters& counters() const { return counters_; }
  uint64_t memory_bytes_max() const { return ring_.size() * sizeof(Recorded); }

 private:
  struct Recorded {
    uint64_t time_ns = 0;
    VmId vm;
    VolumeId volume;
    uint64_t first_page = 0;
    uint32_t pages = 0;
    bool write = false;
  };
  struct Trained {
    std::shared_ptr<const policy::Model> model;
    policy::Comparison comparison;
    double cpu_seconds = 0;
  };
  std::vector<Recorded> recent() const;
  Result<Trained> train(std::vector<Recorded> recent, std::shared_ptr<const policy::Model> present);
  Result<void> go_live(const Trained& trained);

  runtime::Executor& executor_;
  const OnlineTrainerOptions options_;
  OnModel on_model_;
  ModelFolder folder_;
  std::vector<Recorded> ring_;
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
