// NeuralExpert: a driver's trained expert, on a thread of its own. The driver shows it what the experts are shown; it
// takes that to the thread in batches, where the model makes a step for each read within its share of a CPU, and brings
// the candidates back to the driver's executor. No request waits for it: when the thread is behind, reads are left out
// and counted, and what was asked for meanwhile is no longer proposed.
//
// Owner: DriverCore; one executor, a real one. The model may be replaced at any time: batches that begin later use the
// new one. Ending: stop() waits for the batch under way; without it the destructor lets it end by itself, and nobody
// hears of it. Memory: that of policy::NeuralPredictor, and a bounded queue.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "policy/predict/neural/neural_predictor.h"
#include "runtime/executor.h"
#include "runtime/task.h"

namespace foreshard::volume {

struct NeuralStatus {
  std::string model;    // that runs; empty: none
  uint64_t models = 0;  // that have run so far
  policy::NeuralCounters counters;
  uint64_t dropped = 0;    // reads left out because the thread was behind
  uint64_t overtaken = 0;  // ranges that were asked for before they were proposed
  double cpu_share = 0;    // of one CPU, since the first model came
  double cpu_share_max = 0;
  uint64_t memory_bytes = 0;
};

class NeuralExpert {
 public:
  static constexpr size_t kQueueMax = 256;  // reads
  static constexpr size_t kBatchMax = 32;
  using OnCandidates = std::function<void(const policy::Observation&, std::span<const policy::Candidate>)>;

  // on_candidates runs on the executor.
  NeuralExpert(runtime::Executor& executor, const policy::NeuralOptions& options, OnCandidates on_candidates);
  ~NeuralExpert();
  // name: of the model, for people. Null: none from here on.
  void set_model(std::shared_ptr<policy::RunnableModel> model, std::string name);
  // A read that missed or used a prefetched page first, or a write; cheap.
  void observe(const policy::Observation& seen);
  runtime::Task<void> stop();
  NeuralStatus status() const;
  // Stands for it among the experts of a set: it has its name and proposes nothing by itself. May outlive it.
  std::unique_ptr<policy::Predictor> stand_in() const;

 private:
  struct State;
  static void work(State& state);
  static void deliver(State& state);
  static runtime::Task<void> run(std::shared_ptr<State> state);

  std::shared_ptr<State> state_;  // also the running coroutine's
};

}  // namespace foreshard::volume
