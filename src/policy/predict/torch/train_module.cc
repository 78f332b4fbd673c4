// The training module (train_module.h): an LSTM and a small Transformer over tokens, trained by libtorch. C++17, one
// translation unit, since libtorch's headers cost most of the time of a compilation.
#include "policy/predict/torch/train_module.h"

#include <ATen/Parallel.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

// Where the linear algebra behind libtorch is OpenBLAS, it has threads of its own to be told.
extern "C" void openblas_set_num_threads(int threads) __attribute__((weak));

namespace {

namespace F = torch::nn::functional;
using torch::Tensor;

using Shape = foreshard_train_shape;

void use_threads(uint32_t threads) {
  const int count = static_cast<int>(std::max(1u, threads));
  at::set_num_threads(count);
  if (openblas_set_num_threads != nullptr) openblas_set_num_threads(count);
}

int64_t output_width(const Shape& shape) { return shape.kind == 1 ? shape.hidden : shape.width; }

// The weights as tensors, in the order of the header.
struct Weights {
  std::vector<Tensor> all;

  explicit Weights(const Shape& shape) {
    const int64_t w = shape.width, h = shape.hidden;
    add({shape.rows, w});
    if (shape.kind == 1) {
      add({4 * h, w}), add({4 * h, h}), add({4 * h});
    } else {
      for (uint32_t layer = 0; layer < shape.layers; ++layer) {
        add({w}), add({w}), add({3 * w, w}), add({3 * w}), add({w, w}), add({w});
        add({shape.attention_heads, shape.context});
        add({w}), add({w}), add({h, w}), add({h}), add({w, h}), add({w});
      }
      add({w}), add({w});
    }
    for (const uint32_t values : shape.head_values) add({values, output_width(shape)}), add({values});
  }

  uint64_t count() const {
    uint64_t sum = 0;
    for (const Tensor& tensor : all) sum += static_cast<uint64_t>(tensor.numel());
    return sum;
  }
  void load(const float* from) {
    torch::NoGradGuard guard;
    for (Tensor& tensor : all) {
      tensor.copy_(torch::from_blob(const_cast<float*>(from), tensor.sizes(), torch::kFloat32));
      from += tensor.numel();
    }
  }
  void store(float* to) const {
    for (const Tensor& tensor : all) {
      const Tensor flat = tensor.detach().contiguous();
      std::copy_n(flat.data_ptr<float>(), flat.numel(), to);
      to += flat.numel();
    }
  }
  void want_gradients() {
    for (Tensor& tensor : all) tensor.requires_grad_(true);
  }

 private:
  void add(std::vector<int64_t> sizes) { all.push_back(torch::zeros(sizes)); }
};

struct LstmState {
  Tensor h, c;  // [1][lanes][hidden], undefined: zero
};

// One network over the weights.
class Network {
 public:
  Network(const Shape& shape, Weights& weights) : shape_(shape), w_(weights.all) {}

  // tokens [lanes][steps][features] -> what the heads read, [lanes][steps][output].
  Tensor run(const Tensor& tokens, LstmState& state, double dropout, bool training) {
    Tensor x = torch::embedding(w_[0], tokens).sum(2);
    x = drop(x, dropout, training);
    x = shape_.kind == 1 ? lstm(x, state) : transformer(x, dropout, training);
    return drop(x, dropout, training);
  }
  Tensor head(const Tensor& y, uint32_t head) {
    const size_t at = w_.size() - 2 * FORESHARD_TRAIN_HEADS + 2 * head;
    return torch::linear(y, w_[at], w_[at + 1]);
  }

 private:
  static Tensor drop(const Tensor& x, double dropout, bool training) {
    return dropout > 0 && training ? torch::dropout(x, dropout, true) : x;
  }

