#include "policy/predict/neural/initial_weights.h"

#include <cmath>

#include "base/assert.h"
#include "base/random.h"

namespace foreshard::policy {
namespace {

float scale_of(Feature feature) {
  switch (feature) {
    case Feature::kSymbol:
    case Feature::kHistory: return 0.6f;
    case Feature::kRegion:
    case Feature::kPage:
    case Feature::kWorkload:
    case Feature::kLabel: return 0;
    default: return 0.3f;
  }
}

// Appends weights in the order of torch/train_module.h.
class Drawing {
 public:
  Drawing(std::vector<float>& out, uint64_t seed) : out_(out), random_(seed) {}
  // Uniform, with this deviation.
  void draw(size_t count, float deviation) {
    const float bound = deviation * std::sqrt(3.0f);
    for (size_t i = 0; i < count; ++i) out_.push_back(bound * static_cast<float>(2 * random_.fraction() - 1));
  }
  void matrix(size_t outputs, size_t inputs) {
    draw(outputs * inputs, 1 / std::sqrt(3.0f * static_cast<float>(inputs)));
  }
  void fill(size_t count, float value) { out_.insert(out_.end(), count, value); }

 private:
  std::vector<float>& out_;
  Random random_;
};

}  // namespace

std::vector<float> initial_weights(const ModelShape& shape, uint64_t seed) {
  std::vector<float> weights;
  Drawing drawing(weights, seed);
  const size_t w = shape.width, h = shape.hidden;
  for (uint32_t i = 0; i < kFeatures; ++i) {
    const auto feature = static_cast<Feature>(i);
    drawing.draw(shape.feature_values(feature) * w, scale_of(feature));
  }
  if (shape.kind == ModelKind::kLstm) {
    drawing.matrix(4 * h, w);
    drawing.matrix(4 * h, h);
    drawing.fill(h, 0);
    drawing.fill(h, 1);
    drawing.fill(2 * h, 0);
  } else {
    for (uint32_t layer = 0; layer < shape.layers; ++layer) {
      drawing.fill(w, 1), drawing.fill(w, 0);
      drawing.matrix(3 * w, w), drawing.fill(3 * w, 0);
      drawing.matrix(w, w), drawing.fill(w, 0);
      drawing.fill(size_t{shape.attention_heads} * shape.context, 0);
      drawing.fill(w, 1), drawing.fill(w, 0);
      drawing.matrix(h, w), drawing.fill(h, 0);
      drawing.matrix(w, h), drawing.fill(w, 0);
    }
    drawing.fill(w, 1), drawing.fill(w, 0);
  }
  for (uint32_t head = 0; head < kHeads; ++head) {
    const size_t values = shape.head_values(static_cast<Head>(head));
    drawing.matrix(values, shape.output_width());
    drawing.fill(values, 0);
  }
  ASSERT(weights.size() == shape.weights(), weights.size(), shape.weights());
  return weights;
}

}  // namespace foreshard::policy
