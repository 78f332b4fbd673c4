// Evaluation: how well a model predicts the parts of sequences that it was not trained on, beside baselines that were
// given the same data: the commonest symbols, the commonest symbols after the last one (Markov), and what followed the
// same position before (history, which goes on learning, as the model's own table does).
#pragma once

#include <array>
#include <functional>
#include <string_view>
#include <vector>

#include "policy/predict/neural/sequence_model.h"
#include "policy/predict/neural/training_data.h"

namespace foreshard::policy {

inline constexpr uint32_t kEvaluatedAnswers = 4;  // the k of top-k

struct Accuracy {
  uint64_t top1 = 0, top_k = 0;  // how often right
};

struct Evaluation {
  static constexpr uint32_t kBins = 10;
  struct Bin {
    uint64_t count = 0, right = 0;
    double probability = 0;  // summed
  };

  uint64_t answers = 0;
  Accuracy model, commonest, markov, history;
  uint64_t length_right = 0;
  double log_loss = 0;       // summed, nats, of the symbol; what has no name is one of 2^20
  double brier = 0;          // summed, of the best answer's probability
  std::array<Bin, kBins> bins{};

  double share(uint64_t count) const {
    return answers == 0 ? 0 : static_cast<double>(count) / static_cast<double>(answers);
  }
  double mean_log_loss() const { return answers == 0 ? 0 : log_loss / static_cast<double>(answers); }
  double mean_brier() const { return answers == 0 ? 0 : brier / static_cast<double>(answers); }
  // Of the best answer's probability: the mean distance between what was said and what came true, by bins.
  double calibration_error() const;
  // How often the best answer was said to be at least this probable (a tenth), and how often it was right then.
  Accuracy confident(double probability_min, uint64_t& said) const;
};

// Which part of the sequences is judged: [validation_end, end), or for choosing between models [train_end,
// validation_end).
enum class EvaluatedPart { kTest, kValidation };

// The model's state is warmed up by the part before. on_progress is told the steps taken and of how many; false stops.
// losses: gets the loss of each answer, for model_comparison.h.
Evaluation evaluate(SequenceModel& runnable, const Model& model, const std::vector<AccessSequence>& sequences,
                    EvaluatedPart part, const std::function<bool(uint64_t, uint64_t)>& on_progress = {},
                    std::vector<float>* losses = nullptr);
// Adds the figures of the baselines.
void evaluate_baselines(const Model& model, const std::vector<AccessSequence>& sequences, EvaluatedPart part,
                        Evaluation& evaluation);

}  // namespace foreshard::policy
