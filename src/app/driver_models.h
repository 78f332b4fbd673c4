// DriverModels: which trained model a driver runs. It takes the newest whole one of the region when the driver starts
// and looks out for newer ones; and it trains on what the driver is asked, if wished. While there is no model, any
// sound one is taken: what its guesses are worth is measured by the filter, where they are used. Another takes its
// place only if it does better on the latest of the driver's own requests (policy/predict/neural/model_comparison.h);
// while these are too few it waits. What was trained here and went live is put into the region, for the other drivers.
//
// Nothing depends on it: a region that is slow or away, a model that is missing, damaged or hostile leave the driver
// with the model it has, or none, and a line in the log. Files are decoded and models compared on a thread of its own,
// in the background.
//
// Owner: Attachment; one executor, a real one. start(), then stop() before the driver goes. Memory: requests_max * 48
// bytes if there is anything to compare or to train, and the weights of the present model, as of one under comparison.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "app/online_trainer.h"
#include "app/region_models.h"
#include "app/request_ring.h"
#include "policy/predict/neural/neural_predictor.h"
#include "runtime/sync.h"
#include "runtime/worker_thread.h"

namespace foreshard::app {

struct DriverModelsOptions {
  bool from_region = false;
  bool train = false;
  std::string volume;  // its name, for people
  policy::TokenStream::Labels labels;
  std::shared_ptr<const policy::Model> present;  // that the driver runs already; null: none
  uint32_t requests_max = 1u << 17;
  uint64_t first_wait_ns = 1'000'000'000;   // how long start() waits for the region's model
  uint64_t look_every_ns = 10'000'000'000;  // whether enough has been recorded for a comparison
  uint64_t publish_timeout_ns = 5'000'000'000;
  uint32_t compared_max = 1u << 15;  // of the latest requests
  policy::ComparisonRule rule;
  OnlineTrainerOptions training;  // labels and rule are filled in
};

struct DriverModelsStatus {
  bool from_region = false, training = false;
  uint64_t adopted = 0;        // models of the region that went live
  uint64_t refused = 0;        // that were no better than the present one
  uint64_t damaged = 0;        // that were not whole, or no models
  uint64_t waiting = 0;        // the number of one that waits for more requests; 0: none
  uint64_t published = 0;      // trained here, and put into the region
  std::string training_fault;  // why there is no training although it is wished
  OnlineTrainerCounters trained;
};

class DriverModels {
 public:
  using SetModel = std::function<void(std::shared_ptr<policy::RunnableModel>, std::string name)>;

  DriverModels(runtime::Runtime& runtime, meta::Meta& meta, DriverModelsOptions options, SetModel set_model);
  // What the driver's experts learn from; cheap.
  void record(const policy::Observation& observation) { requests_.record(observation); }
  // Waits for the region's model, but not for long.
  runtime::Task<void> start();
  void begin_stop();
  runtime::Task<void> stop();
  DriverModelsStatus status() const;

 private:
  // A model that could take the place of the present one.
  struct Candidate {
    uint64_t number = 0;
    meta::Revision created = 0;
    std::shared_ptr<const policy::Model> model;
  };
  runtime::Task<void> follow(runtime::Gate::Pass pass);
  runtime::Task<void> watch(runtime::Gate::Pass pass);
  runtime::Task<void> look();
  runtime::Task<Result<void>> find_candidate();
  runtime::Task<Result<policy::Model>> read(meta::pb::Model record);
  runtime::Task<void> judge();
  void drop_candidate();
  void set_present(std::shared_ptr<const policy::Model> model);
  // Brings the present model to the driver.
  runtime::Task<void> go_live(std::string name);
  Result<policy::Comparison> compare(const policy::Model& present, const policy::Model& fresh,
                                     const std::vector<RequestRing::Request>& requests) const;
  void start_training();
  runtime::Task<void> take_trained(std::shared_ptr<const policy::Model> model, runtime::Gate::Pass pass);
  runtime::WorkerThread& worker();

  runtime::Runtime& runtime_;
  const DriverModelsOptions options_;
  SetModel set_model_;
  RegionModels models_;
  RequestRing requests_;
  std::shared_ptr<const policy::Model> present_;
  std::optional<Candidate> candidate_;
  uint64_t compared_at_ = 0;       // how many requests had been recorded at the last try
  meta::Revision considered_ = 0;  // all models up to it have had their chance
  bool changed_ = true;            // there may be newer ones
  DriverModelsStatus status_;
  std::atomic<bool> stopping_ = false;
  runtime::Signal stopped_;
  runtime::Signal first_;  // the first look is over
  runtime::WaitQueue wake_;
  runtime::Gate gate_;
  std::unique_ptr<meta::Watch> watch_;
  std::unique_ptr<OnlineTrainer> trainer_;
  std::unique_ptr<runtime::WorkerThread> worker_;
};

}  // namespace foreshard::app