  Tensor lstm(const Tensor& x, LstmState& state) {
    if (!state.h.defined()) {
      state.h = torch::zeros({1, x.size(0), shape_.hidden});
      state.c = torch::zeros({1, x.size(0), shape_.hidden});
    }
    const Tensor none = torch::zeros({4 * int64_t{shape_.hidden}});
    auto [y, h, c] = torch::lstm(x, {state.h, state.c}, {w_[1], w_[2], w_[3], none}, true, 1, 0.0, false, false, true);
    state.h = h.detach();
    state.c = c.detach();
    return y;
  }

  Tensor transformer(Tensor x, double dropout, bool training) {
    const int64_t lanes = x.size(0), steps = x.size(1), width = shape_.width, heads = shape_.attention_heads;
    const Tensor places = torch::arange(steps);
    const Tensor back = places.unsqueeze(1) - places.unsqueeze(0);  // [query][key]
    const Tensor hidden = back.lt(0).logical_or(back.ge(int64_t{shape_.context}));
    const Tensor distance = back.clamp(0, int64_t{shape_.context} - 1);
    for (uint32_t layer = 0; layer < shape_.layers; ++layer) {
      const Tensor* w = &w_[1 + layer * 13];
      const Tensor normed = torch::layer_norm(x, {width}, w[0], w[1], 1e-5);
      const auto parts = torch::linear(normed, w[2], w[3]).view({lanes, steps, 3, heads, width / heads}).unbind(2);
      const Tensor q = parts[0].transpose(1, 2), k = parts[1].transpose(1, 2), v = parts[2].transpose(1, 2);
      Tensor scores = torch::matmul(q, k.transpose(2, 3)) / std::sqrt(static_cast<double>(width / heads));
      scores = scores + w[6].index_select(1, distance.flatten()).view({heads, steps, steps});
      scores = scores.masked_fill(hidden, -1e9);
      const Tensor mixed = torch::matmul(torch::softmax(scores, 3), v).transpose(1, 2).reshape({lanes, steps, width});
      x = x + drop(torch::linear(mixed, w[4], w[5]), dropout, training);
      const Tensor inner = torch::relu(torch::linear(torch::layer_norm(x, {width}, w[7], w[8], 1e-5), w[9], w[10]));
      x = x + drop(torch::linear(inner, w[11], w[12]), dropout, training);
    }
    const Tensor* w = &w_[1 + shape_.layers * 13];
    return torch::layer_norm(x, {width}, w[0], w[1], 1e-5);
  }

  const Shape& shape_;
  std::vector<Tensor>& w_;
};

// The data cut into lanes of equal length; what does not fill a lane is left out at the front, where it is oldest.
struct Lanes {
  Tensor tokens;   // [lanes][steps][features]
  Tensor answers;  // [lanes][steps][heads]
  int64_t steps = 0;

  Lanes(const foreshard_train_data& data, uint32_t features, int64_t lanes) {
    lanes = std::max<int64_t>(1, std::min<int64_t>(lanes, static_cast<int64_t>(data.steps) / 8));
    steps = static_cast<int64_t>(data.steps) / lanes;
    const int64_t skip = static_cast<int64_t>(data.steps) - steps * lanes;
    tokens = torch::empty({lanes, steps, features}, torch::kInt64);
    answers = torch::empty({lanes, steps, FORESHARD_TRAIN_HEADS}, torch::kInt64);
    const uint32_t* from = data.tokens + skip * features;
    std::copy(from, from + steps * lanes * features, tokens.data_ptr<int64_t>());
    const int32_t* right = data.answers + skip * FORESHARD_TRAIN_HEADS;
    std::copy(right, right + steps * lanes * FORESHARD_TRAIN_HEADS, answers.data_ptr<int64_t>());
  }
};

constexpr double kHeadShare[FORESHARD_TRAIN_HEADS] = {1, 0.3, 0.3};

Tensor cross_entropy(const Tensor& scores, const Tensor& answers) {
  return F::cross_entropy(scores.flatten(0, 1), answers.flatten(),
                          F::CrossEntropyFuncOptions().ignore_index(-1).reduction(torch::kSum));
}

class Training {
 public:
  Training(const Shape& shape, const foreshard_train_options& options, const foreshard_train_data& train,
           const foreshard_train_data& validation, foreshard_train_on_progress on_progress, void* user)
      : shape_(shape), options_(options), train_(train, shape.features, options.lanes),
        validation_(validation, shape.features, std::max(1u, options.lanes / 4)), weights_(shape),
        network_(shape, weights_), on_progress_(on_progress), user_(user) {}

