// NeuralPredictor: a trained model as an expert among others: "lstm" over block requests, "transformer" over files. It
// watches the reads that missed, or used a prefetched page first, and proposes the likeliest next ranges with their
// probability as confidence, and where it is sure a few steps ahead. Without a model it is silent.
//
// Owner: a PredictorSet; one executor. Bounds: state of streams_max streams, the least recently used gives way; the
// history of the volume; the model's packed weights, shared by all that use it. CPU: by CpuBudget; a step that would
// exceed it is left out, and counted. Nothing that a model holds can make it fail: at worst it guesses badly.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "policy/predict/neural/cpu_budget.h"
#include "policy/predict/neural/ranking.h"
#include "policy/predict/neural/sequence_model.h"
#include "policy/predict/neural/stream_splitter.h"
#include "policy/predict/predictor.h"

namespace foreshard::policy {

// A model ready to run, for all volumes of one executor. The weights are kept packed only.
struct RunnableModel {
  explicit RunnableModel(Model from);
  Model model;  // without weights
  std::unique_ptr<SequenceModel> network;
};

struct NeuralOptions {
  TokenStream::Labels labels;       // of the volume's workload and its VM
  uint32_t streams_max = 16;
  uint32_t answers_max = 4;         // alternatives for the next request
  uint32_t steps_ahead = 4;         // followed along the likeliest path
  float confidence_min = 0.05f;     // of a proposal
  float follow_min = 0.3f;          // of a path that is followed on
  double cpu_share_max = 0.05;      // of one CPU
  // Files in one space of pages: the file's number lies above so many bits of the page within it.
  uint32_t file_pages_log2 = 24;
};

struct NeuralCounters {
  uint64_t observed = 0;   // reads taken in
  uint64_t steps = 0;      // of the model, looking ahead included
  uint64_t skipped = 0;    // reads left out for want of CPU
  uint64_t cpu_ns = 0;     // spent on steps, by the clock that was given
  uint64_t proposed = 0;   // ranges
};

class NeuralPredictor final : public Predictor {
 public:
  // model: may be null. now_ns: a monotonic clock, or empty for no bound on CPU. name: where two of a kind are in use;
  // empty: that of the kind. work_ns: the clock of what steps take, where that is another one (CpuBudget).
  NeuralPredictor(ModelKind kind, std::shared_ptr<RunnableModel> model, const NeuralOptions& options,
                  std::function<uint64_t()> now_ns = {}, std::string name = {},
                  std::function<uint64_t()> work_ns = {});

  std::string_view name() const override { return name_; }
  void observe(const Observation& observation, std::vector<Candidate>& candidates) override;
  uint64_t memory_bytes_max() const override;
  // The streams begin anew. One of another kind is not taken: the expert falls silent.
  void set_model(std::shared_ptr<RunnableModel> model);
  bool has_model() const { return model_ != nullptr; }
  const NeuralCounters& counters() const { return counters_; }

 private:
  // What is predicted by itself: all of a volume's requests, or those that are near each other.
  struct Path {
    TokenStream tokens;
    SequenceState state;
  };
  struct Stream {
    VmId vm;
    VolumeId volume;
    uint64_t last_used = 0;
    bool after_write = false;
    StreamSplitter splitter;
    std::vector<Path> paths;  // one, or those told apart
  };
  Stream* find(const Observation& observation);
  Stream& find_or_start(const Observation& observation);
  Path& path_of(Stream& stream, const Access& access);
  Path fresh_path() const;
  bool access_of(const Observation& observation, Access& access) const;
  void propose(const Path& path, std::vector<Candidate>& candidates);
  void look_ahead(const Path& path, Target target, float confidence, std::vector<Candidate>& candidates);
  void answer(const TokenStream& tokens, const SequenceState& state, uint32_t count);
  bool add(const Target& target, float confidence, std::vector<Candidate>& candidates);

  const ModelKind kind_;
  const std::string name_;
  const NeuralOptions options_;
  std::shared_ptr<RunnableModel> model_;
  CpuBudget budget_;
  std::unique_ptr<History> history_;
  std::vector<Stream> streams_;
  uint64_t clock_ = 0;
  NeuralCounters counters_;
  std::vector<float> symbols_, lengths_, places_;  // scratch: what the heads say
  std::vector<RankedAnswer> ranked_;
  uint32_t length_ = 0, place_ = 0;                // as the heads have it
};

}  // namespace foreshard::policy
