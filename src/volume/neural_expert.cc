#include "volume/neural_expert.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "runtime/clocks.h"
#include "runtime/sync.h"
#include "runtime/worker_thread.h"

namespace foreshard::volume {

using policy::Candidate;
using policy::Observation;
using runtime::Task;

struct NeuralExpert::State {
  State(runtime::Executor& e, const policy::NeuralOptions& o, OnCandidates c)
      : executor(e), options(o), on_candidates(std::move(c)), arrived(e), ended(e) {}

  runtime::Executor& executor;
  const policy::NeuralOptions options;
  OnCandidates on_candidates;
  std::vector<Observation> queue;
  bool wrote = false;  // since the last read that was queued
  bool stopping = false;
  bool running = false;
  std::shared_ptr<policy::RunnableModel> model;
  bool model_is_new = false;
  NeuralStatus status;
  uint64_t first_model_ns = 0;
  runtime::WaitQueue arrived;
  runtime::Signal ended;

  // The thread's while a batch runs, the executor's otherwise.
  struct Batch {
    std::vector<Observation> seen;
    std::vector<Candidate> candidates;   // of all, one behind the other
    std::vector<size_t> candidate_ends;  // by what was seen
    std::shared_ptr<policy::RunnableModel> model;
    bool model_is_new = false;
    policy::NeuralCounters counters;
    uint64_t memory_bytes = 0;
  };
  Batch batch;
  std::unique_ptr<policy::NeuralPredictor> predictor;
  std::unique_ptr<runtime::WorkerThread> worker;  // made for the first batch
};

namespace {

class StandIn final : public policy::Predictor {
 public:
  explicit StandIn(std::function<uint64_t()> memory_bytes) : memory_bytes_(std::move(memory_bytes)) {}
  std::string_view name() const override { return policy::model_kind_name(policy::ModelKind::kLstm); }
  void observe(const Observation& observation, std::vector<Candidate>& candidates) override {}
  uint64_t memory_bytes_max() const override { return memory_bytes_(); }

 private:
  std::function<uint64_t()> memory_bytes_;
};

bool overlap(const Candidate& candidate, const Observation& seen) {
  return !seen.write && candidate.first_page < seen.first_page + seen.pages &&
         seen.first_page < candidate.first_page + candidate.pages;
}

}  // namespace

NeuralExpert::NeuralExpert(runtime::Executor& executor, const policy::NeuralOptions& options,
                           OnCandidates on_candidates)
    : state_(std::make_shared<State>(executor, options, std::move(on_candidates))) {
  state_->status.cpu_share_max = options.cpu_share_max;
}

NeuralExpert::~NeuralExpert() {
  state_->stopping = true;
  state_->on_candidates = {};
  state_->arrived.wake_all();
}

std::unique_ptr<policy::Predictor> NeuralExpert::stand_in() const {
  return std::make_unique<StandIn>([state = state_] { return state->status.memory_bytes; });
}

void NeuralExpert::set_model(std::shared_ptr<policy::RunnableModel> model, std::string name) {
  State& state = *state_;
  if (state.stopping) return;
  if (state.first_model_ns == 0) state.first_model_ns = state.executor.now_ns();
  state.model = std::move(model);
  state.model_is_new = true;
  state.status.model = state.model != nullptr ? std::move(name) : std::string();
  state.status.models += state.model != nullptr;
  if (std::exchange(state.running, true)) {
    state.arrived.wake_all();
    return;
  }
  state.executor.spawn(run(state_));
}

void NeuralExpert::observe(const Observation& seen) {
  State& state = *state_;
  if (state.model == nullptr || state.stopping) return;
  if (seen.write) {
    state.wrote = true;
    return;
  }
  if (state.queue.size() + 2 > kQueueMax) {
    ++state.status.dropped;
    return;
  }
  if (std::exchange(state.wrote, false)) {
    // Of writes it matters only that there were some.
    Observation write = seen;
    write.write = true;
    state.queue.push_back(write);
  }
  state.queue.push_back(seen);
  if (!state.arrived.empty()) state.arrived.wake_all();
}

// On the thread.
void NeuralExpert::work(State& state) {
  State::Batch& batch = state.batch;
  if (state.predictor == nullptr) {
    state.predictor = std::make_unique<policy::NeuralPredictor>(policy::ModelKind::kLstm, nullptr, state.options,
                                                                runtime::monotonic_ns, "", runtime::thread_cpu_ns);
  }
  if (std::exchange(batch.model_is_new, false)) state.predictor->set_model(std::move(batch.model));
  batch.candidates.clear();
  batch.candidate_ends.clear();
  for (const Observation& seen : batch.seen) {
    state.predictor->observe(seen, batch.candidates);
    batch.candidate_ends.push_back(batch.candidates.size());
  }
  batch.counters = state.predictor->counters();
  batch.memory_bytes = state.predictor->memory_bytes_max();
}

void NeuralExpert::deliver(State& state) {
  const State::Batch& batch = state.batch;
  state.status.counters = batch.counters;
  state.status.memory_bytes = batch.memory_bytes;
  size_t begin = 0;
  for (size_t i = 0; i < batch.seen.size(); ++i) {
    std::vector<Candidate> still;
    for (const Candidate& candidate : std::span(batch.candidates).subspan(begin, batch.candidate_ends[i] - begin)) {
      const auto asked = [&candidate](const Observation& seen) { return overlap(candidate, seen); };
      if (std::any_of(batch.seen.begin() + static_cast<ptrdiff_t>(i) + 1, batch.seen.end(), asked) ||
          std::any_of(state.queue.begin(), state.queue.end(), asked)) {
        ++state.status.overtaken;
      } else {
        still.push_back(candidate);
      }
    }
    begin = batch.candidate_ends[i];
    if (!still.empty() && state.on_candidates) state.on_candidates(batch.seen[i], still);
  }
}

Task<void> NeuralExpert::run(std::shared_ptr<State> state) {
  while (!state->stopping) {
    if (state->queue.empty() && !state->model_is_new) {
      co_await state->arrived.wait();
      continue;
    }
    const auto count = static_cast<ptrdiff_t>(std::min(state->queue.size(), kBatchMax));
    state->batch.seen.assign(state->queue.begin(), state->queue.begin() + count);
    state->queue.erase(state->queue.begin(), state->queue.begin() + count);
    if (std::exchange(state->model_is_new, false)) {
      state->batch.model = state->model;
      state->batch.model_is_new = true;
    }
    if (state->worker == nullptr) state->worker = std::make_unique<runtime::WorkerThread>(state->executor, "neural");
    auto batch = [&state = *state] { work(state); };
    co_await state->worker->run_blocking(batch);
    if (!state->stopping) deliver(*state);
  }
  state->ended.set();
}

Task<void> NeuralExpert::stop() {
  const std::shared_ptr<State> state = state_;
  state->stopping = true;
  state->arrived.wake_all();
  if (state->running) co_await state->ended.wait();
}

NeuralStatus NeuralExpert::status() const {
  NeuralStatus status = state_->status;
  const uint64_t passed_ns = state_->first_model_ns == 0 ? 0 : state_->executor.now_ns() - state_->first_model_ns;
  if (passed_ns != 0) status.cpu_share = static_cast<double>(status.counters.cpu_ns) / static_cast<double>(passed_ns);
  return status;
}

}  // namespace foreshard::volume
