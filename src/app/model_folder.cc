#include "app/model_folder.h"

#include <algorithm>
#include <charconv>
#include <filesystem>

#include <fmt/format.h>

#include "app/model_file.h"
#include "base/log.h"

namespace foreshard::app {
namespace {

constexpr std::string_view kEnding = ".model";
constexpr size_t kFilesMax = 10'000;  // that are looked at

}  // namespace

std::string ModelFolder::path(uint64_t number) const {
  return fmt::format("{}/{}-{:010}{}", folder_, policy::model_kind_name(kind_), number, kEnding);
}

std::vector<uint64_t> ModelFolder::numbers() const {
  std::vector<uint64_t> numbers;
  const std::string beginning = std::string(policy::model_kind_name(kind_)) + "-";
  std::error_code code;
  std::filesystem::directory_iterator entries(folder_, code);
  for (size_t seen = 0; !code && entries != std::filesystem::directory_iterator() && seen < kFilesMax; ++seen) {
    const std::string name = entries->path().filename().string();
    uint64_t number = 0;
    if (name.starts_with(beginning) && name.ends_with(kEnding)) {
      const char* const from = name.data() + beginning.size();
      const char* const to = name.data() + name.size() - kEnding.size();
      const auto [end, error] = std::from_chars(from, to, number);
      if (error == std::errc() && end == to && number < UINT64_MAX) numbers.push_back(number);
    }
    entries.increment(code);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

Result<uint64_t> ModelFolder::add(const policy::Model& model) {
  std::error_code code;
  std::filesystem::create_directories(folder_, code);
  if (code) return fail(error_from_errno(code.value(), "cannot make the folder of models", folder_));
  std::vector<uint64_t> known = numbers();
  const uint64_t number = known.empty() ? 1 : known.back() + 1;
  TRY_VOID(write_model_file(path(number), model));
  known.push_back(number);
  for (size_t i = 0; i + kKept < known.size(); ++i) std::filesystem::remove(path(known[i]), code);
  return number;
}

std::optional<ModelFolder::Newest> ModelFolder::newest() const {
  const std::vector<uint64_t> known = numbers();
  for (size_t i = known.size(); i-- > 0;) {
    Result<policy::Model> model = read_model_file(path(known[i]));
    if (model && model->shape.kind == kind_) return Newest{known[i], std::move(*model)};
    LOG_WARN("model passed over: {}", model ? path(known[i]) + " is of another kind" : model.error().message());
  }
  return std::nullopt;
}

}  // namespace foreshard::app