  double run(float* weights, uint64_t count) {
    if (weights_.count() != count) throw std::runtime_error("the weights are not as many as the shape wants");
    torch::manual_seed(options_.seed);
    use_threads(options_.threads);
    weights_.load(weights);
    weights_.want_gradients();
    torch::optim::AdamW optimizer(weights_.all, torch::optim::AdamWOptions(options_.learning_rate).weight_decay(1e-3));
    double best = validate();
    progress_.steps_total = static_cast<uint64_t>(train_.steps * train_.tokens.size(0)) * options_.epochs;
    bool stopped = false;
    for (uint32_t epoch = 0; epoch < options_.epochs && !stopped; ++epoch) {
      progress_.epoch = epoch;
      stopped = train_epoch(optimizer);
      progress_.validation_loss = validate();
      progress_.epoch_ended = 1;
      if (progress_.validation_loss < best) {
        best = progress_.validation_loss;
        weights_.store(weights);
      }
      stopped = tell() || stopped;
      progress_.epoch_ended = 0;
    }
    // Nothing to choose by: the last are as good as any.
    if (!std::isfinite(best)) weights_.store(weights);
    return best;
  }

 private:
  bool tell() { return on_progress_ != nullptr && on_progress_(user_, &progress_) != 0; }

  // The rate rises over the first steps and falls with the cosine to a twentieth.
  double rate() const {
    const double done = static_cast<double>(progress_.steps_done) / static_cast<double>(progress_.steps_total);
    const double rise = std::min(1.0, done / 0.03 + 0.05);
    return options_.learning_rate * rise * (0.05 + 0.95 * 0.5 * (1 + std::cos(M_PI * std::min(1.0, done))));
  }

  bool train_epoch(torch::optim::AdamW& optimizer) {
    LstmState state;
    double loss_sum = 0;
    int64_t counted = 0;
    for (int64_t from = 0; from < train_.steps; from += options_.chunk) {
      const int64_t to = std::min<int64_t>(train_.steps, from + options_.chunk);
      const Tensor answers = train_.answers.slice(1, from, to);
      const int64_t known = answers.select(2, 0).ge(0).sum().item<int64_t>();
      const Tensor y = network_.run(train_.tokens.slice(1, from, to), state, options_.dropout, true);
      progress_.steps_done += static_cast<uint64_t>((to - from) * train_.tokens.size(0));
      if (known == 0) continue;
      Tensor loss;
      for (uint32_t head = 0; head < FORESHARD_TRAIN_HEADS; ++head) {
        const Tensor one = cross_entropy(network_.head(y, head), answers.select(2, head));
        if (head == 0) loss_sum += one.item<double>();
        loss = head == 0 ? one : loss + kHeadShare[head] * one;
      }
      counted += known;
      optimizer.zero_grad();
      (loss / known).backward();
      torch::nn::utils::clip_grad_norm_(weights_.all, 1.0);
      for (auto& group : optimizer.param_groups()) {
        static_cast<torch::optim::AdamWOptions&>(group.options()).lr(rate());
      }
      optimizer.step();
      progress_.train_loss = loss_sum / static_cast<double>(counted);
      if (tell()) return true;
    }
    return false;
  }

