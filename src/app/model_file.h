// Model files: written whole or not at all, and read with every bound checked before memory is taken.
#pragma once

#include <string>

#include "base/result.h"
#include "policy/predict/neural/model.h"

namespace foreshard::app {

// By a temporary file beside it, synced, then renamed.
Result<void> write_model_file(const std::string& path, const policy::Model& model);
Result<policy::Model> read_model_file(const std::string& path);

}  // namespace foreshard::app
