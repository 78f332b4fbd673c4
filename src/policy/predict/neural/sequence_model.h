// SequenceModel: a model made ready to run: takes one token a step into a state that is carried, and answers from the
// state what comes next. LSTM and Transformer behind one interface.
//
// Owner: the expert, or an evaluation; one thread at a time. Memory: the weights, packed anew, and state_floats() for
// each stream. The arithmetic is checked against libtorch's in app/train_module_test.cc.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "policy/predict/neural/model.h"
#include "policy/predict/neural/token.h"
#include "policy/predict/neural/vector_math.h"

namespace foreshard::policy {

// Of one stream. A copy of it goes its own way.
struct SequenceState {
  std::vector<float> values;  // the first output_width() are what the heads read
  uint32_t steps = 0;         // taken so far, counted up to a bound that the model needs
};

class SequenceModel {
 public:
  // The model must have passed ModelShape::check and hold as many weights as its shape says.
  static std::unique_ptr<SequenceModel> create(const Model& model);
  virtual ~SequenceModel() = default;

  virtual size_t state_floats() const = 0;
  virtual void step(const Token& token, SequenceState& state) = 0;
  virtual uint64_t memory_bytes() const = 0;

  SequenceState begin() const { return {std::vector<float>(state_floats()), 0}; }
  // The head's unnormalised answers; room for answer_room(head).
  void scores(const SequenceState& state, Head head, std::span<float> out) const;
  // As probabilities; the first head_values count.
  void probabilities(const SequenceState& state, Head head, std::span<float> out) const;
  size_t answer_room(Head head) const { return heads_[static_cast<uint32_t>(head)].outputs_padded(); }
  size_t answers(Head head) const { return heads_[static_cast<uint32_t>(head)].outputs(); }

 protected:
  std::array<PackedMatrix, kHeads> heads_;
};

// Reads a model's weights in their order.
class WeightReader {
 public:
  explicit WeightReader(std::span<const float> weights) : rest_(weights) {}
  std::span<const float> take(size_t count) {
    const std::span<const float> taken = rest_.first(count);
    rest_ = rest_.subspan(count);
    return taken;
  }
  bool at_end() const { return rest_.empty(); }

 private:
  std::span<const float> rest_;
};

}  // namespace foreshard::policy