  double validate() {
    torch::NoGradGuard guard;
    LstmState state;
    double sum = 0;
    int64_t counted = 0;
    for (int64_t from = 0; from < validation_.steps; from += options_.chunk) {
      const int64_t to = std::min<int64_t>(validation_.steps, from + options_.chunk);
      const Tensor answers = validation_.answers.slice(1, from, to).select(2, 0);
      const Tensor y = network_.run(validation_.tokens.slice(1, from, to), state, 0, false);
      sum += cross_entropy(network_.head(y, 0), answers).item<double>();
      counted += answers.ge(0).sum().item<int64_t>();
    }
    return counted == 0 ? std::numeric_limits<double>::infinity() : sum / static_cast<double>(counted);
  }

  const Shape& shape_;
  const foreshard_train_options& options_;
  Lanes train_, validation_;
  Weights weights_;
  Network network_;
  foreshard_train_on_progress on_progress_;
  void* user_;
  foreshard_train_progress progress_{};
};

// Nothing of ours or of libtorch is thrown through the C interface.
template <class Body>
int guarded(char* error, uint64_t error_bytes, Body body) {
  try {
    body();
    return 0;
  } catch (const std::exception& exception) {
    std::string text = exception.what();
    text = text.substr(0, text.find('\n'));
    if (error_bytes > 0) std::snprintf(error, error_bytes, "%s", text.c_str());
  } catch (...) {
    if (error_bytes > 0) std::snprintf(error, error_bytes, "unknown error");
  }
  return 1;
}

int train(const Shape* shape, const foreshard_train_options* options, const foreshard_train_data* data,
          const foreshard_train_data* validation, float* weights, uint64_t weights_count, double* validation_loss,
          foreshard_train_on_progress on_progress, void* user, char* error, uint64_t error_bytes) {
  return guarded(error, error_bytes, [&] {
    if (data->steps < 16) throw std::runtime_error("too little data to train on");
    Training training(*shape, *options, *data, *validation, on_progress, user);
    *validation_loss = training.run(weights, weights_count);
  });
}

int forward(const Shape* shape, const float* weights, uint64_t weights_count, const uint32_t* tokens, uint64_t steps,
            uint32_t one_by_one, float* out, char* error, uint64_t error_bytes) {
  return guarded(error, error_bytes, [&] {
    torch::NoGradGuard guard;
    use_threads(1);
    Weights all(*shape);
    if (all.count() != weights_count) throw std::runtime_error("the weights are not as many as the shape wants");
    all.load(weights);
    Network network(*shape, all);
    const auto features = static_cast<int64_t>(shape->features);
    const auto count = static_cast<int64_t>(steps);
    Tensor input = torch::empty({1, count, features}, torch::kInt64);
    std::copy(tokens, tokens + count * features, input.data_ptr<int64_t>());
    LstmState state;
    const auto emit = [&](const Tensor& y) {
      std::vector<Tensor> scores;
      for (uint32_t head = 0; head < FORESHARD_TRAIN_HEADS; ++head) scores.push_back(network.head(y, head));
      const Tensor flat = torch::cat(scores, 2).contiguous();
      std::copy_n(flat.data_ptr<float>(), flat.numel(), out);
      out += flat.numel();
    };
    if (one_by_one == 0) {
      emit(network.run(input, state, 0, false));
      return;
    }
    for (int64_t step = 0; step < count; ++step) {
      // What an LSTM remembers is in its state; a Transformer is shown its window again.
      const int64_t from = shape->kind == 1 ? step : std::max<int64_t>(0, step + 1 - int64_t{shape->context});
      const Tensor y = network.run(input.slice(1, from, step + 1), state, 0, false);
      emit(y.slice(1, y.size(1) - 1, y.size(1)));
    }
  });
}

const std::string libraries = std::string("libtorch ") + TORCH_VERSION;
const foreshard_train_module_api api = {FORESHARD_TRAIN_MODULE_VERSION, libraries.c_str(), train, forward};

}  // namespace

extern "C" __attribute__((visibility("default"))) const foreshard_train_module_api* foreshard_train_module(void) {
  return &api;
}
