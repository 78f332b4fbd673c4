#include "app/train_module.h"

#include <dlfcn.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>

#include "policy/predict/torch/train_module.h"

namespace foreshard::app {
namespace {

constexpr const char* kFileName = "foreshard_train_torch.so";
constexpr const char* kPathVariable = "FORESHARD_TRAIN_MODULE";

std::vector<std::string> places(const std::string& given) {
  if (!given.empty()) return {given};
  if (const char* named = std::getenv(kPathVariable); named != nullptr && *named != 0) return {named};
  std::error_code code;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", code);
  if (code) return {kFileName};
  const std::filesystem::path folder = program.parent_path();
  return {folder / kFileName, (folder / "../lib/foreshard" / kFileName).lexically_normal()};
}

const foreshard_train_module_api& api_of(const void* api) {
  return *static_cast<const foreshard_train_module_api*>(api);
}

foreshard_train_shape c_shape(const policy::ModelShape& shape) {
  foreshard_train_shape c{};
  c.kind = static_cast<uint32_t>(shape.kind);
  c.rows = shape.table_rows();
  c.width = shape.width;
  c.hidden = shape.hidden;
  c.layers = shape.layers;
  c.attention_heads = shape.attention_heads;
  c.context = shape.context;
  c.features = policy::kFeatures;
  static_assert(policy::kHeads == FORESHARD_TRAIN_HEADS);
  for (uint32_t i = 0; i < policy::kHeads; ++i) c.head_values[i] = shape.head_values(static_cast<policy::Head>(i));
  return c;
}

foreshard_train_data c_data(const policy::TokenData& data) {
  const auto* tokens = reinterpret_cast<const uint32_t*>(data.tokens.data());
  const auto* answers = reinterpret_cast<const int32_t*>(data.answers.data());
  return {data.tokens.size(), tokens, answers};
}

int tell_progress(void* user, const foreshard_train_progress* progress) {
  const auto& on_progress = *static_cast<const std::function<bool(const TrainProgress&)>*>(user);
  if (!on_progress) return 0;
  TrainProgress told;
  told.epoch = progress->epoch;
  told.epoch_ended = progress->epoch_ended != 0;
  told.steps_done = progress->steps_done;
  told.steps_total = progress->steps_total;
  told.train_loss = progress->train_loss;
  told.validation_loss = progress->validation_loss;
  return on_progress(told) ? 0 : 1;
}

}  // namespace

Result<std::string> TrainModule::find(const std::string& path) {
  std::string tried;
  for (const std::string& place : places(path)) {
    if (access(place.c_str(), R_OK) == 0) return place;
    tried += (tried.empty() ? "" : ", ") + place;
  }
  return fail(ErrorCode::kNotFound, "no training module",
              "looked for " + tried + "; it is built where libtorch-dev is installed; or name it by " + kPathVariable);
}

Result<TrainModule> TrainModule::load(const std::string& path) {
  TRY(const std::string place, find(path));
  void* const library = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const reason = dlerror();
    return fail(ErrorCode::kUnsupported, "the training module does not load",
                std::string(reason != nullptr ? reason : place.c_str()) + "; is libtorch1.13 installed?");
  }
  using Entry = const foreshard_train_module_api* (*)();
  const auto entry = reinterpret_cast<Entry>(dlsym(library, FORESHARD_TRAIN_MODULE_SYMBOL));
  if (entry == nullptr) return fail(ErrorCode::kInvalid, "training module", place + " is none");
  const foreshard_train_module_api* const api = entry();
  if (api->version != FORESHARD_TRAIN_MODULE_VERSION) {
    return fail(ErrorCode::kUnsupported, "training module",
                place + " is of version " + std::to_string(api->version) + ", this program wants " +
                    std::to_string(FORESHARD_TRAIN_MODULE_VERSION) + "; build both together");
  }
  TrainModule module;
  module.api_ = api;
  module.path_ = place;
  return module;
}

Result<double> TrainModule::train(const policy::ModelShape& shape, const TrainOptions& options,
                                  const policy::TokenData& train, const policy::TokenData& validation,
                                  std::span<float> weights,
                                  const std::function<bool(const TrainProgress&)>& on_progress) const {
  const foreshard_train_shape c = c_shape(shape);
  foreshard_train_options c_options{};
  c_options.seed = options.seed;
  c_options.epochs = options.epochs;
  c_options.lanes = options.lanes;
  c_options.chunk = options.chunk;
  c_options.threads = options.threads;
  c_options.learning_rate = options.learning_rate;
  c_options.dropout = options.dropout;
  const foreshard_train_data train_data = c_data(train), validation_data = c_data(validation);
  std::array<char, 512> error{};
  double loss = 0;
  auto on = on_progress;
  const int rc = api_of(api_).train(&c, &c_options, &train_data, &validation_data, weights.data(), weights.size(),
                                    &loss, tell_progress, &on, error.data(), error.size());
  if (rc != 0) return fail(ErrorCode::kInvalid, "training", std::string(error.data()));
  return loss;
}

Result<std::vector<float>> TrainModule::forward(const policy::ModelShape& shape, std::span<const float> weights,
                                                std::span<const policy::Token> tokens, bool one_by_one) const {
  const foreshard_train_shape c = c_shape(shape);
  uint64_t scores = 0;
  for (const uint32_t values : c.head_values) scores += values;
  std::vector<float> out(scores * tokens.size());
  std::array<char, 512> error{};
  const int rc =
      api_of(api_).forward(&c, weights.data(), weights.size(), reinterpret_cast<const uint32_t*>(tokens.data()),
                           tokens.size(), one_by_one ? 1 : 0, out.data(), error.data(), error.size());
  if (rc != 0) return fail(ErrorCode::kInvalid, "forward", std::string(error.data()));
  return out;
}

std::string TrainModule::libraries() const { return api_of(api_).libraries; }

}  // namespace foreshard::app
