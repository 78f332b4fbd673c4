// TrainModule: the training module over libtorch (policy/predict/torch/train_module.h), loaded when somebody trains and
// not before. It stays loaded until the process ends, since libtorch does not survive being unloaded.
//
// Owner: who trains. Safe from any thread, one call at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "base/result.h"
#include "policy/predict/neural/training_data.h"

namespace foreshard::app {

struct TrainOptions {
  uint64_t seed = 1;
  uint32_t epochs = 8;
  uint32_t lanes = 16;
  uint32_t chunk = 32;
  uint32_t threads = 1;
  float learning_rate = 0.003f;
  float dropout = 0.15f;
};

struct TrainProgress {
  uint32_t epoch = 0;
  bool epoch_ended = false;
  uint64_t steps_done = 0, steps_total = 0;
  double train_loss = 0;
  double validation_loss = 0;
};

class TrainModule {
 public:
  // Where load() would load it from; nothing is loaded. kNotFound likewise.
  static Result<std::string> find(const std::string& path = {});
  // path: of the module; empty: $FORESHARD_TRAIN_MODULE, else beside the program, else its libraries' folder.
  // kNotFound says where it was looked for.
  static Result<TrainModule> load(const std::string& path = {});

  // weights: as many as the shape says, to go on from. on_progress returns false to stop; what is best so far is kept.
  // Returns the validation loss.
  Result<double> train(const policy::ModelShape& shape, const TrainOptions& options, const policy::TokenData& train,
                       const policy::TokenData& validation, std::span<float> weights,
                       const std::function<bool(const TrainProgress&)>& on_progress) const;
  // The scores of all heads side by side, for each token of one stream.
  Result<std::vector<float>> forward(const policy::ModelShape& shape, std::span<const float> weights,
                                     std::span<const policy::Token> tokens, bool one_by_one = false) const;
  // Such as "libtorch 1.13.1".
  std::string libraries() const;
  const std::string& path() const { return path_; }

 private:
  const void* api_ = nullptr;
  std::string path_;
};

}  // namespace foreshard::app
