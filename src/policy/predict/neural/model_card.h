// The card of a model: for people, where it comes from and what it is worth. JSON text within the model's file.
#pragma once

#include <string>
#include <vector>

#include "policy/predict/neural/evaluation.h"
#include "policy/predict/neural/model.h"

namespace foreshard::policy {

struct ModelCard {
  struct Data {
    std::string name;
    uint64_t requests = 0, reads_used = 0;
  };
  std::string created;     // a date, as the caller says it
  std::string program;     // name and version
  std::string libraries;
  std::string instructions;
  std::vector<Data> data;
  TrainingSplit split;
  double cache_share = 0;
  uint64_t seed = 0;
  uint32_t epochs = 0;     // that were begun
  double cpu_seconds = 0;
};

// Cut to kModelCardBytesMax by leaving out data at the end.
std::string model_card_text(const ModelCard& card, const Model& model, const Evaluation& evaluation);

}  // namespace foreshard::policy
