// ModelFolder: where the models of one kind are kept between runs: files KIND-NUMBER.model in a folder, numbered
// upward. The newest that is whole counts; damaged ones are passed over with a warning, so that no file can keep a
// driver from starting. Owner: who trains or uses models; one process writes.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "policy/predict/neural/model.h"

namespace foreshard::app {

class ModelFolder {
 public:
  static constexpr uint32_t kKept = 3;  // older ones are removed

  ModelFolder(std::string folder, policy::ModelKind kind) : folder_(std::move(folder)), kind_(kind) {}
  // As the newest; makes the folder where it is missing. The number it got.
  Result<uint64_t> add(const policy::Model& model);
  struct Newest {
    uint64_t number = 0;
    policy::Model model;
  };
  // Nothing when there is none that is whole.
  std::optional<Newest> newest() const;
  std::string path(uint64_t number) const;

 private:
  std::vector<uint64_t> numbers() const;  // ascending
  std::string folder_;
  policy::ModelKind kind_;
};

}  // namespace foreshard::app
