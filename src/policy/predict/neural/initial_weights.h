// The weights that a training begins with, the same for the same seed everywhere.
#pragma once

#include <cstdint>
#include <vector>

#include "policy/predict/neural/model.h"

namespace foreshard::policy {

// Small random numbers for what is multiplied; gains 1, the forget gate open. Hashed features begin at 0 and say
// nothing until they have learned something: most of their values are rare, and would be noise.
std::vector<float> initial_weights(const ModelShape& shape, uint64_t seed);

}  // namespace foreshard::policy
